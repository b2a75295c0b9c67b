"""RL2: a recurrent policy that learns how to learn within a trial, trained by PPO.

Duan et al. 2016, "RL2: Fast Reinforcement Learning via Slow Reinforcement Learning" (arXiv 1611.02779), section 2.2. Meta-World (Yu et al.
2019), appendix E.9, whose linear baseline is ours. The loss is equation 7 of PPO (Schulman et al. 2017), advantages are GAE (Schulman et
al. 2016, equation 16).
What differs from the papers: PPO in place of Duan's TRPO; a GRU by default (Duan), an LSTM as an option (Meta-World's text); advantages
have mean 0 and standard deviation 1 in each task; the baseline sees the policy's whole input, not the observation alone, and as an option
the memory, where Duan has a second recurrent network.

A trial is E episodes of one goal, one after the other: a single sequence of L steps, without what episodes that ended early left empty. The
memory is carried over the ends of episodes, and so are returns: exploring now may pay in a later episode. A trial's end is terminal.

Shapes: S seeds, K tasks, N simulators of each, B = K N trials, L steps, X input, O observation, A action, H hidden. Sequences lead with
time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import settings
from algos.lib.adam import AdamState, adam, clip_norm, init_adam
from algos.lib.advantages import advantages
from algos.lib.mlp import depth, init_mlp, mlp, numpy_mlp
from algos.lib.policies import Distribution, head
from algos.lib.recurrent import GATES, Carry, Kind, init_cell, numpy_step, unroll, zero_carry
from algos.lib.returns import features
from algos.lib.seeds import in_turn, shuffle_seeds
from algos.lib.surrogate import clipped, likelihood_ratio
from algos.lib.transfer import Origin, check_same, copied
from core.contracts import Reduce, alone
from core.errors import ConfigError
from core.tree import stack_trees
from core.types import Field, Round, Rounds, Seen, TaskSpec

LAST_SCALE = 0.01
"""of the output layer's first weights: at the start all observations get about the same actions"""
KEPT = ("cell", "hidden", "encoder", "seen_reward_scale")
"""settings that a run shares with the one it begins from: they decide what its networks are"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of RL2."""

    episodes: int = 10
    """of a trial"""
    cell: Kind = "gru"
    """``gru`` or ``lstm``"""
    hidden: int = 256
    """units of the cell"""
    encoder: tuple[int, ...] = ()
    """units of each tanh layer between input and cell"""
    init_std: float = 1.0
    """standard deviation of the actions at the start"""
    min_std: float = 1e-3
    """below which it does not go"""
    max_std: float = 10.0
    """above which it does not go"""
    seen_reward_scale: float = 1.0
    """factor on the last reward where the policy sees it; what is learned from stays as it is"""
    gamma: float = 0.99
    """discount per env step, over the whole trial"""
    gae_lambda: float = 0.95
    """lambda of GAE"""
    memory_baseline: bool = False
    """the baseline also sees the cell's state: what the policy has found out about its trial"""
    normalize_advantage: bool = True
    """mean 0 and standard deviation 1 over each task's steps of a round, so that no task owns the gradient"""
    lr: float = 1e-3
    """Adam step size"""
    clip: float = 0.2
    """beyond 1 +- this, a step's probability ratio has no gradient"""
    entropy: float = 0.0
    """weight of the policy's entropy in the loss, per nat"""
    epochs: int = 10
    """how often each step is learned from"""
    minibatches: int = 4
    """parts that the trials of a round are dealt into, anew in each epoch; a gradient step for each"""
    chunk: int = 0
    """env steps that gradients flow back through, with a gradient step for each such piece of a trial; 0: the whole trial"""
    burn_in: int = 0
    """env steps before a piece that the memory is brought up to date with; they are not learned from with this piece"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm; 0: never"""
    adam_eps: float = 1e-8
    """what Adam adds to its denominator"""

    def __post_init__(self) -> None:
        settings.positive(self, "episodes", "hidden", "epochs", "minibatches", "min_std", "seen_reward_scale", "lr", "clip", "adam_eps")
        settings.share(self, "gamma", "gae_lambda")
        settings.not_negative(self, "entropy", "chunk", "burn_in", "max_grad_norm")
        settings.between(self, "min_std", "init_std", "max_std")
        settings.one_of(self, "cell", tuple(GATES))
        settings.layers(self, "encoder")
        if self.burn_in and not self.chunk:
            raise ConfigError(f"algo.burn_in is {self.burn_in}, but whole trials need none; set algo.chunk, or burn_in to 0")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    params: dict[str, Tensor]
    """``encoder.*``, ``cell.*``, ``head.*``, and of continuous actions ``log_std``"""
    adam: AdamState
    steps: Tensor
    """[S] float32, gradient steps done"""


class Trials(NamedTuple):
    """What is learned from, or a piece of it; nothing in it is differentiated."""

    x: Tensor
    """(L, B, X) observation, last action, last reward, and whether a later episode of the trial begins"""
    action: Tensor
    """(L, B, A)"""
    reward: Tensor
    """(L, B)"""
    valid: Tensor
    """(L, B) 1 for a step taken; all of a trial's are in front"""
    advantage: Tensor
    """(L, B)"""
    log_prob: Tensor
    """(L, B) of the action, by the policy that took it"""


class Piece(NamedTuple):
    """Where a gradient step learns, and from where it has to watch for that."""

    watch: int
    start: int
    stop: int


class RL2:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.tasks = config, tasks
        self.action_dim = self.noise_dim = spec.action_dim
        self.input_dim = spec.obs_dim + spec.action_dim + 2
        self.head = head(spec, config.init_std, config.min_std, config.max_std)
        self.plan = Rounds(config.episodes, one_goal=True)

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator, config = torch.Generator().manual_seed(seed), self.config
        widths = (self.input_dim, *config.encoder)
        parts = {
            "encoder": init_mlp(widths, generator),
            "cell": init_cell(config.cell, widths[-1], config.hidden, generator),
            "head": init_mlp((config.hidden, self.action_dim), generator, last_scale=LAST_SCALE),
        }
        params = {f"{part}.{name}": leaf for part, leaves in parts.items() for name, leaf in leaves.items()} | self.head.init()
        return State(params, init_adam(params), torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.contracts.Transferring``. The policy and its memory's cell are one network; there is no other."""
        check_same(self.config, source.config, KEPT)
        return state._replace(params=copied(old.params))

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.params

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), not clipped; the carry is the cell's, (N, H) each, and is forgotten where a trial begins."""
        encoder, cell = part(params, "encoder"), part(params, "cell")
        later = (seen.episode & ~seen.trial).astype(np.float32)
        x = np.concatenate([seen.obs, seen.action, (seen.reward * np.float32(self.config.seen_reward_scale))[:, None], later[:, None]], 1)
        if encoder:
            x = np.tanh(numpy_mlp(encoder, x, depth(encoder), seen.tasks, activation="tanh"))
        if carry is None:
            empty = np.zeros((len(x), self.config.hidden), np.float32)
            carry = {"h": empty} if self.config.cell == "gru" else {"h": empty, "c": empty}
        carry = numpy_step(cell, x, {name: np.where(seen.trial[:, None], np.float32(0), value) for name, value in carry.items()})
        out = numpy_mlp(part(params, "head"), carry["h"], 1, seen.tasks)
        return self.head.draw(params, out, noise), carry, {}

    # ---- losses, for one seed: no S axis ------------------------------------------------------------------------------

    def hidden(self, params: Mapping[str, Tensor], x: Tensor, carry: Carry | None = None) -> tuple[Tensor, Carry]:
        """The cell's state (L, B, H) after each step of (L, B, X), and the memory after the last. Those behind a trial's end come to
        nothing: none follows that counts."""
        encoder = part(params, "encoder")
        return unroll(part(params, "cell"), torch.tanh(mlp(encoder, x, "tanh")) if encoder else x, carry)

    def forward(self, params: Mapping[str, Tensor], x: Tensor, carry: Carry | None = None) -> tuple[Distribution, Carry]:
        """The policy at each step, and the memory after the last."""
        hidden, carry = self.hidden(params, x, carry)
        return self.head.read(params, mlp(part(params, "head"), hidden)), carry

    def loss(self, params: Mapping[str, Tensor], trials: Trials, carry: Carry, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's equation 7 with the bonus of its equation 9: the sum over the steps that count, divided by ``count``. By-product: such sums
        of other things."""
        at, _ = self.forward(params, trials.x, carry)
        change, clip = self.head.log_prob(at, trials.action) - trials.log_prob, self.config.clip
        ratio = likelihood_ratio(change)
        each = {
            "policy_loss": -clipped(ratio, trials.advantage, clip),
            "entropy": self.head.entropy(at),
            "kl": ratio - 1 - change,  # its mean is KL(old || new), and unlike -change it is never negative
            "clip_fraction": ((ratio - 1).abs() > clip).to(ratio.dtype),
        }
        sums = {name: torch.where(trials.valid > 0, value, 0.0).sum() / count for name, value in each.items()}
        return sums["policy_loss"] - self.config.entropy * sums["entropy"], sums

    # ---- the data -----------------------------------------------------------------------------------------------------

    def trials(self, batch: Round, params: Mapping[str, Tensor]) -> tuple[Trials, dict[str, Tensor]]:
        """A round (1, K, N, E, T, ...), acted by ``params``, as trials but for their ``log_prob``, which is 0 as yet; and metrics of it."""
        valid, moved = in_front(batch.valid)
        obs, action, reward = (moved(column) for column in batch[:3])
        later = torch.zeros_like(batch.valid)
        later[..., 1:, 0] = 1  # the first step of a later episode
        past = torch.cat([action, reward[..., None] * self.config.seen_reward_scale], -1)
        past = torch.cat([torch.zeros_like(past[:1]), past[:-1]])
        x = torch.cat([obs, past, moved(later)[..., None]], -1)
        advantage, explained = self.advantages(params, x, reward, valid)
        metrics = {"explained_variance": explained, "trial_return": reward.sum(0).mean()}
        return Trials(x, action, reward, valid, advantage, torch.zeros_like(reward)), metrics

    def advantages(self, params: Mapping[str, Tensor], x: Tensor, reward: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(L, B), and what the baseline explains (). Each task has a baseline of its own, fitted to all its trials of this round."""
        gamma, lam, normalize = self.config.gamma, self.config.gae_lambda, self.config.normalize_advantage
        known, gains, taken = (leaf.unflatten(0, (self.tasks, -1)) for leaf in (self.known(params, x), reward.mT, valid.mT))
        advantage, explained = advantages(known, gains, taken, gamma, lam, normalize=normalize)
        return advantage.flatten(0, 1).mT.contiguous(), explained

    @torch.no_grad()
    def known(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """What the baseline is linear in, (B, L, ...), of the inputs (L, B, X) of trials."""
        seen = features(x.transpose(0, 1))
        return torch.cat([seen, self.hidden(params, x)[0].transpose(0, 1)], -1) if self.config.memory_baseline else seen

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        """[S] int64: a seed each, for how trials are dealt into minibatches."""
        return shuffle_seeds(generators)

    def pieces(self, length: int) -> list[Piece]:
        """Of trials of L steps, in the order of time: together they learn from each step once."""
        chunk = self.config.chunk or length
        return [Piece(max(0, start - self.config.burn_in), start, min(start + chunk, length)) for start in range(0, length, chunk)]

    def deal(self, valid: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, int, Piece]]:
        """Of one epoch: (rows (b,), index of the piece, piece), without those in which nobody took a step."""
        B = valid.shape[1]
        for rows in torch.randperm(B, generator=generator).to(valid.device).tensor_split(min(self.config.minibatches, B)):
            for i, piece in enumerate(self.pieces(len(valid))):
                if valid[piece.start, rows].any():
                    yield rows, i, piece

    @torch.no_grad()
    def remember(self, params: Mapping[str, Tensor], trials: Trials) -> tuple[Tensor, list[Carry]]:
        """Log-probabilities (L, B) of the actions, and the memory (B, H) at the point from which each piece watches."""
        length = len(trials.valid)
        begins = [piece.watch for piece in self.pieces(length)]
        log_probs, carries = [], []
        B = trials.valid.shape[1]
        for rows in torch.arange(B, device=trials.x.device).tensor_split(
            min(self.config.minibatches, B)
        ):  # no more at once than learning takes
            carry, own, kept = zero_carry(part(params, "cell"), len(rows)), [], []
            for begin, end in zip(begins, [*begins[1:], length], strict=True):
                kept.append(carry)
                if end > begin:
                    at, carry = self.forward(params, trials.x[begin:end, rows], carry)
                    own.append(self.head.log_prob(at, trials.action[begin:end, rows]))
            log_probs.append(torch.cat(own))
            carries.append(kept)
        return torch.cat(log_probs, 1), [
            {name: torch.cat([c[name] for c in each]) for name in each[0]} for each in zip(*carries, strict=True)
        ]

    def gradient(
        self, params: Mapping[str, Tensor], trials: Trials, rows: Tensor, piece: Piece, carry: Carry, count: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Of the loss of some trials' piece, ``carry`` (B, H) being the memory of all trials where the piece watches from."""
        carry = {name: value[rows] for name, value in carry.items()}
        if piece.watch < piece.start:
            with torch.no_grad():
                _, carry = self.forward(params, trials.x[piece.watch : piece.start, rows], carry)
        leaves = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
        loss, sums = self.loss(leaves, Trials(*(leaf[piece.start : piece.stop, rows] for leaf in trials)), carry, count)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        return clip_norm(dict(zip(leaves, grads, strict=True)), self.config.max_grad_norm), {k: v.detach() for k, v in sums.items()}

    def update_one(self, state: State, batch: Round, seed: Tensor) -> tuple[State, dict[str, Tensor]]:
        """All epochs of one seed. Metrics are those of the last epoch, over all its steps."""
        config, generator = self.config, torch.Generator().manual_seed(int(seed))
        (params, moments, steps), (trials, metrics) = state, self.trials(batch, state.params)
        parts = min(config.minibatches, trials.valid.shape[1]) * len(self.pieces(len(trials.valid)))
        count = trials.valid.sum() / parts  # of an average piece: in one with fewer steps, a step does not count for more
        carries: list[Carry] = []
        for epoch in range(config.epochs):
            if epoch == 0 or config.chunk:
                log_prob, carries = self.remember(params, trials)
                trials = trials if epoch else trials._replace(log_prob=log_prob)
            done = []
            for rows, i, piece in self.deal(trials.valid, generator):
                grads, sums = self.gradient(params, trials, rows, piece, carries[i], count)
                steps = steps + 1
                params, moments = adam(params, grads, moments, steps, lr=config.lr, eps=config.adam_eps)
                params = self.head.bounded(params)
                done.append(sums)
            metrics |= {name: torch.stack([sums[name] for sums in done]).sum() / parts for name in done[0]}
        return State(params, moments, steps), metrics

    def update(self, state: State, batch: Round, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place, one after the other; batch (S, 1, K, N, E, T, ...), acted by the very parameters in ``state``.
        Returns metrics [S]. ``reduce`` has nothing to do: a round has one learner."""
        return in_turn(self.update_one, state, batch, noise)


def part(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parameters whose names begin with ``name`` and a dot, without that."""
    return {key.removeprefix(f"{name}."): leaf for key, leaf in params.items() if key.startswith(f"{name}.")}


def in_front(valid: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Of (1, K, N, E, T), 1 where a step was taken: the same as (L, B), all of a trial's steps in front, L being the most that one took;
    and what brings columns (1, K, N, E, T, ...) into that order, (L, B, ...), zeros where none was taken."""
    taken = valid[0].flatten(0, 1).flatten(1)
    counts, order = taken.sort(dim=1, descending=True, stable=True)
    length = int(taken.sum(1).max())
    counts, order = counts[:, :length], order[:, :length]

    def moved(column: Tensor) -> Tensor:
        flat = column[0].flatten(0, 1).flatten(1, 2)
        shape = (*order.shape, *[1] * (flat.dim() - 2))
        chosen = torch.take_along_dim(flat, order.reshape(shape), 1)
        return torch.where(counts.reshape(shape) > 0, chosen, 0.0).transpose(0, 1).contiguous()

    return counts.mT.contiguous(), moved


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> RL2:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each. The policy is not told its task."""
    return RL2(config, spec, tasks)

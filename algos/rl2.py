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
FINAL_RATE = 0.1
"""share of the step size that is left at the end of its decay"""
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
    episode_gamma: float | None = None
    """discount from an episode's last step to the next one's first; None: as from any step to the next. 0: what is found out in an episode
    is worth nothing in the next"""
    gae_lambda: float = 0.95
    """lambda of GAE"""
    memory_baseline: bool = False
    """the baseline also sees the cell's state: what the policy has found out about its trial"""
    normalize_advantage: bool = True
    """mean 0 and standard deviation 1 over each task's steps of a round, so that no task owns the gradient"""
    lr: float = 1e-3
    """Adam step size"""
    decay_steps: int = 0
    """gradient steps over which the step size falls, linearly, to a tenth, where it stays; 0: it is the same all the time"""
    clip: float = 0.2
    """beyond 1 +- this, a step's probability ratio has no gradient"""
    entropy: float = 0.0
    """weight of the policy's entropy in the loss, per nat"""
    epochs: int = 10
    """how often each step is learned from"""
    minibatches: int = 4
    """parts that the trials of a round are dealt into, anew in each epoch; a gradient step for each"""
    chunk: int = 0
    """env steps that gradients flow back through, with a gradient step for each such piece of a trial, in the order of time: a piece begins
    with the memory that the one before it ended with, a gradient step ago; 0: the whole trial"""
    burn_in: int = 0
    """env steps before a piece over which that memory is brought up to date; they are not learned from with this piece"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm; 0: never"""
    adam_eps: float = 1e-8
    """what Adam adds to its denominator"""

    def __post_init__(self) -> None:
        settings.positive(self, "episodes", "hidden", "epochs", "minibatches", "min_std", "seen_reward_scale", "lr", "clip", "adam_eps")
        settings.share(self, "gamma", "gae_lambda")
        if self.episode_gamma is not None and not 0 <= self.episode_gamma <= 1:
            raise ConfigError(f"algo.episode_gamma is {self.episode_gamma}; it must be in [0, 1]")
        settings.not_negative(self, "decay_steps", "entropy", "chunk", "burn_in", "max_grad_norm")
        settings.between(self, "min_std", "init_std", "max_std")
        settings.one_of(self, "cell", tuple(GATES))
        settings.layers(self, "encoder")
        if self.burn_in > self.chunk:
            raise ConfigError(
                f"algo.burn_in is {self.burn_in}, algo.chunk is {self.chunk}. Allowed: at most the chunk; whole trials need none"
            )


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
    """Env steps of a trial that a gradient step learns from."""

    watch: int
    """from where the memory is brought up to date"""
    start: int
    stop: int
    hand_on: int
    """from where the next piece watches; within this one"""


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
        """See ``core.abilities.Transferring``. The policy and its memory's cell are one network; there is no other."""
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

    def hidden_and_memory(self, params: Mapping[str, Tensor], x: Tensor, carry: Carry, at: int) -> tuple[Tensor, Carry]:
        """As ``hidden``, with the memory before step ``at``, which lies within."""
        if at == len(x):
            return self.hidden(params, x, carry)
        before, carry = self.hidden(params, x[:at], carry) if at else (x.new_zeros(0, x.shape[1], self.config.hidden), carry)
        return torch.cat([before, self.hidden(params, x[at:], carry)[0]]), carry

    def read(self, params: Mapping[str, Tensor], hidden: Tensor) -> Distribution:
        """The policy at each step, of the cell's state (L, B, H) after it."""
        return self.head.read(params, mlp(part(params, "head"), hidden))

    def loss(
        self, params: Mapping[str, Tensor], trials: Trials, carry: Carry, count: Tensor, hand_on: int
    ) -> tuple[Tensor, tuple[dict[str, Tensor], Carry]]:
        """PPO's equation 7 with the bonus of its equation 9: the sum over the steps that count, divided by ``count``. By-products: such
        sums of other things, and the memory before step ``hand_on``."""
        hidden, kept = self.hidden_and_memory(params, trials.x, carry, hand_on)
        at = self.read(params, hidden)
        change, clip = self.head.log_prob(at, trials.action) - trials.log_prob, self.config.clip
        ratio = likelihood_ratio(change)
        each = {
            "policy_loss": -clipped(ratio, trials.advantage, clip),
            "entropy": self.head.entropy(at),
            "kl": ratio - 1 - change,  # its mean is KL(old || new), and unlike -change it is never negative
            "clip_fraction": ((ratio - 1).abs() > clip).to(ratio.dtype),
        }
        sums = {name: torch.where(trials.valid > 0, value, 0.0).sum() / count for name, value in each.items()}
        return sums["policy_loss"] - self.config.entropy * sums["entropy"], (sums, kept)

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
        advantage, explained = self.advantages(params, x, reward, valid, moved(later))
        metrics = {"explained_variance": explained, "trial_return": reward.sum(0).mean()}
        return Trials(x, action, reward, valid, advantage, torch.zeros_like(reward)), metrics

    def advantages(self, params: Mapping[str, Tensor], x: Tensor, reward: Tensor, valid: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """(L, B), and what the baseline explains (). Each task has a baseline of its own, fitted to all its trials of this round.

        Args:
            later: (L, B) 1 at the first step of a later episode.
        """
        config = self.config
        across = config.gamma if config.episode_gamma is None else config.episode_gamma
        ends = torch.cat([later[1:], torch.zeros_like(later[:1])]) > 0
        gamma = torch.where(ends, across, config.gamma).to(reward.dtype)
        known, gains, taken, rates = (
            leaf.unflatten(0, (self.tasks, -1)) for leaf in (self.known(params, x), reward.mT, valid.mT, gamma.mT)
        )
        advantage, explained = advantages(known, gains, taken, rates, config.gae_lambda, normalize=config.normalize_advantage)
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
        chunk, burn_in = self.config.chunk or length, self.config.burn_in
        ends = [(start, min(start + chunk, length)) for start in range(0, length, chunk)]
        return [Piece(max(0, start - burn_in), start, stop, stop if stop == length else stop - burn_in) for start, stop in ends]

    def groups(self, trials: int) -> int:
        """Minibatches of a round."""
        return min(self.config.minibatches, trials)

    def deal(self, valid: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Piece]]:
        """Of one epoch: (rows (b,), piece), the pieces of a row in the order of time, without those in which nobody took a step."""
        B = valid.shape[1]
        for rows in torch.randperm(B, generator=generator).to(valid.device).tensor_split(self.groups(B)):
            for piece in self.pieces(len(valid)):
                if valid[piece.start, rows].any():
                    yield rows, piece

    @torch.no_grad()
    def log_probs(self, params: Mapping[str, Tensor], trials: Trials) -> Tensor:
        """(L, B) of the actions; no more at once than learning takes."""
        found, B = [], trials.x.shape[1]
        for rows in torch.arange(B, device=trials.x.device).tensor_split(self.groups(B)):
            carry, own = None, []
            for piece in self.pieces(len(trials.x)):
                hidden, carry = self.hidden(params, trials.x[piece.start : piece.stop, rows], carry)
                own.append(self.head.log_prob(self.read(params, hidden), trials.action[piece.start : piece.stop, rows]))
            found.append(torch.cat(own))
        return torch.cat(found, 1)

    def gradient(
        self, params: Mapping[str, Tensor], trials: Trials, rows: Tensor, piece: Piece, carry: Carry, count: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Carry]:
        """Of the loss of some trials' piece, ``carry`` (b, H) being their memory where the piece watches from; and their memory where the
        next one does."""
        if piece.watch < piece.start:
            with torch.no_grad():
                _, carry = self.hidden(params, trials.x[piece.watch : piece.start, rows], carry)
        leaves = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
        own = Trials(*(leaf[piece.start : piece.stop, rows] for leaf in trials))
        loss, (sums, kept) = self.loss(leaves, own, carry, count, piece.hand_on - piece.start)
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        told, memory = ({name: value.detach() for name, value in of.items()} for of in (sums, kept))
        return clip_norm(grads, self.config.max_grad_norm), told, memory

    def rate(self, steps: Tensor) -> float | Tensor:
        """Adam's step size at gradient step ``steps`` (), which counts from 1."""
        lr, decay = self.config.lr, self.config.decay_steps
        return lr * (1 - (steps - 1) / decay).clamp(min=FINAL_RATE) if decay else lr

    def update_one(self, state: State, batch: Round, seed: Tensor) -> tuple[State, dict[str, Tensor]]:
        """All epochs of one seed. Metrics are those of the last epoch, over all its steps."""
        config, generator = self.config, torch.Generator().manual_seed(int(seed))
        (params, moments, steps), (trials, metrics) = state, self.trials(batch, state.params)
        parts = self.groups(trials.valid.shape[1]) * len(self.pieces(len(trials.valid)))
        count = trials.valid.sum() / parts  # of an average piece: in one with fewer steps, a step does not count for more
        trials = trials._replace(log_prob=self.log_probs(params, trials))
        for _ in range(config.epochs):
            done, carry = [], {}
            for rows, piece in self.deal(trials.valid, generator):
                if piece.start == 0:
                    carry = zero_carry(part(params, "cell"), len(rows))
                grads, sums, carry = self.gradient(params, trials, rows, piece, carry, count)
                steps = steps + 1
                params, moments = adam(params, grads, moments, steps, lr=self.rate(steps), eps=config.adam_eps)
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

"""Model-agnostic meta-learning of policies: parameters from which a gradient step on few episodes leads to a policy of a new task.

Finn, Abbeel and Levine 2017 (arXiv 1703.03400): equations 1 and 4, algorithm 3. Meta-World (Yu et al. 2019), appendix E.10: PPO outside.
Rothfuss et al. 2019, "ProMP" (arXiv 1810.06784): section 4.2 on why the inner loss is a likelihood ratio: its second derivatives are those
of the expected return, those of a log-probability are not. Foerster et al. 2018, "DiCE", is the same at the acting parameters; we take
the ratio of each step alone, ProMP's form of little variance.
What differs: the KL that "trpo" bounds is that of the adapted policies, through the adaptation; inside and outside each simulator has
a baseline of its own and advantages normalised by themselves.

Shapes: S seeds, M = K N lanes (simulators, task-major), B = E T steps of a lane's E episodes, O observation, A action. A lane is a task of
its own: policies are not told the task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import settings
from algos.lib.adam import AdamState, adam, clip_norm, init_adam
from algos.lib.adaptation import Params, adapted, choose_lanes, has_lanes, numpy_lanes, to_lanes
from algos.lib.advantages import advantages, group_mean, valid_mean
from algos.lib.mlp import Activation, init_mlp, mlp, numpy_mlp
from algos.lib.policies import Distribution, head
from algos.lib.returns import features
from algos.lib.seeds import in_turn, shuffle_seeds
from algos.lib.surrogate import clipped, likelihood_ratio, taken_only
from algos.lib.transfer import Origin, check_same, copied
from algos.lib.trust_region import Output, Region, trust_region_step
from core.contracts import Reduce, alone
from core.tree import index_tree, stack_trees
from core.types import Field, Round, Rounds, Seen, TaskSpec

KEPT = ("hidden", "activation")
"""settings that a run shares with the one it begins from: they decide what its networks are"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of MAML."""

    hidden: tuple[int, ...] = (100, 100)
    """units of each hidden layer of the policy; none: a linear policy"""
    activation: Activation = "tanh"
    """of the hidden layers"""
    episodes: int = 10
    """whole episodes of each simulator before each inner step, and again after the last"""
    gamma: float = 0.99
    """discount per env step"""
    gae_lambda: float = 1.0
    """what advantages weigh later steps with, beside gamma"""
    inner_lr: float = 0.05
    """step size of the adaptation"""
    inner_steps: int = 1
    """gradient steps of the adaptation, each on fresh episodes"""
    outer: Literal["ppo", "trpo"] = "ppo"
    """what moves the parameters that adaptation begins with"""
    first_order: bool = False
    """leave out the derivative of the inner gradient: cheaper, and another gradient"""
    lr: float = 1e-3
    """ppo: Adam step size"""
    epochs: int = 5
    """ppo: Adam steps per round, each on all of it"""
    clip: float = 0.2
    """ppo: ratios beyond 1 +- clip gain nothing"""
    max_grad_norm: float = 0.0
    """ppo: the gradient is scaled down to this norm; 0: never"""
    delta: float = 0.01
    """trpo: largest mean KL(old || new) of the adapted policies, nats"""
    cg_iterations: int = 10
    """trpo: of conjugate gradient"""
    damping: float = 1e-5
    """trpo: added to the diagonal of the Fisher matrix"""
    backtrack: float = 0.8
    """trpo: factor on the step after each refusal"""
    backtracks: int = 15
    """trpo: steps tried before the update is given up, the full one included"""
    entropy: float = 0.0
    """nats of the adapted policies' entropy are worth this much, in units of normalised advantage"""
    init_std: float = 1.0
    """standard deviation of the actions at the start"""
    min_std: float = 1e-3
    """below which it does not go"""
    max_std: float = 10.0
    """above which it does not go"""
    normalize_advantage: bool = True
    """mean 0 and standard deviation 1 for each simulator and phase; without it ``inner_lr`` has the unit of a reward"""

    def __post_init__(self) -> None:
        settings.layers(self, "hidden")
        settings.one_of(self, "activation", ("relu", "tanh"))
        settings.one_of(self, "outer", ("ppo", "trpo"))
        settings.positive(self, "episodes", "inner_lr", "inner_steps", "lr", "epochs", "clip", "delta", "cg_iterations", "backtracks")
        settings.positive(self, "min_std")
        settings.not_negative(self, "damping", "entropy", "max_grad_norm")
        settings.share(self, "gamma", "gae_lambda")
        settings.shrinking(self, "backtrack")
        settings.between(self, "min_std", "init_std", "max_std")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    params: Params
    """[S, ...] what adaptation begins with: observation -> mean (A), and ``log_std`` (1, A); logits (A) where actions are discrete"""
    acting: Params
    """[S, M, ...] what each lane acts with now"""
    adam: AdamState
    steps: Tensor
    """[S] float32, Adam steps done"""
    updates: Tensor
    """[S] float32, updates done"""


class Episodes(NamedTuple):
    """One phase of one seed; nothing in it is differentiated."""

    obs: Tensor
    """(M, B, O)"""
    action: Tensor
    """(M, B, A)"""
    advantage: Tensor
    """(M, B)"""
    valid: Tensor
    """(M, B)"""
    log_prob: Tensor
    """(M, B) of the actions, when they were chosen"""


class MAML:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, lanes: int) -> None:
        self.config, self.lanes = config, lanes
        self.obs_dim, self.action_dim = spec.obs_dim, spec.action_dim
        self.noise_dim = spec.action_dim
        self.head = head(spec, config.init_std, config.min_std, config.max_std)
        self.region = Region(config.delta, config.cg_iterations, config.damping, config.backtrack, config.backtracks)
        self.plan = Rounds(config.episodes, 1 + config.inner_steps, one_goal=True)

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator = torch.Generator().manual_seed(seed)
        network = init_mlp((self.obs_dim, *self.config.hidden, self.action_dim), generator)
        params = {**network, **self.head.init()}
        return State(params, to_lanes(params, self.lanes), init_adam(params), torch.zeros(()), torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. What adaptation begins with is all there is; every lane begins with it, whatever the other
        run's lanes had become."""
        check_same(self.config, source.config, KEPT)
        params = copied(old.params)
        lanes = {name: leaf[:, None].repeat(1, self.lanes, *[1] * (leaf.dim() - 1)) for name, leaf in params.items()}
        return state._replace(params=params, acting=lanes)

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.acting

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), not clipped: drawn, or the likeliest where ``noise`` is None. ``params`` lead with lanes, or are one policy."""
        layers, activation = len(self.config.hidden) + 1, self.config.activation
        if has_lanes(params):
            params = choose_lanes(params, seen.lanes)
            out = numpy_lanes(params, seen.obs, layers, activation)
        else:
            out = numpy_mlp(params, seen.obs, layers, seen.tasks, activation=activation)
        return self.head.draw(params, out, noise), carry, {}

    # ---- adaptation, for one seed: no S axis --------------------------------------------------------------------------

    def distribution(self, lanes: Params, obs: Tensor) -> Distribution:
        """(M, B, O), each lane by its own parameters -> of (M, B, A)."""
        return self.head.read(lanes, mlp(lanes, obs, self.config.activation))

    def episodes(self, lanes: Params, batch: Round) -> tuple[Episodes, Tensor]:
        """What one phase (K, N, E, T, ...) that ``lanes`` acted says; and the variance of returns that the baselines explain."""
        config = self.config
        obs, action, reward, valid = (x.flatten(0, 1) for x in taken_only(batch)[:4])  # (M, E, T, ...)
        known, normalize = features(obs), config.normalize_advantage
        advantage, explained = advantages(known, reward, valid, config.gamma, config.gae_lambda, normalize=normalize)
        obs, action, valid = obs.flatten(1, 2), action.flatten(1, 2), valid.flatten(1)
        with torch.no_grad():
            log_prob = self.head.log_prob(self.distribution(lanes, obs), action)
        return Episodes(obs, action, advantage.flatten(1), valid, log_prob), explained

    def ratio(self, at: Distribution, data: Episodes) -> Tensor:
        """(M, B) how much likelier the actions became since they were chosen."""
        return likelihood_ratio(self.head.log_prob(at, data.action) - data.log_prob)

    def inner_loss(self, lanes: Params, data: Episodes) -> Tensor:
        """The sum over lanes of equation 4, as a ratio: 0-d."""
        return -valid_mean(self.ratio(self.distribution(lanes, data.obs), data) * data.advantage, data.valid).sum()

    def adaptation(self, lanes: Params, phases: Sequence[Episodes], *, through: bool = False) -> Params:
        """(M, ...) after a step on each of the phases."""
        losses = [partial(self.inner_loss, data=data) for data in phases]
        return adapted(lanes, losses, self.config.inner_lr, through=through)

    def inner(self, state: State, batch: Round, phase: int) -> dict[str, Tensor]:
        """What actors get for phase ``phase`` + 1; batch (S, P, K, N, E, T, ...). ``moved`` is the mean length of a lane's step."""

        def one(lanes: Params, own: Round) -> tuple[Params, dict[str, Tensor]]:
            data, explained = self.episodes(lanes, phase_of(own, phase))
            new = self.adaptation(lanes, [data])
            squares = [(new[k] - lanes[k]).flatten(1).square().sum(1) for k in new]
            return new, {"moved": torch.stack(squares).sum(0).sqrt().mean(), "inner_explained_variance": explained}

        return in_turn(one, state.acting, batch)

    def adapt(self, params: Mapping[str, NDArray], batch: Round) -> dict[str, NDArray]:
        """One step of each simulator by itself, on the episodes (1, N, 1, E, T, ...) that ``params`` acted: (N, ...)."""
        N = batch.reward.shape[1]
        if has_lanes(params):
            params = choose_lanes(params, np.arange(N))
        lanes = {name: torch.tensor(array) for name, array in params.items()}
        if not has_lanes(params):
            lanes = to_lanes(lanes, N)
        data, _ = self.episodes(lanes, phase_of(batch, 0))
        return {name: tensor.numpy() for name, tensor in self.adaptation(lanes, [data]).items()}

    # ---- the outer objective, for one seed ----------------------------------------------------------------------------

    def phases(self, params: Params, batch: Round) -> tuple[list[Episodes], Distribution, Tensor]:
        """All phases of a round that began with ``params``, the policies that acted the last, and what their baselines explain."""
        lanes, found, explained = to_lanes(params, self.lanes), [], torch.zeros(())
        for phase in range(self.plan.phases):
            if phase:
                lanes = self.adaptation(lanes, found[-1:])
            data, explained = self.episodes(lanes, phase_of(batch, phase))
            found.append(data)
        with torch.no_grad():
            return found, self.distribution(lanes, found[-1].obs), explained

    def after(self, params: Params, phases: Sequence[Episodes]) -> Distribution:
        """(M, B, A) in the last phase, of policies adapted from ``params`` on the phases before it."""
        lanes = self.adaptation(to_lanes(params, self.lanes), phases[:-1], through=not self.config.first_order)
        return self.distribution(lanes, phases[-1].obs)

    def entropy(self, at: Distribution, data: Episodes) -> Tensor:
        """0-d, nats."""
        return group_mean(self.head.entropy(at), data.valid)

    def both(self, params: Params, phases: Sequence[Episodes], old: Distribution) -> tuple[Tensor, Tensor]:
        """What "trpo" raises, and the mean KL(old || new) of the adapted policies, nats. Both 0-d, every lane with the same weight."""
        now, last = self.after(params, phases), phases[-1]
        gain = group_mean(self.ratio(now, last) * last.advantage, last.valid) + self.config.entropy * self.entropy(now, last)
        return gain, group_mean(self.head.kl(old, now), last.valid)

    def output(self, phases: Sequence[Episodes], old: Distribution) -> Output:
        """The KL of ``both``, by way of the adapted policies' output."""
        return Output(
            lambda params: self.after(params, phases),
            lambda at: group_mean(self.head.kl(old, Distribution(*at)), phases[-1].valid),
        )

    def clipped_loss(self, params: Params, phases: Sequence[Episodes]) -> Tensor:
        """What "ppo" lowers (Schulman et al. 2017, equation 7), 0-d, every lane with the same weight."""
        now, last = self.after(params, phases), phases[-1]
        gain = group_mean(clipped(self.ratio(now, last), last.advantage, self.config.clip), last.valid)
        return -gain - self.config.entropy * self.entropy(now, last)

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        """[S] int64; not used: an update reads all of its round at once."""
        return shuffle_seeds(generators)

    def by_ppo(self, state: State, phases: Sequence[Episodes]) -> tuple[Params, AdamState, Tensor]:
        """Parameters, moments and number of steps after Adam's ``epochs`` steps."""
        config, params, moments, count = self.config, state.params, state.adam, state.steps
        for _ in range(config.epochs):
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
            with torch.enable_grad():
                slopes = torch.autograd.grad(self.clipped_loss(leaves, phases), list(leaves.values()))
            grads, count = clip_norm(dict(zip(leaves, slopes, strict=True)), config.max_grad_norm), count + 1
            params, moments = adam(params, grads, moments, count, lr=config.lr)
            params = self.head.bounded(params)
        return params, moments, count

    def update_one(self, state: State, batch: Round) -> tuple[State, dict[str, Tensor]]:
        """The outer step of one seed; the state that was given is left as it is."""
        phases, old, explained = self.phases(state.params, batch)
        both, metrics = partial(self.both, phases=phases, old=old), {}
        if self.config.outer == "ppo":
            params, moments, steps = self.by_ppo(state, phases)
        else:
            taken = trust_region_step(both, state.params, self.region, self.output(phases, old))
            params, moments, steps = self.head.bounded(taken.params), state.adam, state.steps
            metrics["accepted"] = torch.full_like(explained, taken.share)
        with torch.no_grad():
            gain, kl = both(params)
            entropy = self.entropy(self.after(params, phases), phases[-1])
        metrics |= {"policy_loss": -gain, "kl": kl, "entropy": entropy, "explained_variance": explained}
        for name, phase in (("return_before", 0), ("return_after", -1)):
            metrics[name] = taken_only(batch).reward[phase].sum(-1).mean()
        return State(params, to_lanes(params, self.lanes), moments, steps, state.updates + 1), metrics

    def update(self, state: State, batch: Round, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place, in turn; batch (S, P, K, N, E, T, ...). Returns metrics [S].

        ``return_before`` and ``return_after`` are of the round's first and last phase, not discounted; ``kl`` is that of the adapted
        policies; ``accepted`` ("trpo") is the share of the full step that was taken, 0 where none was.
        """
        return in_turn(self.update_one, state, batch)


def phase_of(batch: Round, phase: int) -> Round:
    """(P, K, N, ...) -> (K, N, ...)"""
    return index_tree(batch, phase)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> MAML:
    """The algorithm for ``simulators`` simulators of each of ``tasks`` tasks; each simulator is a task of its own to MAML."""
    return MAML(config, spec, tasks * simulators)

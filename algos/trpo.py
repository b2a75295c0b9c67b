"""Trust region policy optimisation, single- and multi-task.

Schulman et al. 2015, "Trust Region Policy Optimization" (arXiv 1502.05477): equation 14, section 6, appendix C. Meta-World (Yu et al.
2019), appendix E.6 (MT-TRPO: one policy that is told its task by a one-hot, 10 episodes per task, linear feature baseline).
What differs from the paper: advantages by GAE (Schulman et al. 2016), normalised within each task, and every task has the same weight: a
task of large rewards does not own the gradient.

Shapes: S seeds, K tasks, B = N E T steps per task of N simulators, E episodes, T time; O observation, A action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import settings
from algos.lib.advantages import advantages, group_mean
from algos.lib.mlp import Activation, init_mlp, numpy_mlp, task_mlp
from algos.lib.policies import Distribution, head
from algos.lib.returns import features
from algos.lib.seeds import in_turn, shuffle_seeds
from algos.lib.surrogate import likelihood_ratio, task_major
from algos.lib.transfer import Origin, check_same, network
from algos.lib.trust_region import Output, Region, trust_region_step
from core.contracts import Reduce, alone
from core.tree import stack_trees
from core.types import Field, Round, Rounds, Seen, TaskSpec

KEPT = ("hidden", "activation")
"""settings that a run shares with the one it begins from: they decide what its networks are"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of TRPO."""

    hidden: tuple[int, ...] = (64, 64)
    """units of each hidden layer of the policy; none: a linear policy"""
    activation: Activation = "tanh"
    """of the hidden layers"""
    episodes: int = 10
    """whole episodes of each simulator per update"""
    gamma: float = 0.99
    """discount per env step"""
    gae_lambda: float = 0.97
    """what advantages weigh later steps with, beside gamma"""
    delta: float = 0.01
    """largest mean KL(old || new) of an update, nats"""
    cg_iterations: int = 10
    """of conjugate gradient: Fisher-vector products per update"""
    damping: float = 1e-5
    """added to the diagonal of the Fisher matrix"""
    backtrack: float = 0.8
    """factor on the step after each refusal"""
    backtracks: int = 15
    """steps tried before the update is given up, the full one included"""
    entropy: float = 0.0
    """nats of the policy's entropy are worth this much, in units of normalised advantage"""
    init_std: float = 2.0
    """standard deviation of the actions at the start"""
    min_std: float = 1e-3
    """below which it does not go"""
    max_std: float = 10.0
    """above which it does not go"""
    normalize_advantage: bool = True
    """mean 0 and standard deviation 1 over each task's steps of a round, so that no task owns the gradient"""

    def __post_init__(self) -> None:
        settings.layers(self, "hidden")
        settings.one_of(self, "activation", ("relu", "tanh"))
        settings.positive(self, "episodes", "delta", "cg_iterations", "backtracks", "min_std")
        settings.not_negative(self, "damping", "entropy")
        settings.share(self, "gamma", "gae_lambda")
        settings.shrinking(self, "backtrack")
        settings.between(self, "min_std", "init_std", "max_std")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    policy: dict[str, Tensor]
    """[S, ...] observation (+ one-hot) -> mean (A), and ``log_std`` (1, A); logits (A) where actions are discrete"""
    updates: Tensor
    """[S] float32, updates done"""


class Data(NamedTuple):
    """What the objective of one seed reads; nothing in it is differentiated."""

    obs: Tensor
    """(K, B, O)"""
    action: Tensor
    """(K, B, A)"""
    advantage: Tensor
    """(K, B)"""
    valid: Tensor
    """(K, B)"""
    log_prob: Tensor
    """(K, B) of the actions, when they were chosen"""
    old: Distribution
    """(K, B, A) that they were drawn from"""


class TRPO:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.tasks = config, tasks
        self.action_dim = self.noise_dim = spec.action_dim
        self.task_dim = tasks if tasks > 1 else 0
        self.input_dim = spec.obs_dim + self.task_dim
        self.head = head(spec, config.init_std, config.min_std, config.max_std)
        self.region = Region(config.delta, config.cg_iterations, config.damping, config.backtrack, config.backtracks)
        self.plan = Rounds(config.episodes)

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator = torch.Generator().manual_seed(seed)
        policy = init_mlp((self.input_dim, *self.config.hidden, self.action_dim), generator)
        return State({**policy, **self.head.init()}, torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. There is no other network than the policy, and no optimiser that remembers."""
        check_same(self.config, source.config, KEPT)
        return state._replace(policy=network(old.policy, origin, told=source.task_dim, tells=self.task_dim, heads=False))

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.policy

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), not clipped: drawn, or the likeliest where ``noise`` is None."""
        out = numpy_mlp(params, seen.obs, len(self.config.hidden) + 1, seen.tasks, activation=self.config.activation)
        return self.head.draw(params, out, noise), carry, {}

    # ---- the objective, for one seed: no S axis -----------------------------------------------------------------------

    def distribution(self, policy: dict[str, Tensor], obs: Tensor) -> Distribution:
        """(K, B, O) -> of (K, B, A)."""
        return self.head.read(policy, task_mlp(policy, obs, heads=False, activation=self.config.activation))

    def data(self, policy: dict[str, Tensor], batch: Round) -> tuple[Data, Tensor]:
        """What a round (1, K, N, E, T, ...) that ``policy`` acted says; and the variance of returns that the baseline explains."""
        data, gamma, lam = task_major(batch), self.config.gamma, self.config.gae_lambda
        known, normalize = features(data.obs), self.config.normalize_advantage
        advantage, explained = advantages(known, data.reward, data.valid, gamma, lam, normalize=normalize)
        obs, action, valid = data.obs.flatten(1, 2), data.action.flatten(1, 2), data.valid.flatten(1)
        with torch.no_grad():
            old = self.distribution(policy, obs)
            log_prob = self.head.log_prob(old, action)
        return Data(obs, action, advantage.flatten(1), valid, log_prob, old), explained

    def objective(self, policy: dict[str, Tensor], data: Data) -> tuple[Tensor, Tensor]:
        """Equation 14, each task with the same weight, plus the entropy; and the mean KL(old || new), nats. Both 0-d."""
        now = self.distribution(policy, data.obs)
        ratio = likelihood_ratio(self.head.log_prob(now, data.action) - data.log_prob)
        gain = group_mean(ratio * data.advantage, data.valid) + self.config.entropy * self.entropy(now, data)
        return gain, group_mean(self.head.kl(data.old, now), data.valid)

    def output(self, data: Data) -> Output:
        """The KL of ``objective``, by way of the policy's output."""
        return Output(
            lambda policy: self.distribution(policy, data.obs),
            lambda at: group_mean(self.head.kl(data.old, Distribution(*at)), data.valid),
        )

    def entropy(self, at: Distribution, data: Data) -> Tensor:
        """0-d, nats."""
        return group_mean(self.head.entropy(at), data.valid)

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        """[S] int64; not used: an update reads all of its round at once."""
        return shuffle_seeds(generators)

    def update_one(self, state: State, batch: Round) -> tuple[State, dict[str, Tensor]]:
        """One step of one seed; the state that was given is left as it is."""
        data, explained = self.data(state.policy, batch)

        def both(policy: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return self.objective(policy, data)

        taken = trust_region_step(both, state.policy, self.region, self.output(data))
        with torch.no_grad():
            gain, kl = both(taken.params)
            entropy = self.entropy(self.distribution(taken.params, data.obs), data)
        share = torch.full_like(kl, taken.share)
        metrics = {"policy_loss": -gain, "kl": kl, "entropy": entropy, "accepted": share, "explained_variance": explained}
        return State(self.head.bounded(taken.params), state.updates + 1), metrics

    def update(self, state: State, batch: Round, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place, in turn; batch (S, 1, K, N, E, T, ...). Returns metrics [S].

        ``accepted`` is the share of the full step that was taken, 0 where none was; ``policy_loss`` and ``kl`` are those after it.
        """
        return in_turn(self.update_one, state, batch)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> TRPO:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return TRPO(config, spec, tasks)

"""Proximal policy optimisation, single- and multi-task: an on-policy learner from rounds of whole episodes.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms" (arXiv 1707.06347): equation 7 (clipped surrogate) and 9 (entropy bonus).
Generalised advantages: Schulman et al. 2016, equation 16. Baseline: linear in features of observation and time (Duan et al. 2016).
Meta-World (Yu et al. 2019), appendix E.5 (MT-PPO): the policy is told its task by a one-hot.
What differs: advantages are normalised for each task by itself, so that tasks with large returns do not own the gradient; every
minibatch has its share of each task; the baseline is solved, not descended.

Shapes: S seeds, K tasks, G episodes of each, T steps of each at most, M = G T, B steps per task of a minibatch, O observation, A action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import settings
from algos.lib.adam import AdamState, init_adam
from algos.lib.advantages import advantages, group_mean
from algos.lib.mlp import Activation, init_mlp, numpy_mlp, task_mlp
from algos.lib.policies import Distribution, head
from algos.lib.returns import features
from algos.lib.seeds import in_turn, shuffle_seeds
from algos.lib.surrogate import Descent, Minibatch, Samples, clipped, descend, likelihood_ratio, report, task_major
from algos.lib.transfer import Origin, check_same, network
from core.contracts import Reduce, alone
from core.tree import stack_trees
from core.types import Field, Round, Rounds, Seen, TaskSpec

LAST_SCALE = 0.01
"""of the policy's last layer at the start: all observations then have nearly the same actions (Andrychowicz et al. 2021, section 3.2)"""
KEPT = ("hidden", "activation", "multi_head")
"""settings that a run shares with the one it begins from: they decide what its networks are"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of PPO."""

    hidden: tuple[int, ...] = (128, 128)
    """units of each hidden layer of the policy; none: a linear policy"""
    activation: Activation = "tanh"
    """of the hidden layers"""
    episodes: int = 10
    """whole episodes of each simulator in a round"""
    gamma: float = 0.99
    """discount per env step"""
    gae_lambda: float = 0.97
    """share of what comes after a step that its advantage takes from rewards, not from the baseline"""
    clip: float = 0.2
    """how far the ratio of new to old probability may move an action's gain from 1"""
    epochs: int = 10
    """times that a round is gone through"""
    minibatches: int = 32
    """parts that a round is split into, each with its share of every task; one gradient step each"""
    lr: float = 3e-4
    """Adam step size"""
    entropy: float = 2e-3
    """nats of the policy's entropy are worth this much, in units of normalised advantage"""
    init_std: float = 1.0
    """standard deviation of the actions at the start"""
    min_std: float = 1e-3
    """below which it does not go"""
    max_std: float = 10.0
    """above which it does not go"""
    normalize_advantage: bool = True
    """mean 0 and standard deviation 1 over each task's steps of a round, so that no task owns the gradient"""
    max_grad_norm: float = 0.5
    """gradients are scaled down to this norm; 0: never"""
    target_kl: float = 0.0
    """a round is left after the epoch in which the policy moved farther than this, nats; 0: never"""
    multi_head: bool = False
    """the policy has an output layer of its own for each task"""

    def __post_init__(self) -> None:
        settings.layers(self, "hidden", least=int(self.multi_head))  # a layer that is told the task cannot be a head too
        settings.one_of(self, "activation", ("relu", "tanh"))
        settings.positive(self, "episodes", "clip", "epochs", "minibatches", "lr", "min_std")
        settings.share(self, "gamma", "gae_lambda")
        settings.not_negative(self, "entropy", "max_grad_norm", "target_kl")
        settings.between(self, "min_std", "init_std", "max_std")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    policy: dict[str, Tensor]
    """observation (+ one-hot) -> mean, and ``log_std``; or -> logits"""
    adam: AdamState
    steps: Tensor
    """[S] float32, gradient steps done"""


class PPO:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.tasks = config, tasks
        self.action_dim = self.noise_dim = spec.action_dim
        self.task_dim = tasks if tasks > 1 else 0
        self.input_dim = spec.obs_dim + self.task_dim
        self.head = head(spec, config.init_std, config.min_std, config.max_std)
        self.descent = Descent(config.epochs, config.minibatches, config.lr, config.max_grad_norm)
        self.plan = Rounds(config.episodes)

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator = torch.Generator().manual_seed(seed)
        heads = self.tasks if self.config.multi_head else None
        sizes = (self.input_dim, *self.config.hidden, self.action_dim)
        policy = {**init_mlp(sizes, generator, heads=heads, last_scale=LAST_SCALE), **self.head.init()}
        return State(policy, init_adam(policy), torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. There is no other network than the policy: the baseline is solved anew in every round."""
        check_same(self.config, source.config, KEPT)
        policy = network(old.policy, origin, told=source.task_dim, tells=self.task_dim, heads=self.config.multi_head)
        return state._replace(policy=policy)

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.policy

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), not clipped; the likeliest where ``noise`` is None."""
        config, layers = self.config, len(self.config.hidden) + 1
        out = numpy_mlp(params, seen.obs, layers, seen.tasks, heads=config.multi_head, activation=config.activation)
        return self.head.draw(params, out, noise), carry, {}

    # ---- the loss, for one seed: no S axis ---------------------------------------------------------------------------

    def actions(self, policy: dict[str, Tensor], obs: Tensor) -> Distribution:
        """obs (K, B, O) -> (K, B) distributions."""
        return self.head.read(policy, task_mlp(policy, obs, heads=self.config.multi_head, activation=self.config.activation))

    def loss(self, policy: dict[str, Tensor], samples: Samples, part: Minibatch) -> Tensor:
        """- (equation 7 + entropy bonus), the mean over a minibatch."""
        at = self.actions(policy, part.of(samples.inputs))
        log_ratio = self.head.log_prob(at, part.of(samples.action)) - part.of(samples.log_prob)
        gain = clipped(likelihood_ratio(log_ratio), part.of(samples.advantage), self.config.clip)
        return -part.mean(gain + self.config.entropy * self.head.entropy(at))

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        return shuffle_seeds(generators)

    def samples(self, policy: dict[str, Tensor], data: Round) -> tuple[Samples, Tensor]:
        """Of a round (K, G, T, ...), and the variance of returns that the baseline explains ()."""
        gamma, lam, normalize = self.config.gamma, self.config.gae_lambda, self.config.normalize_advantage
        advantage, explained = advantages(features(data.obs), data.reward, data.valid, gamma, lam, normalize=normalize)
        obs, action = data.obs.flatten(1, 2), data.action.flatten(1, 2)
        log_prob = self.head.log_prob(self.actions(policy, obs), action)
        return Samples(obs, action, advantage.flatten(1), log_prob, data.valid.flatten(1)), explained

    def update_one(self, state: State, batch: Round, seed: Tensor) -> tuple[State, dict[str, Tensor]]:
        """One round of one seed, (1, K, N, E, T, ...)."""
        samples, explained = self.samples(state.policy, task_major(batch))
        before, limit = self.actions(state.policy, samples.inputs), self.config.target_kl

        def too_far(policy: dict[str, Tensor]) -> bool:
            return bool(limit) and bool(group_mean(self.head.kl(before, self.actions(policy, samples.inputs)), samples.valid) > limit)

        policy, moments, steps = descend(
            self.descent,
            lambda policy, part: self.loss(policy, samples, part),
            (state.policy, state.adam, state.steps),
            samples.valid,
            torch.Generator().manual_seed(int(seed)),
            bounded=self.head.bounded,
            enough=too_far,
        )
        metrics = report(self.head, samples, before, self.actions(policy, samples.inputs), self.config.clip)
        return State(policy, moments, steps), metrics | {"explained_variance": explained}

    def update(self, state: State, batch: Round, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place, in turn; batch (S, 1, K, N, E, T, ...). Returns metrics [S].

        One process learns from the whole round: ``reduce`` is not called.
        """
        return in_turn(self.update_one, state, batch, noise)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> PPO:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return PPO(config, spec, tasks)

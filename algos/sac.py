"""Soft actor-critic, single- and multi-task: the reference that the other algorithm files imitate.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905): equations 5 to 7 (critics), 9 (policy),
18 (temperature); Meta-World (Yu et al. 2019), appendix E: one temperature per task, task one-hot, 128 transitions per task.
What differs: a truncated episode is bootstrapped through; log_alpha is clamped, so that a saturated task cannot run away.

Shapes: S seeds, K tasks, B transitions per task, O observation, A action. A batch is task-major (K, B, ...).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, grad_and_value

from algos.lib.adam import AdamState, adam, init_adam
from algos.lib.dists import tanh_gaussian
from algos.lib.mlp import init_mlp, mlp, numpy_mlp
from core.contracts import Reduce, alone
from core.errors import ConfigError
from core.tree import index_tree, stack_trees, write_tree
from core.types import Batch, Field, Stream, TaskSpec

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
LOG_ALPHA_MIN, LOG_ALPHA_MAX = -10.0, 2.0
STD_FLOOR = 0.01
"""smallest standard deviation that normalisation divides by, in units of the observation"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of SAC."""

    hidden: tuple[int, ...] = (256, 256)
    """units of each hidden layer, policy and critics alike"""
    batch_size: int = 256
    """transitions per task and update"""
    gamma: float = 0.99
    """discount per env step"""
    n_step: int = 1
    """env steps folded into one transition"""
    policy_lr: float = 3e-4
    """Adam step size of the policy"""
    critic_lr: float = 3e-4
    """Adam step size of the critics"""
    alpha_lr: float = 3e-4
    """Adam step size of the temperatures"""
    tau: float = 0.005
    """share of the critic that moves into its target with every update"""
    initial_alpha: float = 1.0
    """temperature at the start"""
    target_entropy_scale: float = 1.0
    """target entropy = -scale * A nats"""
    reward_scale: float = 1.0
    """factor on every reward before learning"""
    normalize_obs: bool = False
    """networks see (obs - mean) / std, statistics over all batches drawn so far"""

    def __post_init__(self) -> None:
        for name in ("batch_size", "n_step", "policy_lr", "critic_lr", "alpha_lr", "initial_alpha", "reward_scale"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be positive")
        for name in ("gamma", "tau"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be in (0, 1]")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"algo.hidden is {self.hidden}; it needs at least one layer of at least one unit")


class Params(NamedTuple):
    """Everything that gradients move."""

    policy: dict[str, Tensor]
    """[S, ...] observation (+ one-hot) -> mean and log_std (2A)"""
    critic: dict[str, Tensor]
    """[S, 2, ...] twin critics, observation (+ one-hot) and action -> Q"""
    log_alpha: dict[str, Tensor]
    """``log_alpha`` [S, K]"""


class Normalizer(NamedTuple):
    """Running moments of the observations drawn; mean 0 and square 1 where normalisation is off."""

    mean: Tensor
    """[S, O] mean of x"""
    square: Tensor
    """[S, O] mean of x^2"""


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    params: Params
    target: dict[str, Tensor]
    """target critics, shaped as ``params.critic``"""
    policy_adam: AdamState
    critic_adam: AdamState
    alpha_adam: AdamState
    normalizer: Normalizer
    updates: Tensor
    """[S] float32, updates done"""


class Noise(NamedTuple):
    """Standard normal numbers of one update."""

    policy: Tensor
    """(S, K * B, A) for the actions of the policy loss"""
    target: Tensor
    """(S, K * B, A) for the next actions of the critic target"""


class SAC:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.tasks = config, tasks
        self.action_dim = spec.action_dim
        self.task_dim = tasks if tasks > 1 else 0
        self.obs_dim, self.input_dim = spec.obs_dim, spec.obs_dim + self.task_dim
        self.target_entropy = -config.target_entropy_scale * spec.action_dim
        self.plan = Stream(config.batch_size, config.n_step, config.gamma)

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator = torch.Generator().manual_seed(seed)
        hidden, A = self.config.hidden, self.action_dim
        policy = init_mlp((self.input_dim, *hidden, 2 * A), generator)
        critic = init_mlp((self.input_dim + A, *hidden, 1), generator, stack=2)
        log_alpha = {"log_alpha": torch.full((self.tasks,), float(np.log(self.config.initial_alpha)))}
        return State(
            Params(policy, critic, log_alpha),
            {k: v.clone() for k, v in critic.items()},
            init_adam(policy),
            init_adam(critic),
            init_adam(log_alpha),
            Normalizer(torch.zeros(self.obs_dim), torch.ones(self.obs_dim)),
            torch.zeros(()),
        )

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return {**state.params.policy, "obs_mean": state.normalizer.mean, "obs_scale": scale_of(state.normalizer)}

    def act(
        self,
        params: Mapping[str, NDArray],
        carry: Any,
        obs: NDArray[np.float32],
        noise: NDArray[np.float32] | None,
        tasks: NDArray[np.int64],
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """obs (N, O) -> actions (N, A): tanh of a Gaussian sample, or of its mean where ``noise`` is None."""
        x = (obs - params["obs_mean"]) * params["obs_scale"]
        if self.task_dim:
            one_hot = np.zeros((len(x), self.task_dim), np.float32)
            one_hot[np.arange(len(x)), tasks] = 1.0
            x = np.concatenate([x, one_hot], axis=1)
        out = numpy_mlp(params, x, layers=len(self.config.hidden) + 1)
        mean, log_std = out[:, : self.action_dim], out[:, self.action_dim :]
        if noise is not None:
            mean = mean + np.exp(np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)) * noise
        return np.tanh(mean), carry, {}

    # ---- losses, for one seed: no S axis ------------------------------------------------------------------------------

    def sample_action(self, policy: dict[str, Tensor], x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, input) -> action (N, A), log_prob (N,)."""
        mean, log_std = mlp(policy, x).chunk(2, dim=-1)
        return tanh_gaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), noise)

    def q_values(self, critic: dict[str, Tensor], x: Tensor, action: Tensor) -> Tensor:
        """(2, N): both critics as one stacked matmul per layer."""
        xa = torch.cat([x, action], -1)
        return mlp(critic, xa.expand(2, *xa.shape))[..., 0]

    def critic_loss(self, critic: dict[str, Tensor], x: Tensor, action: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Equation 5, summed over the twins, against a fixed target y (N,)."""
        q = self.q_values(critic, x, action)
        return (q - y).square().mean(-1).sum(), q.mean()

    def policy_loss(
        self, policy: dict[str, Tensor], critic: dict[str, Tensor], alpha: Tensor, x: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Equation 9. alpha (N,) is a constant here. Also returns log_prob (N,)."""
        action, log_prob = self.sample_action(policy, x, noise)
        q = self.q_values(critic, x, action).amin(0)
        return (alpha * log_prob - q).mean(), log_prob

    def alpha_loss(self, log_alpha: dict[str, Tensor], log_prob: Tensor) -> Tensor:
        """Equation 18 with log_alpha in place of alpha; log_prob (K, B) is a constant. Task k moves log_alpha[k] only."""
        return -(log_alpha["log_alpha"] * (log_prob + self.target_entropy).mean(1)).mean()

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Noise:
        shape = (2, self.tasks * self.config.batch_size, self.action_dim)
        drawn = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators], 1)
        return Noise(drawn[0], drawn[1])

    def update_one(self, state: State, batch: Batch, noise: Noise) -> tuple[State, dict[str, Tensor]]:
        """One update of one seed as a pure function: critics, policy, temperatures, Adam, target."""
        config, params = self.config, state.params
        K, B, _ = batch.obs.shape
        normalizer = self._normalizer(state, batch.obs)
        x, next_x = self._inputs(batch.obs, normalizer), self._inputs(batch.next_obs, normalizer)
        action, reward, bootstrap = batch.action.flatten(0, 1), batch.reward.flatten() * config.reward_scale, batch.bootstrap.flatten()
        alpha = params.log_alpha["log_alpha"].exp()
        alpha_rows = alpha[:, None].expand(K, B).flatten()
        count = state.updates + 1

        next_action, next_log_prob = self.sample_action(params.policy, next_x, noise.target)
        next_q = self.q_values(state.target, next_x, next_action).amin(0)
        y = reward + bootstrap * (next_q - alpha_rows * next_log_prob)  # equation 3 and 6
        critic_grads, (critic_loss, q_mean) = grad_and_value(self.critic_loss, has_aux=True)(params.critic, x, action, y)
        critic, critic_adam = adam(params.critic, critic_grads, state.critic_adam, count, lr=config.critic_lr)

        policy_grads, (policy_loss, log_prob) = grad_and_value(self.policy_loss, has_aux=True)(
            params.policy, critic, alpha_rows, x, noise.policy
        )
        policy, policy_adam = adam(params.policy, policy_grads, state.policy_adam, count, lr=config.policy_lr)

        alpha_grads = grad(self.alpha_loss)(params.log_alpha, log_prob.view(K, B))
        log_alpha, alpha_adam = adam(params.log_alpha, alpha_grads, state.alpha_adam, count, lr=config.alpha_lr)
        log_alpha = {"log_alpha": log_alpha["log_alpha"].clamp(LOG_ALPHA_MIN, LOG_ALPHA_MAX)}

        target = {k: torch.lerp(t, critic[k], config.tau) for k, t in state.target.items()}
        metrics = {
            "critic_loss": critic_loss,
            "policy_loss": policy_loss,
            "q": q_mean,
            "entropy": -log_prob.mean(),
            "alpha": alpha.mean(),
        }
        return State(Params(policy, critic, log_alpha), target, policy_adam, critic_adam, alpha_adam, normalizer, count), metrics

    def _normalizer(self, state: State, obs: Tensor) -> Normalizer:
        """The moments with this batch (K, B, O) counted in."""
        if not self.config.normalize_obs:
            return state.normalizer
        share, flat = 1 / (state.updates + 1), obs.flatten(0, 1)
        return Normalizer(
            torch.lerp(state.normalizer.mean, flat.mean(0), share), torch.lerp(state.normalizer.square, flat.square().mean(0), share)
        )

    def _inputs(self, obs: Tensor, normalizer: Normalizer) -> Tensor:
        """(K, B, O) -> (K * B, O + K): normalised; the task one-hot is appended where there is more than one task."""
        if self.config.normalize_obs:
            obs = (obs - normalizer.mean) * scale_of(normalizer)
        if self.task_dim:
            one_hot = torch.eye(self.tasks, device=obs.device)[:, None].expand(-1, obs.shape[1], -1)
            obs = torch.cat([obs, one_hot], -1)
        return obs.flatten(0, 1)

    def update(self, state: State, batch: Batch, noise: Noise, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place; batch (S, K, B, ...). Returns metrics [S]."""
        results = []
        for s in range(state.updates.shape[0]):
            new, metrics = self.update_one(index_tree(state, s), index_tree(batch, s), index_tree(noise, s))
            write_tree(state, s, new)
            results.append(metrics)
        return {k: torch.stack([m[k] for m in results]) for k in results[0]}


def scale_of(normalizer: Normalizer) -> Tensor:
    """1 / std, at most 100: what hardly ever moved is not blown up."""
    return (normalizer.square - normalizer.mean.square()).clamp(min=STD_FLOOR**2).rsqrt()


def make(config: Config, spec: TaskSpec, tasks: int) -> SAC:
    """The algorithm for ``tasks`` tasks of one spec."""
    return SAC(config, spec, tasks)

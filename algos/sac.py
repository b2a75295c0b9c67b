"""Soft actor-critic, single- and multi-task: the reference that the other algorithm files imitate.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905): equations 5 to 7 (critics), 9 (policy),
18 (temperature). Meta-World (Yu et al. 2019), appendix E.1 (single task), E.3 (MT-SAC: task one-hot, a temperature and 128 transitions per
task) and E.4 (MTMH-SAC: a head per task). All are settings of this one file.
What differs: a truncated episode is bootstrapped through; log_alpha is clamped, so that a saturated task cannot run away.
Fine-tuning: ``train`` and ``critic_warm_up`` say what moves, ``begin_from`` takes over another run's networks. See docs/fine_tuning.md.

Shapes: S seeds, K tasks, B transitions per task, O observation, A action. A batch is task-major (K, B, ...).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, grad_and_value, vmap

from algos.lib import settings
from algos.lib.adam import AdamState, adam, clip_norm, init_adam
from algos.lib.dists import tanh_gaussian
from algos.lib.mlp import depth, init_mlp, of_task, task_mlp
from algos.lib.normalizer import Normalizer, counted, init_normalizer, reward_scale_of, scale_of
from algos.lib.pcgrad import pcgrad
from algos.lib.seeds import side_by_side
from algos.lib.transfer import Origin, check_same, network, of_tasks
from core.contracts import Reduce, alone
from core.errors import ConfigError
from core.tree import map_tree, stack_trees
from core.types import Batch, Field, Seen, Stream, TaskSpec
from outpost.policies import sac
from outpost.policies.sac import LOG_STD_MAX, LOG_STD_MIN

LOG_ALPHA_MIN, LOG_ALPHA_MAX = -10.0, 2.0
TASK_WEIGHTS = ("equal", "temperature")
KEPT = ("hidden", "multi_head", "normalize_obs", "normalize_reward")
"""settings that a run shares with the one it begins from: they decide what its networks are"""
TRAIN = ("all", "actor", "last_layer")


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
    normalize_reward: bool = False
    """each task's rewards are divided by their root mean square over all batches drawn so far"""
    multi_head: bool = False
    """policy and critics have an output layer of its own for each task (MTMH-SAC)"""
    max_grad_norm: float = 0.0
    """gradients of the policy, and of the critics, are scaled down to this norm; 0: never"""
    adam_eps: float = 1e-8
    """what Adam adds to its denominator"""
    adam_beta1: float = 0.9
    """share of the last step's momentum that Adam keeps; 0: none"""
    task_weights: Literal["equal", "temperature"] = "equal"
    """of the tasks' losses; temperature: K * softmax(-log_alpha), more to tasks that need little exploration"""
    pcgrad: bool = False
    """a task's gradient is projected off those of the tasks that it works against (Yu et al. 2020); several times the work of an update"""
    train: Literal["all", "actor", "last_layer"] = "all"
    """what gradients move; actor: policy and temperatures, last_layer: output layers of policy and critics, and temperatures"""
    critic_warm_up: int = 0
    """updates at the start of the run in which only the critics learn"""

    def __post_init__(self) -> None:
        settings.positive(self, "batch_size", "n_step", "policy_lr", "critic_lr", "alpha_lr", "initial_alpha", "reward_scale", "adam_eps")
        settings.positive_share(self, "gamma", "tau")
        settings.not_negative(self, "max_grad_norm", "critic_warm_up")
        settings.one_of(self, "task_weights", TASK_WEIGHTS)
        settings.one_of(self, "train", TRAIN)
        settings.layers(self, "hidden", least=1)
        if not 0 <= self.adam_beta1 < 1:
            raise ConfigError(f"algo.adam_beta1 is {self.adam_beta1}; it must be in [0, 1)")


class Params(NamedTuple):
    """Everything that gradients move."""

    policy: dict[str, Tensor]
    """[S, ...] observation (+ one-hot) -> mean and log_std (2A)"""
    critic: dict[str, Tensor]
    """[S, 2, ...] twin critics, observation (+ one-hot) and action -> Q"""
    log_alpha: dict[str, Tensor]
    """``log_alpha`` [S, K]"""


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
    """[S] float32, updates done with this optimiser"""


class Noise(NamedTuple):
    """Random numbers of one update."""

    policy: Tensor
    """(S, K, B, A) standard normal, for the actions of the policy loss"""
    target: Tensor
    """(S, K, B, A) standard normal, for the next actions of the critic target"""
    order: Tensor
    """(S, 2, K, K) uniform: whose gradients PCGrad compares first, of the critics and of the policy; without it (S, 0)"""


class Data(NamedTuple):
    """What the losses of one seed read; nothing in it is differentiated."""

    x: Tensor
    """(K, B, O) observations, normalised"""
    action: Tensor
    """(K, B, A)"""
    y: Tensor
    """(K, B) the critics' target"""
    alpha: Tensor
    """(K, 1) temperatures"""
    noise: Tensor
    """(K, B, A)"""


Losses = Callable[..., tuple[Tensor, Tensor]]
"""(parameters, *other networks, data) -> loss of each task (K,), and a by-product"""


class SAC:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.tasks = config, tasks
        self.action_dim = self.noise_dim = spec.action_dim
        self.task_dim = tasks if tasks > 1 else 0
        self.obs_dim, self.input_dim = spec.obs_dim, spec.obs_dim + self.task_dim
        self.target_entropy = -config.target_entropy_scale * spec.action_dim
        self.plan = Stream(config.batch_size, config.n_step, config.gamma)
        self.acting = sac.make(self.remote())

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator = torch.Generator().manual_seed(seed)
        hidden, A = self.config.hidden, self.action_dim
        heads = self.tasks if self.config.multi_head else None
        policy = init_mlp((self.input_dim, *hidden, 2 * A), generator, heads=heads)
        critic = init_mlp((self.input_dim + A, *hidden, 1), generator, stack=2, heads=heads)
        log_alpha = {"log_alpha": torch.full((self.tasks,), float(np.log(self.config.initial_alpha)))}
        return State(
            Params(policy, critic, log_alpha),
            {k: v.clone() for k, v in critic.items()},
            init_adam(policy),
            init_adam(critic),
            init_adam(log_alpha),
            init_normalizer(self.obs_dim, self.tasks),
            torch.zeros(()),
        )

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. Optimiser, counts and a new task's reward statistics stay those of ``state``."""
        check_same(self.config, source.config, KEPT)
        shape = {"told": source.task_dim, "tells": self.task_dim, "heads": self.config.multi_head}
        policy = network(old.params.policy, origin, **shape)
        seen, known = old.normalizer, torch.tensor([k is not None for k in origin])
        normalizer = state.normalizer._replace(**{name: getattr(seen, name).clone() for name in ("mean", "square", "batches")})
        if policy_only:
            return state._replace(params=state.params._replace(policy=policy), normalizer=normalizer)
        normalizer = normalizer._replace(
            reward_square=of_tasks(seen.reward_square, origin, -1), reward_batches=of_tasks(seen.reward_batches, origin, -1) * known
        )
        log_alpha = {"log_alpha": of_tasks(old.params.log_alpha["log_alpha"], origin, -1)}
        critic, target = network(old.params.critic, origin, **shape), network(old.target, origin, **shape)
        return state._replace(params=Params(policy, critic, log_alpha), target=target, normalizer=normalizer)

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return {**state.params.policy, "obs_mean": state.normalizer.mean, "obs_scale": scale_of(state.normalizer)}

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A): tanh of a Gaussian sample, or of its mean where ``noise`` is None."""
        return self.acting.act(params, carry, seen._asdict(), noise)

    def remote(self) -> dict[str, Any]:
        """See ``core.abilities.Remote``."""
        return {"name": "sac", "action_dim": self.action_dim, "layers": len(self.config.hidden) + 1, "heads": self.config.multi_head}

    # ---- losses, for one seed: no S axis ------------------------------------------------------------------------------

    def sample_action(self, policy: dict[str, Tensor], x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x (K, B, O) -> action (K, B, A), log_prob (K, B)."""
        mean, log_std = task_mlp(policy, x, heads=self.config.multi_head).chunk(2, dim=-1)
        return tanh_gaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), noise)

    def q_values(self, critic: dict[str, Tensor], x: Tensor, action: Tensor) -> Tensor:
        """(2, K, B): both critics as one stacked matmul per layer."""
        return task_mlp(critic, torch.cat([x, action], -1), heads=self.config.multi_head)[..., 0]

    def critic_losses(self, critic: dict[str, Tensor], data: Data) -> tuple[Tensor, Tensor]:
        """Equation 5 of each task (K,), summed over the twins, against a fixed target. By-product: the mean Q."""
        q = self.q_values(critic, data.x, data.action)
        return (q - data.y).square().mean(-1).sum(0), q.mean()

    def policy_losses(self, policy: dict[str, Tensor], critic: dict[str, Tensor], data: Data) -> tuple[Tensor, Tensor]:
        """Equation 9 of each task (K,). By-product: log_prob (K, B)."""
        action, log_prob = self.sample_action(policy, data.x, data.noise)
        q = self.q_values(critic, data.x, action).amin(0)
        return (data.alpha * log_prob - q).mean(-1), log_prob

    def alpha_loss(self, log_alpha: dict[str, Tensor], log_prob: Tensor) -> Tensor:
        """Equation 18 with log_alpha in place of alpha; log_prob (K, B) is a constant. Task k moves log_alpha[k] only."""
        return -(log_alpha["log_alpha"] * (log_prob + self.target_entropy).mean(1)).mean()

    def task_weights(self, log_alpha: Tensor) -> Tensor:
        """(K,) with mean 1."""
        return torch.ones_like(log_alpha) if self.config.task_weights == "equal" else self.tasks * torch.softmax(-log_alpha, 0)

    # ---- gradients ----------------------------------------------------------------------------------------------------

    def gradient(
        self, losses: Losses, networks: Sequence[dict[str, Tensor]], data: Data, weights: Tensor, order: Tensor, reduce: Reduce
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Of the weighted mean of the tasks' losses, with respect to the first network. Also that mean, and the by-product."""
        if self.config.pcgrad:
            parts, values, more = self._gradients_by_task(losses, networks, data, weights)
            grads = pcgrad(reduce(parts), reduce({"order": order})["order"])  # all processes have to take the same order
        else:

            def mean_loss(first: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
                values, more = losses(first, *networks[1:], data)
                return (weights * values).mean(), (values, more)

            grads, (_, (values, more)) = grad_and_value(mean_loss, has_aux=True)(networks[0])
            grads = reduce(grads)
        return grads, values.mean(), more

    def moving(self, part: str, grads: dict[str, Tensor], updates: Tensor) -> dict[str, Tensor]:
        """What of a part's gradients counts by ``train`` and ``critic_warm_up``: by zeros Adam moves nothing, bit by bit."""
        config, output = self.config, {f"{kind}{depth(grads) - 1}" for kind in "wb"}
        if config.train == "last_layer" and part != "log_alpha":
            grads = {name: g if name in output else torch.zeros_like(g) for name, g in grads.items()}
        if config.train == "actor" and part == "critic":
            grads = {name: torch.zeros_like(g) for name, g in grads.items()}
        if config.critic_warm_up and part != "critic":
            grads = {name: torch.where(updates < config.critic_warm_up, 0.0, g) for name, g in grads.items()}
        return grads if part == "log_alpha" else clip_norm(grads, config.max_grad_norm)

    def _gradients_by_task(
        self, losses: Losses, networks: Sequence[dict[str, Tensor]], data: Data, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Name -> (K, ...), the losses (K,), the by-products [K]: every task by itself, on its own data only."""

        def of_one(task: Tensor, weight: Tensor, data: Data) -> Any:
            def loss(first: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
                seen = [of_task(net, task, told=bool(self.task_dim), heads=self.config.multi_head) for net in (first, *networks[1:])]
                values, more = losses(*seen, map_tree(lambda leaf: leaf[None], data))
                return weight * values[0], (values[0], more)

            return grad_and_value(loss, has_aux=True)(networks[0])

        parts, (_, (values, more)) = vmap(of_one)(torch.eye(self.tasks, device=data.x.device), weights, data)
        return parts, values, more

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Noise:
        K, device = self.tasks, generators[0].device
        shape = (2, K, self.config.batch_size, self.action_dim)
        drawn = torch.stack([torch.randn(shape, generator=g, device=device) for g in generators], 1)
        if not self.config.pcgrad:
            return Noise(drawn[0], drawn[1], torch.zeros(len(generators), 0, device=device))
        return Noise(drawn[0], drawn[1], torch.stack([torch.rand(2, K, K, generator=g, device=device) for g in generators]))

    def update_one(self, state: State, batch: Batch, noise: Noise, reduce: Reduce = alone) -> tuple[State, dict[str, Tensor]]:
        """One update of one seed as a pure function: critics, policy, temperatures, Adam, target."""
        config, params, count = self.config, state.params, state.updates + 1
        acting = (count - config.critic_warm_up).clamp(min=1) if config.critic_warm_up else count
        settings = {"eps": config.adam_eps, "beta1": config.adam_beta1}
        normalizer = counted(state.normalizer, batch, reduce, obs=config.normalize_obs, reward=config.normalize_reward)
        x, next_x = self._normalized(batch.obs, normalizer), self._normalized(batch.next_obs, normalizer)
        reward = batch.reward * (config.reward_scale * reward_scale_of(normalizer))[:, None]
        alpha = params.log_alpha["log_alpha"].exp()
        weights, orders = self.task_weights(params.log_alpha["log_alpha"]), noise.order if config.pcgrad else (noise.order, noise.order)

        next_action, next_log_prob = self.sample_action(params.policy, next_x, noise.target)
        next_q = self.q_values(state.target, next_x, next_action).amin(0)
        y = reward + batch.bootstrap * (next_q - alpha[:, None] * next_log_prob)  # equation 3 and 6
        data = Data(x, batch.action, y, alpha[:, None], noise.policy)
        critic_grads, critic_loss, q = self.gradient(self.critic_losses, [params.critic], data, weights, orders[0], reduce)
        critic_grads = self.moving("critic", critic_grads, state.updates)
        critic, critic_adam = adam(params.critic, critic_grads, state.critic_adam, count, lr=config.critic_lr, **settings)

        policy_grads, policy_loss, log_prob = self.gradient(self.policy_losses, [params.policy, critic], data, weights, orders[1], reduce)
        policy_grads = self.moving("policy", policy_grads, state.updates)
        policy, policy_adam = adam(params.policy, policy_grads, state.policy_adam, acting, lr=config.policy_lr, **settings)

        alpha_grads = reduce(grad(self.alpha_loss)(params.log_alpha, log_prob.reshape(self.tasks, -1)))
        alpha_grads = self.moving("log_alpha", alpha_grads, state.updates)
        log_alpha, alpha_adam = adam(params.log_alpha, alpha_grads, state.alpha_adam, acting, lr=config.alpha_lr, **settings)
        log_alpha = {"log_alpha": log_alpha["log_alpha"].clamp(LOG_ALPHA_MIN, LOG_ALPHA_MAX)}

        target = {k: torch.lerp(t, critic[k], config.tau) for k, t in state.target.items()}
        metrics = {"critic_loss": critic_loss, "policy_loss": policy_loss, "q": q.mean(), "entropy": -log_prob.mean()}
        metrics = reduce(metrics) | {"alpha": alpha.mean(), "alpha_min": alpha.amin(), "alpha_max": alpha.amax()}
        return State(Params(policy, critic, log_alpha), target, policy_adam, critic_adam, alpha_adam, normalizer, count), metrics

    def _normalized(self, obs: Tensor, normalizer: Normalizer) -> Tensor:
        return (obs - normalizer.mean) * scale_of(normalizer) if self.config.normalize_obs else obs

    def update(self, state: State, batch: Batch, noise: Noise, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place; batch (S, K, B, ...). Returns metrics [S]."""
        return side_by_side(partial(self.update_one, reduce=reduce), state, batch, noise)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> SAC:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return SAC(config, spec, tasks)

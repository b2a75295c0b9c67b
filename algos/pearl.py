"""PEARL: off-policy meta-RL. An encoder infers from what was seen of a task which one it may be; actor and critics read a sample of that.

Rakelly et al. 2019, "Efficient off-policy meta-reinforcement learning via probabilistic context variables" (arXiv 1903.08254): section 4.1
(the posterior as a product of Gaussians), 4.2 (posterior sampling: one z per episode), algorithm 1 (training), 2 (testing) and section 5.2
(which losses reach the encoder, recent data as its context). Under it soft actor-critic, by choice with a value network (Haarnoja et al.
2018, arXiv 1801.01290, equations 5, 8 and 10; what PEARL was published with), or with targets of both critics as in ``algos.sac``.
Meta-World (Yu et al. 2019), appendix E.8, has the numbers for its ML benchmarks.
What differs: the KL divergence is averaged over tasks, not summed, so that its weight does not depend on their number; twin critics begin
apart; a posterior of more than C transitions is widened to that of C, on which the networks were trained.

Shapes: S seeds, T tasks of an update, B transitions of each, C transitions of its context, Z latent, O observation, A action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, grad_and_value

from algos.lib.adam import AdamState, adam, clip_norm, init_adam
from algos.lib.dists import tanh_gaussian
from algos.lib.mlp import init_mlp, numpy_mlp, task_mlp
from algos.lib.posterior import VARIANCE_FLOOR, kl_to_prior, product_of_gaussians
from algos.lib.seeds import side_by_side
from algos.lib.transfer import Origin, check_same, copied
from core.contracts import Reduce, alone
from core.errors import ConfigError
from core.tree import stack_trees
from core.types import Batch, Field, Seen, Stream, TaskSpec

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
LOG_ALPHA_MIN, LOG_ALPHA_MAX = -10.0, 2.0
CRITICS = ("value", "twin")
EPISODES = 2
"""newest of a task that are context by default: a number of transitions would be too old a policy's where episodes are short"""
KEPT = ("hidden", "encoder_hidden", "latent_dim", "critic", "context")
"""settings that a run shares with the one it begins from: they decide what its networks are, and how sure a posterior is"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of PEARL."""

    hidden: tuple[int, ...] = (300, 300, 300)
    """units of each hidden layer, policy, critics and value alike"""
    encoder_hidden: tuple[int, ...] = (200, 200, 200)
    """units of each hidden layer of the encoder"""
    latent_dim: int = 7
    """Z, numbers that a task is described by"""
    meta_batch: int = 16
    """T, tasks per update, drawn without replacement; all where there are no more"""
    hold: int = 1
    """updates that the tasks drawn are kept for"""
    batch_size: int = 256
    """transitions per task and update"""
    context: int = 64
    """C, transitions that a task's posterior is inferred from; acting counts no posterior as of more"""
    recent: int | None = None
    """transitions of a task, its newest, that the context is drawn from: those of nearly the policy that will act. None: as many as two
    episodes have; 0: all, with which adaptation is unlearned"""
    trial: int = 2
    """episodes that collect with one posterior, the first of them with z from the prior"""
    kl_weight: float = 1.6
    """of the mean over tasks of KL(posterior || N(0, I)) nats; 0.1 times the sum over 16 tasks, as published, is 1.6"""
    critic: Literal["value", "twin"] = "value"
    """value: critics bootstrap from a target value network, as published; twin: from the smaller of two target critics"""
    gamma: float = 0.99
    """discount per env step"""
    policy_lr: float = 3e-4
    """Adam step size of the policy"""
    critic_lr: float = 3e-4
    """Adam step size of the critics and the value"""
    encoder_lr: float = 3e-4
    """Adam step size of the encoder"""
    tau: float = 0.005
    """share of a network that moves into its target with every update"""
    reward_scale: float = 10.0
    """factor on every reward that critics learn; the context has rewards as they are"""
    initial_alpha: float = 1.0
    """temperature at the start, and always where it is not learned"""
    learn_alpha: bool = False
    """the temperature follows a target entropy; else reward_scale alone weighs reward against entropy"""
    alpha_lr: float = 3e-4
    """Adam step size of the temperature"""
    target_entropy_scale: float = 1.0
    """target entropy = -scale * A nats"""
    policy_mean_reg: float = 1e-3
    """weight of the mean square of the policy's means before tanh"""
    policy_std_reg: float = 1e-3
    """weight of the mean square of its log standard deviations"""
    max_grad_norm: float = 0.0
    """gradients of each network are scaled down to this norm; 0: never"""

    def __post_init__(self) -> None:
        whole = ("latent_dim", "meta_batch", "hold", "batch_size", "context", "trial")
        for name in (*whole, "policy_lr", "critic_lr", "encoder_lr", "alpha_lr", "reward_scale", "initial_alpha"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be positive")
        for name in ("recent", "kl_weight", "policy_mean_reg", "policy_std_reg", "max_grad_norm"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("gamma", "tau"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be in (0, 1]")
        if self.critic not in CRITICS:
            raise ConfigError(f"algo.critic is {self.critic!r}; allowed: {', '.join(CRITICS)}")
        for name in ("hidden", "encoder_hidden"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it needs at least one layer of at least one unit")


class Params(NamedTuple):
    """Everything that gradients move."""

    encoder: dict[str, Tensor]
    """[S, ...] one transition (O + A + 1) -> mean and raw variance (2Z) of its Gaussian"""
    policy: dict[str, Tensor]
    """[S, ...] observation and z -> mean and log_std (2A)"""
    critic: dict[str, Tensor]
    """[S, 2, ...] twin critics, observation, action and z -> Q"""
    value: dict[str, Tensor]
    """[S, ...] observation and z -> V; empty where critics are their own targets"""
    log_alpha: dict[str, Tensor]
    """``log_alpha`` [S, 1]"""


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    params: Params
    target: dict[str, Tensor]
    """shaped as ``params.value``, or as ``params.critic`` where critics are their own targets"""
    moments: dict[str, AdamState]
    """Adam's, by the name of the network"""
    updates: Tensor
    """[S] float32, updates done"""


class Noise(NamedTuple):
    """Random numbers of one update, standard normal."""

    z: Tensor
    """(S, T, Z)"""
    policy: Tensor
    """(S, T, B, A) for the actions of the policy's loss"""
    target: Tensor
    """(S, T, B, A) for the next actions of the critics' target; (S, 0) with a value network"""


class PEARL:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.obs_dim, self.action_dim = config, spec.obs_dim, spec.action_dim
        self.noise_dim = spec.action_dim + config.latent_dim
        self.target_entropy = -config.target_entropy_scale * spec.action_dim
        drawn = config.meta_batch if config.meta_batch < tasks else 0
        self.tasks = drawn or tasks
        """T"""
        self.plan = Stream(
            config.batch_size,
            gamma=config.gamma,
            trial=config.trial,
            tasks=drawn,
            hold=config.hold if drawn else 1,
            context=config.context,
            recent=EPISODES * spec.horizon if config.recent is None else config.recent,
        )

    def fields(self) -> tuple[Field, ...]:
        return ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator, config = torch.Generator().manual_seed(seed), self.config
        A, Z = self.action_dim, config.latent_dim
        encoder = init_mlp((self.obs_dim + A + 1, *config.encoder_hidden, 2 * Z), generator)
        policy = init_mlp((self.obs_dim + Z, *config.hidden, 2 * A), generator)
        critic = init_mlp((self.obs_dim + A + Z, *config.hidden, 1), generator, stack=2)
        value = init_mlp((self.obs_dim + Z, *config.hidden, 1), generator) if config.critic == "value" else {}
        log_alpha = {"log_alpha": torch.full((1,), float(np.log(config.initial_alpha)))}
        params = Params(encoder, policy, critic, value, log_alpha)
        target = {k: v.clone() for k, v in (value or critic).items()}
        return State(params, target, {name: init_adam(net) for name, net in params._asdict().items()}, torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. Tasks are told apart by the encoder alone: it belongs to the policy, which means nothing
        without it; critics, value and temperature are what may stay fresh."""
        check_same(self.config, source.config, KEPT)
        taken = {name: copied(net) for name, net in old.params._asdict().items()}
        if policy_only:
            return state._replace(params=state.params._replace(encoder=taken["encoder"], policy=taken["policy"]))
        if not self.config.learn_alpha:
            taken["log_alpha"] = state.params.log_alpha  # a setting then, of this run
        return state._replace(params=Params(**taken), target=copied(old.target))

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return {**state.params.policy, **{f"encoder_{k}": v for k, v in state.params.encoder.items()}}

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A) for a z (N, Z) drawn at each episode's start from the posterior of the trial so far, and kept through it.

        Without noise z is the posterior's mean, and the action the mode. A trial's first episode has the prior.
        """
        memory = self._remember(params, carry, seen)
        mean, variance = self.belief(memory)
        if noise is not None:
            mean = mean + np.sqrt(variance) * noise[:, self.action_dim :]
        z = memory["z"] = np.where(seen.episode[:, None], mean, memory["z"])
        out = numpy_mlp(params, np.concatenate([seen.obs, z], 1), len(self.config.hidden) + 1, seen.tasks)
        mode, log_std = out[:, : self.action_dim], out[:, self.action_dim :]
        if noise is not None:
            mode = mode + np.exp(np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)) * noise[:, : self.action_dim]
        return np.tanh(mode), memory, {}

    def belief(self, memory: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and variance (N, Z) of the posterior.

        Networks were trained on posteriors of C transitions. Of n > C the sums are taken C / n times: what C of these transitions have on
        average. Unlimited, a long trial's z would be more certain than any that was learned from.
        """
        count, one, nothing = memory["count"][:, None], np.float32(1), np.float32(0)
        share = np.minimum(one, np.float32(self.config.context) / np.maximum(count, one))
        variance = np.divide(one, np.where(count > 0, memory["precision"] * share, one), dtype=np.float32)
        return np.where(count > 0, memory["weighted"] * share * variance, nothing), variance

    def _remember(self, params: Mapping[str, NDArray], carry: Any, seen: Seen) -> dict[str, NDArray[np.float32]]:
        """Sums over a trial's transitions, with the last one, whose reward is known now. Also where a new episode has begun: its
        observation is the one that was kept, not the one that is seen."""
        N, Z = len(seen.obs), self.config.latent_dim
        nothing = np.zeros((N, Z), np.float32)
        if carry is None:
            return {"obs": seen.obs.copy(), "precision": nothing, "weighted": nothing, "count": np.zeros(N, np.float32), "z": nothing}
        encoder = {name.removeprefix("encoder_"): array for name, array in params.items() if name.startswith("encoder_")}
        transition = np.concatenate([carry["obs"], seen.action, seen.reward[:, None]], 1)
        out = numpy_mlp(encoder, transition, len(self.config.encoder_hidden) + 1, seen.tasks)
        precision = 1 / np.maximum(np.logaddexp(0, out[:, Z:]), np.float32(VARIANCE_FLOOR))
        begins = seen.trial[:, None]
        return {
            "obs": seen.obs.copy(),
            "precision": np.where(begins, nothing, carry["precision"] + precision),
            "weighted": np.where(begins, nothing, carry["weighted"] + precision * out[:, :Z]),
            "count": np.where(seen.trial, np.float32(0), carry["count"] + np.float32(1)),
            "z": carry["z"],
        }

    # ---- networks and losses, for one seed: no S axis ------------------------------------------------------------------

    def posterior(self, encoder: dict[str, Tensor], context: Tensor) -> tuple[Tensor, Tensor]:
        """context (T, C, O + A + 1) -> mean and variance (T, Z)."""
        mean, raw = task_mlp(encoder, context, heads=False).chunk(2, dim=-1)
        return product_of_gaussians(mean, F.softplus(raw).clamp(min=VARIANCE_FLOOR))

    def sample_action(self, policy: dict[str, Tensor], obs: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """obs (T, B, O), z (T, Z) -> action (T, B, A), log_prob (T, B), what the policy's regularisers add to its loss."""
        mean, log_std = task_mlp(policy, told(obs, z), heads=False).chunk(2, dim=-1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        cost = self.config.policy_mean_reg * mean.square().mean() + self.config.policy_std_reg * log_std.square().mean()
        return *tanh_gaussian(mean, log_std, noise), cost

    def q_values(self, critic: dict[str, Tensor], obs: Tensor, action: Tensor, z: Tensor) -> Tensor:
        """(2, T, B): both critics as one stacked matmul per layer."""
        return task_mlp(critic, told(torch.cat([obs, action], -1), z), heads=False)[..., 0]

    def critic_loss(self, networks: dict[str, dict[str, Tensor]], batch: Batch, y: Tensor, noise: Tensor) -> tuple[Tensor, Any]:
        """Of ``critic`` and ``encoder`` together: squared errors, mean over transitions and summed over the twins, plus the weighted
        divergence from the prior, mean over tasks. The only loss that reaches the encoder."""
        mean, variance = self.posterior(networks["encoder"], batch.context)  # type: ignore[arg-type] - the plan asks for one
        q = self.q_values(networks["critic"], batch.obs, batch.action, mean + variance.sqrt() * noise)
        error, kl = (q - y).square().mean((1, 2)).sum(), kl_to_prior(mean, variance).mean()
        told_of = {
            "critic_loss": error,
            "kl": kl,
            "q": q.mean(),
            "z_variance": variance.mean(),
            "z_norm": mean.square().sum(-1).mean().sqrt(),
        }
        return error + self.config.kl_weight * kl, told_of

    def policy_loss(
        self, policy: dict[str, Tensor], critic: dict[str, Tensor], obs: Tensor, z: Tensor, alpha: Tensor, noise: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """z is a constant. By-products: log_prob and the smaller Q of the actions, (T, B) each."""
        action, log_prob, cost = self.sample_action(policy, obs, z, noise)
        q = self.q_values(critic, obs, action, z).amin(0)
        return (alpha * log_prob - q).mean() + cost, (log_prob, q)

    def value_loss(self, value: dict[str, Tensor], obs: Tensor, z: Tensor, wanted: Tensor) -> Tensor:
        """wanted (T, B): min Q - alpha log pi of the policy's actions. z is a constant."""
        return (task_mlp(value, told(obs, z), heads=False)[..., 0] - wanted).square().mean()

    def alpha_loss(self, log_alpha: dict[str, Tensor], log_prob: Tensor) -> Tensor:
        """One temperature for all tasks, as a task that is met for the first time has none of its own."""
        return -(log_alpha["log_alpha"] * (log_prob + self.target_entropy)).mean()

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Noise:
        T, B, A, Z, device = self.tasks, self.config.batch_size, self.action_dim, self.config.latent_dim, generators[0].device
        actions = (T, B, A)

        def drawn(*shape: int) -> Tensor:
            return torch.stack([torch.randn(shape, generator=g, device=device) for g in generators])

        return Noise(drawn(T, Z), drawn(*actions), drawn(*actions) if self.config.critic == "twin" else drawn(0))

    def targets(self, state: State, batch: Batch, z: Tensor, alpha: Tensor, noise: Tensor) -> Tensor:
        """(T, B) what the critics should say; z is a constant."""
        if self.config.critic == "value":
            to_come = task_mlp(state.target, told(batch.next_obs, z), heads=False)[..., 0]
        else:
            action, log_prob, _ = self.sample_action(state.params.policy, batch.next_obs, z, noise)
            to_come = self.q_values(state.target, batch.next_obs, action, z).amin(0) - alpha * log_prob
        return self.config.reward_scale * batch.reward + batch.bootstrap * to_come

    def update_one(self, state: State, batch: Batch, noise: Noise, reduce: Reduce = alone) -> tuple[State, dict[str, Tensor]]:
        """One update of one seed as a pure function: encoder and critics, policy, value, temperature, Adam, target."""
        config, params, count = self.config, state.params, state.updates + 1
        moments, rates = dict(state.moments), {"encoder": config.encoder_lr, "policy": config.policy_lr, "log_alpha": config.alpha_lr}

        def moved(name: str, gradient: dict[str, Tensor]) -> dict[str, Tensor]:
            gradient = clip_norm(reduce(gradient), config.max_grad_norm)
            lr = rates.get(name, config.critic_lr)
            network, moments[name] = adam(getattr(params, name), gradient, state.moments[name], count, lr=lr)
            return network

        alpha = params.log_alpha["log_alpha"].exp()
        mean, variance = self.posterior(params.encoder, batch.context)  # type: ignore[arg-type] - the plan asks for one
        z = mean + variance.sqrt() * noise.z
        y = self.targets(state, batch, z, alpha, noise.target)
        both = {"encoder": params.encoder, "critic": params.critic}
        grads, (_, metrics) = grad_and_value(self.critic_loss, has_aux=True)(both, batch, y, noise.z)
        encoder, critic = moved("encoder", grads["encoder"]), moved("critic", grads["critic"])

        of_policy = grad_and_value(self.policy_loss, has_aux=True)
        grads, (policy_loss, (log_prob, q)) = of_policy(params.policy, critic, batch.obs, z, alpha, noise.policy)
        policy, value, log_alpha = moved("policy", grads), params.value, params.log_alpha
        metrics = metrics | {"policy_loss": policy_loss, "entropy": -log_prob.mean()}
        if config.critic == "value":
            grads, metrics["value_loss"] = grad_and_value(self.value_loss)(value, batch.obs, z, q - alpha * log_prob)
            value = moved("value", grads)
        if config.learn_alpha:
            log_alpha = moved("log_alpha", grad(self.alpha_loss)(log_alpha, log_prob))
            log_alpha = {"log_alpha": log_alpha["log_alpha"].clamp(LOG_ALPHA_MIN, LOG_ALPHA_MAX)}
        source = value if config.critic == "value" else critic
        target = {k: torch.lerp(t, source[k], config.tau) for k, t in state.target.items()}
        new = State(Params(encoder, policy, critic, value, log_alpha), target, moments, count)
        return new, reduce(metrics) | {"alpha": alpha.mean()}

    def update(self, state: State, batch: Batch, noise: Noise, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place; batch (S, T, B, ...). Returns metrics [S]."""
        return side_by_side(partial(self.update_one, reduce=reduce), state, batch, noise)


def told(x: Tensor, z: Tensor) -> Tensor:
    """x (T, B, n) with the z (T, Z) of its task behind each row."""
    return torch.cat([x, z[:, None].expand(-1, x.shape[1], -1)], -1)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> PEARL:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return PEARL(config, spec, tasks)

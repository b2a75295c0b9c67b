"""Task embeddings (TE): PPO whose policy is told a latent variable that an encoder draws for the task, once per episode.

Hausman et al. 2018, "Learning an Embedding Space for Transferable Robot Skills" (ICLR): a lower bound of the entropy-regularised return,
with an encoder p(z|task), a policy pi(a|s, z) and an inference network q(z|states). Meta-World (Yu et al. 2019), appendix E.7: on-policy.
The reward becomes r + c1 H[pi(.|s, z)] + c2 log q(z|window); the loss has - c3 H[p(.|task)] and, as in MT-PPO, - c0 H[pi].
What differs: learned by PPO; z is an action of the encoder, with a ratio, a clip and an advantage of its own, once per episode; what was
acted is scored at the z that acted. The window ends at the step whose reward it enters, so that all that the reward depends on is past.
With ``latent`` 0 and no entropy in the reward it is MT-PPO, bit for bit.

Shapes: S seeds, K tasks, G episodes of each, T steps of each at most, M = G T, B steps per task of a minibatch, O observation, A action,
Z latent, W window.
"""

import math
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
from algos.lib.mlp import Activation, init_mlp, mlp, numpy_mlp, task_mlp
from algos.lib.policies import Distribution, Gaussian, head
from algos.lib.returns import discounted, features, linear_baseline, normalized
from algos.lib.seeds import in_turn, shuffle_seeds
from algos.lib.surrogate import Descent, Minibatch, Samples, clipped, descend, likelihood_ratio, report, task_major
from algos.lib.transfer import Origin, check_same, copied, network, of_tasks
from core.contracts import Reduce, alone
from core.tree import stack_trees
from core.types import Field, Round, Rounds, Seen, TaskSpec

LAST_SCALE = 0.01
"""of the policy's last layer at the start, as in MT-PPO"""
ENCODER = "encoder."
"""before the names of the encoder's parameters, which travel with the policy's"""
KEPT = ("latent", "window", "hidden", "encoder_hidden", "inference_hidden", "activation")
"""settings that a run shares with the one it begins from: they decide what its networks are"""
STEPS_AT_ONCE = 1024
"""steps per task whose windows are in memory together"""


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of task embeddings."""

    latent: int = 6
    """Z, numbers that tell the policy what to do; 0: it is told its task instead, as in MT-PPO"""
    window: int = 20
    """W, observations from which the latent is inferred: the newest, and those before it in the episode"""
    hidden: tuple[int, ...] = (32, 16)
    """units of each hidden layer of the policy; none: a linear policy"""
    encoder_hidden: tuple[int, ...] = (20, 20)
    """units of each hidden layer of the encoder"""
    inference_hidden: tuple[int, ...] = (20, 10)
    """units of each hidden layer of the inference network"""
    activation: Activation = "tanh"
    """of all hidden layers"""
    episodes: int = 10
    """whole episodes of each simulator in a round; with all simulators of a task rather several times Z"""
    gamma: float = 0.99
    """discount per env step"""
    gae_lambda: float = 0.98
    """share of what comes after a step that its advantage takes from rewards, not from the baseline"""
    clip: float = 0.2
    """how far the ratio of new to old probability may move the gain of an action, or of a latent, from 1"""
    epochs: int = 10
    """times that a round is gone through"""
    minibatches: int = 32
    """parts that a round is split into, each with its share of every task; one gradient step each"""
    lr: float = 1e-3
    """Adam step size of policy and encoder"""
    inference_lr: float = 1e-3
    """Adam step size of the inference network"""
    entropy: float = 2e-3
    """nats of the policy's entropy are worth this much in the loss, in units of normalised advantage"""
    policy_entropy: float = 2e-2
    """and this much in the reward: so much more a state is worth where the policy is undecided"""
    cross_entropy: float = 5e-2
    """reward of a nat of log q(z|window): for states that tell which latent acts"""
    log_q_limit: float = 30.0
    """nats beyond which log q(z|window) does not change the reward any more, either way"""
    encoder_entropy: float = 2e-4
    """nats of the encoder's entropy are worth this much in the loss"""
    init_std: float = 1.0
    """standard deviation of the actions at the start"""
    min_std: float = 1e-3
    """below which it does not go"""
    max_std: float = 10.0
    """above which it does not go"""
    embedding_std: float = 1.0
    """standard deviation of the latents of a task at the start"""
    embedding_min_std: float = 0.01
    """below which it does not go, nor that of the inference network"""
    embedding_max_std: float = 2.0
    """above which it does not go"""
    normalize_advantage: bool = True
    """mean 0 and standard deviation 1 over each task's steps, or episodes, of a round, so that no task owns the gradient"""
    max_grad_norm: float = 0.5
    """gradients are scaled down to this norm; 0: never"""
    target_kl: float = 0.0
    """a round is left after the epoch in which the policy moved farther than this, nats; 0: never"""

    def __post_init__(self) -> None:
        settings.layers(self, "hidden", "encoder_hidden", "inference_hidden")
        settings.one_of(self, "activation", ("relu", "tanh"))
        settings.positive(self, "window", "episodes", "clip", "epochs", "minibatches", "lr", "inference_lr", "log_q_limit")
        settings.positive(self, "min_std", "embedding_min_std")
        settings.share(self, "gamma", "gae_lambda")
        settings.not_negative(self, "latent", "entropy", "policy_entropy", "cross_entropy", "encoder_entropy", "max_grad_norm", "target_kl")
        settings.between(self, "min_std", "init_std", "max_std")
        settings.between(self, "embedding_min_std", "embedding_std", "embedding_max_std")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    policy: dict[str, Tensor]
    """observation and latent -> mean, and ``log_std``; or -> logits. Under ``encoder.``: one-hot -> mean (Z), and ``log_std`` (K, Z)"""
    adam: AdamState
    steps: Tensor
    """[S] float32, gradient steps done"""
    inference: dict[str, Tensor]
    """window -> mean (Z), and ``log_std``; nothing without a latent"""
    inference_adam: AdamState
    inference_steps: Tensor
    """[S] float32"""


class Episodes(NamedTuple):
    """All draws of the encoder in a round of one seed, and what is known of them before it moves."""

    latent: Tensor
    """(K, G, Z)"""
    advantage: Tensor
    """(K, G) of the latent, against what the task's latents bring on average"""
    log_prob: Tensor
    """(K, G) when it was drawn"""
    exists: Tensor
    """(K, G) 1 where there was an episode"""


class TaskEmbedding:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        self.config, self.tasks, self.latent = config, tasks, config.latent
        self.action_dim, self.noise_dim = spec.action_dim, spec.action_dim + config.latent
        self.task_dim = 0 if config.latent or tasks == 1 else tasks
        self.obs_dim, self.input_dim = spec.obs_dim, spec.obs_dim + config.latent + self.task_dim
        self.head = head(spec, config.init_std, config.min_std, config.max_std)
        least, most = config.embedding_min_std, config.embedding_max_std
        self.embedding = Gaussian(config.latent, config.embedding_std, least, most)
        self.inferred = Gaussian(config.latent, config.embedding_std, least)
        self.descent = Descent(config.epochs, config.minibatches, config.lr, config.max_grad_norm)
        self.plan = Rounds(config.episodes)

    def fields(self) -> tuple[Field, ...]:
        """The latent that acted."""
        return (Field("latent", (self.latent,)),) if self.latent else ()

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator, config = torch.Generator().manual_seed(seed), self.config
        policy = init_mlp((self.input_dim, *config.hidden, self.action_dim), generator, last_scale=LAST_SCALE)
        policy, inference = {**policy, **self.head.init()}, {}
        if self.latent:
            encoder = init_mlp((self.tasks, *config.encoder_hidden, self.latent), generator)
            encoder["log_std"] = self.embedding.init()["log_std"].repeat(self.tasks, 1)
            policy |= {ENCODER + name: value for name, value in encoder.items()}
            inference = init_mlp((config.window * self.obs_dim, *config.inference_hidden, self.latent), generator)
            inference |= self.inferred.init()
        return State(policy, init_adam(policy), torch.zeros(()), inference, init_adam(inference), torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. A new task has the mean of the encoder's rows and of its log standard deviations: to the
        encoder it is a bit of every task. With ``policy_only`` the inference network stays fresh."""
        check_same(self.config, source.config, KEPT)
        acts = {name: leaf for name, leaf in old.policy.items() if not name.startswith(ENCODER)}
        policy = network(acts, origin, told=source.task_dim, tells=self.task_dim, heads=False)
        encoder = copied(own(old.policy))
        encoder |= {name: of_tasks(encoder[name], origin, -2) for name in ("w0", "log_std") if encoder}
        state = state._replace(policy=policy | {ENCODER + name: leaf for name, leaf in encoder.items()})
        return state if policy_only else state._replace(inference=copied(old.inference))

    # ---- acting (numpy, one seed) ------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.policy

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), not clipped; the likeliest, of the mean latent, where ``noise`` (N, A + Z) is None."""
        config, inputs, extra = self.config, seen.obs, {}
        if self.latent:
            latent = self._drawn(params, carry, seen, noise)
            inputs, extra = np.concatenate([seen.obs, latent], 1), {"latent": latent}
        out = numpy_mlp(params, inputs, len(config.hidden) + 1, seen.tasks, activation=config.activation)
        action = self.head.draw(params, out, None if noise is None else noise[:, : self.action_dim])
        return action, extra or None, extra

    def _drawn(self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Latents (N, Z): a new one where an episode begins."""
        if carry is not None and not seen.episode.any():
            return carry["latent"]
        encoder, config = own(params), self.config
        told = np.eye(self.tasks, dtype=np.float32)[seen.tasks]
        mean = numpy_mlp(encoder, told, len(config.encoder_hidden) + 1, seen.tasks, activation=config.activation)
        stds = {"log_std": encoder["log_std"][seen.tasks]}
        fresh = self.embedding.draw(stds, mean, None if noise is None else noise[:, self.action_dim :])
        return fresh if carry is None else np.where(seen.episode[:, None], fresh, carry["latent"])

    # ---- distributions and losses, for one seed: no S axis -----------------------------------------------------------

    def inputs(self, data: Round) -> Tensor:
        """(K, M, O + Z), what the policy saw in a round (K, G, T, ...)."""
        obs = data.obs.flatten(1, 2)
        return torch.cat([obs, data.extra["latent"].flatten(1, 2)], -1) if self.latent else obs

    def actions(self, policy: dict[str, Tensor], inputs: Tensor) -> Distribution:
        """inputs (K, B, O + Z) -> (K, B) distributions."""
        return self.head.read(policy, task_mlp(policy, inputs, heads=False, activation=self.config.activation))

    def embeddings(self, policy: dict[str, Tensor]) -> Distribution:
        """p(z|task), (K, 1) distributions."""
        encoder = own(policy)
        told = torch.eye(self.tasks, device=encoder["w0"].device)
        at = self.embedding.read(encoder, mlp(encoder, told, self.config.activation))
        return Distribution(at.out.unsqueeze(1), at.log_std.unsqueeze(1))

    def log_q(self, inference: dict[str, Tensor], obs: Tensor, latent: Tensor, chosen: Tensor, horizon: int) -> Tensor:
        """log q(z|window) at the steps ``chosen`` (K, B) of obs (K, M, O), latent (K, M, Z), in nats; before an episode lies its first
        observation."""
        each = torch.arange(len(obs), device=obs.device)[:, None]
        back = torch.arange(self.config.window - 1, -1, -1, device=obs.device)
        places = chosen[..., None] - torch.minimum(back, (chosen % horizon)[..., None])
        window = obs[each[..., None], places].flatten(2)
        at = self.inferred.read(inference, task_mlp(inference, window, heads=False, activation=self.config.activation))
        return self.inferred.log_prob(at, latent[each, chosen])

    def log_q_of_all(self, inference: dict[str, Tensor], data: Round) -> Tensor:
        """(K, M), of a round (K, G, T, ...)."""
        obs, latent, T = data.obs.flatten(1, 2), data.extra["latent"].flatten(1, 2), data.valid.shape[-1]
        every = torch.arange(obs.shape[1], device=obs.device).expand(obs.shape[:2])
        return torch.cat([self.log_q(inference, obs, latent, part, T) for part in every.split(STEPS_AT_ONCE, 1)], 1)

    def loss(self, policy: dict[str, Tensor], samples: Samples, episodes: Episodes | None, part: Minibatch) -> Tensor:
        """- (clipped surrogate of the actions of a minibatch, and of all latents, + entropies)."""
        at = self.actions(policy, part.of(samples.inputs))
        log_ratio = self.head.log_prob(at, part.of(samples.action)) - part.of(samples.log_prob)
        gain = clipped(likelihood_ratio(log_ratio), part.of(samples.advantage), self.config.clip)
        loss = -part.mean(gain + self.config.entropy * self.head.entropy(at))
        return loss if episodes is None else loss + self.encoder_loss(policy, episodes)

    def encoder_loss(self, policy: dict[str, Tensor], episodes: Episodes) -> Tensor:
        """- (clipped surrogate of the latents + c3 H[p(z|task)]), every task and each of its episodes counting the same."""
        at = self.embeddings(policy)
        log_ratio = self.embedding.log_prob(at, episodes.latent) - episodes.log_prob
        gain = group_mean(clipped(likelihood_ratio(log_ratio), episodes.advantage, self.config.clip), episodes.exists)
        return -(gain + self.config.encoder_entropy * self.embedding.entropy(at).mean())

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        return shuffle_seeds(generators)

    def augmented(self, data: Round, at: Distribution, log_q: Tensor | None) -> Tensor:
        """(K, G, T) rewards with the entropy of the policy (K, M) and the log-probability of the latent (K, M)."""
        config, reward = self.config, data.reward
        if config.policy_entropy:
            reward = reward + config.policy_entropy * self.head.entropy(at).view_as(reward) * data.valid
        if config.cross_entropy and log_q is not None:
            bounded = log_q.clamp(-config.log_q_limit, config.log_q_limit)
            reward = reward + config.cross_entropy * bounded.view_as(reward) * data.valid
        return reward

    def samples(self, policy: dict[str, Tensor], data: Round, reward: Tensor) -> tuple[Samples, Tensor]:
        """Of a round (K, G, T, ...) with these rewards, and the variance of returns that the baseline explains ()."""
        gamma, lam, normalize = self.config.gamma, self.config.gae_lambda, self.config.normalize_advantage
        known = torch.cat([features(data.obs), data.extra["latent"]], -1) if self.latent else features(data.obs)
        advantage, explained = advantages(known, reward, data.valid, gamma, lam, normalize=normalize)
        inputs, action = self.inputs(data), data.action.flatten(1, 2)
        log_prob = self.head.log_prob(self.actions(policy, inputs), action)
        return Samples(inputs, action, advantage.flatten(1), log_prob, data.valid.flatten(1)), explained

    def episodes(self, policy: dict[str, Tensor], data: Round, reward: Tensor) -> Episodes:
        """What a latent brought is the return of its episode; its baseline knows the first observation but not the latent, whose credit it
        would take."""
        returns, exists = discounted(reward, self.config.gamma), data.valid[..., 0]
        baseline = linear_baseline(features(data.obs).flatten(1, 2), returns.flatten(1), data.valid.flatten(1)).view_as(reward)
        advantage = (returns - baseline)[..., 0] * exists
        if self.config.normalize_advantage:
            advantage = normalized(advantage, exists, (1,))
        latent = data.extra["latent"][:, :, 0]
        return Episodes(latent, advantage, self.embedding.log_prob(self.embeddings(policy), latent), exists)

    def information(self, policy: dict[str, Tensor], episodes: Episodes, mean_log_q: Tensor) -> Tensor:
        """H[z] + E log q(z|window), () nats: a lower bound of what windows tell about latents; log K where they tell the task, and tasks
        have latents of their own."""
        at = self.embeddings(policy)
        of_each = self.embedding.log_prob(Distribution(at.out[:, :, None], at.log_std[:, :, None]), episodes.latent[None])  # (K, K, G)
        return mean_log_q - group_mean(of_each.logsumexp(0) - math.log(self.tasks), episodes.exists)

    def prepared(self, state: State, data: Round) -> tuple[Samples, Episodes | None, dict[str, Tensor]]:
        """What the losses read of a round (K, G, T, ...), and metrics of it; no draws of a latent where there is none."""
        log_q = self.log_q_of_all(state.inference, data) if self.latent else None
        reward = self.augmented(data, self.actions(state.policy, self.inputs(data)), log_q)
        samples, explained = self.samples(state.policy, data, reward)
        if log_q is None:
            return samples, None, {"explained_variance": explained}
        episodes, mean_log_q = self.episodes(state.policy, data, reward), group_mean(log_q, samples.valid)
        told = self.information(state.policy, episodes, mean_log_q)
        return samples, episodes, {"explained_variance": explained, "cross_entropy": -mean_log_q, "information": told}

    def update_one(self, state: State, batch: Round, seed: Tensor) -> tuple[State, dict[str, Tensor]]:
        """One round of one seed, (1, K, N, E, T, ...): policy and encoder by what the inference network said, then that network."""
        data, generator, limit = task_major(batch), torch.Generator().manual_seed(int(seed)), self.config.target_kl
        samples, episodes, metrics = self.prepared(state, data)
        before = self.actions(state.policy, samples.inputs)

        def too_far(policy: dict[str, Tensor]) -> bool:
            return bool(limit) and bool(group_mean(self.head.kl(before, self.actions(policy, samples.inputs)), samples.valid) > limit)

        policy, moments, steps = descend(
            self.descent,
            lambda policy, part: self.loss(policy, samples, episodes, part),
            (state.policy, state.adam, state.steps),
            samples.valid,
            generator,
            bounded=self.bounded,
            enough=too_far,
        )
        metrics |= report(self.head, samples, before, self.actions(policy, samples.inputs), self.config.clip)
        inference = state.inference, state.inference_adam, state.inference_steps
        if self.latent:
            inference = self.fit(state, data, generator)
            metrics["encoder_entropy"] = self.embedding.entropy(self.embeddings(policy)).mean()
        return State(policy, moments, steps, *inference), metrics

    def bounded(self, policy: dict[str, Tensor]) -> dict[str, Tensor]:
        """Standard deviations within their bounds."""
        policy = self.head.bounded(policy)
        if self.latent:
            policy[ENCODER + "log_std"] = self.embedding.bounded(own(policy))["log_std"]
        return policy

    def fit(self, state: State, data: Round, generator: torch.Generator) -> tuple[dict[str, Tensor], AdamState, Tensor]:
        """The inference network by maximum likelihood of the latents that acted: parameters, moments, steps done."""
        obs, latent, T = data.obs.flatten(1, 2), data.extra["latent"].flatten(1, 2), data.valid.shape[-1]
        return descend(
            self.descent._replace(lr=self.config.inference_lr),
            lambda inference, part: -part.mean(self.log_q(inference, obs, latent, part.chosen, T)),
            (state.inference, state.inference_adam, state.inference_steps),
            data.valid.flatten(1),
            generator,
            bounded=self.inferred.bounded,
        )

    def update(self, state: State, batch: Round, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place, in turn; batch (S, 1, K, N, E, T, ...). Returns metrics [S].

        One process learns from the whole round: ``reduce`` is not called.
        """
        return in_turn(self.update_one, state, batch, noise)


def own(params: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder's parameters by the names of a network."""
    return {name.removeprefix(ENCODER): value for name, value in params.items() if name.startswith(ENCODER)}


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> TaskEmbedding:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return TaskEmbedding(config, spec, tasks)

"""The side of ``bench/meta_update.py`` that is rainx0r/metaworld-algorithms: its own code, unmodified, from where advantages are known."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from gymnasium.spaces import Box
from meta_data import (
    ACTION,
    BACKTRACK,
    BARE,
    CALL_LIMIT_S,
    CHUNK,
    CLIP,
    DELTA,
    ENTROPY,
    INNER_LR,
    MAX_GRAD_NORM,
    MINIBATCHES,
    OBS,
    PRODUCTS,
    STEP,
    TRIES,
    Phase,
    Sizes,
    phases,
    weights,
)
from metaworld_algorithms.config.networks import ContinuousActionPolicyConfig, RecurrentContinuousActionPolicyConfig
from metaworld_algorithms.config.nn import RecurrentNeuralNetworkConfig, VanillaNetworkConfig
from metaworld_algorithms.config.optim import OptimizerConfig
from metaworld_algorithms.config.utils import Activation, StdType
from metaworld_algorithms.rl.algorithms import MAMLTRPO, PPO, RL2, MAMLTRPOConfig, PPOConfig, RL2Config
from metaworld_algorithms.types import Rollout
from sac_sides import Mode

Made = tuple[dict[str, Callable[[], object]], Callable[[], dict[str, Any]]]
"""updates by mode, and what one is counted to be"""
POLICY = {"squash_tanh": False, "std_type": StdType.PARAM, "log_std_min": float(np.log(1e-6)), "log_std_max": None}


class MetaworldAlgorithms:
    """Configured as in its examples for ML10 and MT10, but for what ``meta_report`` lists."""

    packages = ("metaworld-algorithms", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")

    def __init__(self, sizes: Sizes) -> None:
        calls, count = {"maml": peer_maml, "rl2": peer_rl2, "ppo": peer_ppo}[sizes.method](sizes)
        self.modes = {name: Mode(call, 1, least=1) for name, call in calls.items()}
        self.note = f"its own code, unmodified; {jax.devices()}; every update is waited for"
        self.about = {"work": count(), "call_limit_s": CALL_LIMIT_S}


def world(inputs: int) -> Any:
    """Of its environment nothing but the spaces is asked for."""
    return SimpleNamespace(observation_space=Box(-np.inf, np.inf, (inputs,), np.float32), action_space=Box(-1, 1, (ACTION,), np.float32))


def rollout(phase: Phase, dist: Any) -> Rollout:
    """A phase that ``dist`` acted. Rewards, returns and values are read by logs alone."""
    mean, std = np.asarray(dist.mode()), np.asarray(dist.stddev())
    action, advantage = mean + std * phase.noise, phase.advantage[..., None]
    log_prob = np.asarray(dist.log_prob(action))[..., None]
    made = Rollout(phase.obs, action, advantage, np.zeros_like(advantage), log_prob, mean, std, np.zeros_like(advantage))
    return made._replace(returns=advantage, advantages=advantage, valids=np.ones_like(advantage))


def time_first(phase: Phase) -> Phase:
    return Phase(*(np.ascontiguousarray(np.swapaxes(leaf, 0, 1)) for leaf in phase))


def work(agent: Any, gradient_steps: int, products: int = 0, tries: int = 0) -> dict[str, Any]:
    parameters = agent.get_num_params()["policy_num_params"]
    return {"parameters": int(parameters), "steps": gradient_steps, "products": products, "tries": tries}


def peer_maml(sizes: Sizes) -> Made:
    """``outer_step``. Its inner loss is a mean over tasks, too, so that its step size is multiplied by their number."""
    width, depth = sizes.hidden[0], len(sizes.hidden)
    network = VanillaNetworkConfig(width=width, depth=depth, activation=Activation.Tanh)
    config = MAMLTRPOConfig(
        num_tasks=sizes.tasks,
        gamma=0.99,
        meta_batch_size=sizes.tasks,
        policy_config=ContinuousActionPolicyConfig(network, **POLICY),
        policy_inner_lr=INNER_LR * sizes.tasks,
        delta=DELTA,
        cg_iters=PRODUCTS,
        backtrack_ratio=BACKTRACK,
        max_backtrack_iters=TRIES,
    )
    agent = MAMLTRPO.initialize(config, world(OBS))
    params = jax.tree.map(lambda leaf: leaf, agent.policy.params)
    (layers,) = (value for name, value in params["params"].items() if name != "log_std")
    while "layer_0" not in layers:
        (layers,) = layers.values()
    for i, (weight, bias) in enumerate(weights(sizes)):
        layers[f"layer_{i}"] = {"kernel": jax.numpy.asarray(weight), "bias": jax.numpy.asarray(bias)}
    agent = agent.replace(policy=agent.policy.replace(params=params)).init_ensemble_networks()
    inner, data = agent.policy.inner_train_state, []
    for phase in phases(sizes):
        data.append(rollout(phase, inner.apply_fn(inner.params, phase.obs)))
        inner = agent.inner_step(inner, data[-1])

    def step() -> Any:
        return jax.block_until_ready(agent.outer_step(data))

    def count() -> dict[str, Any]:
        said = {name.partition("/")[2]: float(value) for name, value in step()[1].items()}
        # Its conjugate gradient begins with the product of 0, and the step's length takes one more.
        return work(agent, 0, PRODUCTS + 2, int(said["backtrack_steps"])) | {"gain": -said["loss_after"], "kl": said["kl_after"]}

    return {STEP: step}, count


def peer_rl2(sizes: Sizes) -> Made:
    """The epochs of ``update``: ``_update_inner`` on chunk after chunk, without overlap. Its MLP has one layer more than its depth."""
    optimizer = OptimizerConfig(lr=5e-4, max_grad_norm=MAX_GRAD_NORM)
    width, depth = sizes.hidden[0], len(sizes.hidden) - 1
    config = RL2Config(
        num_tasks=sizes.tasks,
        gamma=0.99,
        meta_batch_size=sizes.tasks,
        policy_config=RecurrentContinuousActionPolicyConfig(
            network_config=RecurrentNeuralNetworkConfig(width=width, activation=Activation.Tanh, optimizer=optimizer),
            encoder_config=VanillaNetworkConfig(width=width, depth=depth, activation=Activation.Tanh),
            **POLICY,
        ),
        clip_eps=CLIP,
        entropy_coefficient=ENTROPY,
        num_epochs=sizes.epochs,
        chunk_len=CHUNK,
        overlap=0,
    )
    agent = RL2.initialize(config, world(OBS + ACTION + 2))
    phase = time_first(phases(sizes, OBS + ACTION + 2)[0])
    _, carry = agent.init_recurrent_state(sizes.tasks)
    carries, dist = agent.policy.seq_apply_fn(agent.policy.params, phase.obs, initial_carry=carry)
    whole = rollout(phase, dist)._replace(rnn_states=np.asarray(carries))
    chunks = [Rollout(*(None if x is None else x[i : i + CHUNK] for x in whole)) for i in range(0, sizes.steps, CHUNK)]
    bare = jax.jit(lambda *given: RL2._update_inner(*given)[:2])

    def update(inner: Callable[..., Any]) -> Any:
        current = agent
        for _ in range(sizes.epochs):
            current, carry = current.init_recurrent_state(sizes.tasks)
            for chunk in chunks:
                current, carries, *_ = inner(current, chunk, carry)
                carry = carries[CHUNK - 1]
        return jax.block_until_ready(current)

    calls = {STEP: lambda: update(RL2._update_inner), BARE: lambda: update(bare)}
    return calls, lambda: work(agent, int(calls[STEP]().policy.step - agent.policy.step))


def peer_ppo(sizes: Sizes) -> Made:
    """``_update_inner``: all epochs, and one scan for advantages. It is given the task as a one-hot."""
    network = VanillaNetworkConfig(width=sizes.hidden[0], depth=len(sizes.hidden), optimizer=OptimizerConfig(max_grad_norm=MAX_GRAD_NORM))
    config = PPOConfig(
        num_tasks=sizes.tasks,
        gamma=0.99,
        policy_config=ContinuousActionPolicyConfig(network, **POLICY),
        vf_config=None,
        baseline_type="linear",
        clip_eps=CLIP,
        entropy_coefficient=ENTROPY,
        num_gradient_steps=MINIBATCHES,
        num_epochs=sizes.epochs,
    )
    agent = PPO.initialize(config, world(OBS + sizes.tasks))
    (phase,) = phases(sizes)
    told = np.broadcast_to(np.eye(sizes.tasks, dtype=np.float32)[:, None], (sizes.tasks, sizes.steps, sizes.tasks))
    phase = time_first(phase._replace(obs=np.concatenate([phase.obs, told], -1)))
    data, last = rollout(phase, agent.policy.apply_fn(agent.policy.params, phase.obs)), phase.obs[-1]
    bare = jax.jit(lambda *given: PPO._update_inner(*given)[0])

    def update() -> Any:
        nonlocal agent  # it gives the old one's memory to the new one
        agent, _ = PPO._update_inner(agent, data, last)
        return jax.block_until_ready(agent)

    def count() -> dict[str, Any]:
        before = int(agent.policy.step)
        return work(agent, int(update().policy.step) - before)

    return {STEP: update, BARE: lambda: jax.block_until_ready(bare(agent, data, last))}, count

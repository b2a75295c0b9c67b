"""Small algorithms by name, and made-up data of the shapes that their plans ask for."""

from typing import Any

import numpy as np
import torch

import algos
import simulators
from algos.lib.surrogate import Minibatch, minibatches
from core.abilities import Encoding
from core.contracts import Algorithm
from core.types import Batch, Field, Round, Rounds, Seen, TaskSpec

OBS, ACT, SIMULATORS, HORIZON = 5, 2, 2, 6
SPEC = TaskSpec("test", (Field("obs", (OBS,)),), ACT, HORIZON)
SIGHT = simulators.make("blocks:lift", 0, size=8, horizon=HORIZON)
"""what algorithms with eyes are made for"""
SEEING = ("c2farm",)
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"hidden": (16, 16), "episodes": 3, "epochs": 2, "minibatches": 2},
    "task_embedding": {"episodes": 3, "epochs": 2, "minibatches": 2, "latent": 2, "window": 3},
    "maml": {"hidden": (16, 16), "episodes": 2},
    "trpo": {"hidden": (16, 16), "episodes": 2},
    "rl2": {"episodes": 3, "hidden": 8, "epochs": 2, "minibatches": 2},
    "pearl": {"hidden": (16, 16), "encoder_hidden": (16,), "latent_dim": 3, "meta_batch": 2, "batch_size": 8, "context": 4},
    "c2farm": {"voxels": 4, "channels": 4, "rotation_bins": 4, "batch_size": 4, "room": 128, "explore": 1.0, "lr": 1e-2},
    "reptile": {"settings": algos.find("sac").Config(hidden=(16, 16), batch_size=8), "inner_updates": 2, "meta_iterations": 10},
}
"""name -> settings that make it small, where its own would be slow"""
CASES = [(name, tasks) for name in algos.names() for tasks in (1, 3)]


def spec_of(name: str) -> TaskSpec:
    return SIGHT.spec if name in SEEING else SPEC


def made(name: str, tasks: int, spec: TaskSpec | None = None, **changes: Any) -> Algorithm:
    module, spec = algos.find(name), spec or spec_of(name)
    return module.make(module.Config(**{**SETTINGS.get(name, {}), **changes}), spec, tasks, SIMULATORS)


def on_policy(name: str) -> bool:
    return isinstance(made(name, 1).plan, Rounds)


def batch(algorithm: Algorithm, tasks: int, seed: int = 0, spec: TaskSpec | None = None) -> Any:
    """What ``update`` takes, of one seed."""
    g, spec = torch.Generator().manual_seed(seed), spec or (SIGHT.spec if isinstance(algorithm, Encoding) else SPEC)
    plan, obs_dim = algorithm.plan, spec.obs_dim
    if isinstance(plan, Rounds):
        return a_round(algorithm, (1, plan.phases, tasks, SIMULATORS, plan.episodes, spec.horizon), g, spec)
    lead = (1, plan.tasks or tasks, plan.batch_size)
    obs, next_obs = torch.randn(*lead, obs_dim, generator=g), torch.randn(*lead, obs_dim, generator=g)
    action = torch.rand(*lead, spec.action_dim, generator=g) * 2 - 1
    plain = Batch(obs, action, torch.randn(*lead, generator=g), next_obs, torch.full(lead, plan.gamma))
    if isinstance(algorithm, Encoding):
        plain = plain._replace(here=looked_at(algorithm, lead, seed), there=looked_at(algorithm, lead, seed + 1000))
    chosen = torch.randperm(tasks, generator=g)[None, : plan.tasks] if plan.tasks else ()
    width = obs_dim + spec.action_dim + 1
    context = torch.randn(*lead[:2], plan.context, width, generator=g) if plan.context else ()
    return plain._replace(chosen=chosen, context=context)


def looked_at(algorithm: Any, lead: tuple[int, ...], seed: int) -> dict[str, torch.Tensor]:
    """(1, T, B, ...) the algorithm's columns of observations of blocks, acted on by whatever its untrained policy does."""
    _, count, B = lead
    rng, own = np.random.default_rng(seed), params(algorithm, algorithm.init([seed]))
    noise = rng.standard_normal((count * B, algorithm.noise_dim), dtype=np.float32)
    _, _, columns = algorithm.act(own, None, seen(count * B, sight=True, variation=seed), noise)
    return {name: torch.from_numpy(value).reshape(*lead, *value.shape[1:]) for name, value in columns.items()}


def a_round(algorithm: Algorithm, lead: tuple[int, ...], g: torch.Generator, spec: TaskSpec = SPEC) -> Round:
    """Of every simulator the last episode ended early."""
    valid = torch.ones(lead)
    valid[..., -1, lead[-1] // 2 :] = 0
    shapes = {"obs": (spec.obs_dim,), "action": (spec.action_dim,), "reward": ()}
    columns = {name: torch.randn(*lead, *shape, generator=g) for name, shape in shapes.items()}
    extra = {field.name: torch.randn(*lead, *field.shape, generator=g) for field in algorithm.fields()}
    cut = {name: value * valid.reshape(*lead, *[1] * (value.dim() - valid.dim())) for name, value in (columns | extra).items()}
    return Round(cut["obs"], cut["action"], cut["reward"], valid, {name: cut[name] for name in extra})


def whole_round(valid: torch.Tensor) -> Minibatch:
    """All steps of (K, M) at once."""
    return minibatches(valid, 1, torch.Generator())[0]


def seen(N: int, tasks: Any = 0, *, obs: Any = None, first: bool = True, sight: bool = False, variation: int = 0) -> Seen:
    """N simulators at the beginning of their trials, or in the midst of an episode.

    Args:
        sight: they show blocks, of so many variations from this one.
    """
    rng = np.random.default_rng(0)
    if sight:
        shown = [SIGHT.reset(variation + i) for i in range(N)]
        fields = {name: np.stack([one[name] for one in shown]) for name in shown[0]}
        A, begun = SIGHT.spec.action_dim, np.full(N, first)
        done = np.zeros((N, A), np.float32) if first else rng.random((N, A), "f4")
        reward = np.zeros(N, np.float32) if first else rng.random(N, "f4")
        return Seen(fields["obs"], np.broadcast_to(np.asarray(tasks), (N,)), np.arange(N), begun, begun, done, reward, fields)
    obs = rng.standard_normal((N, OBS), dtype=np.float32) if obs is None else obs
    action, reward = (
        (np.zeros((N, ACT), np.float32), np.zeros(N, np.float32)) if first else (rng.random((N, ACT), "f4"), rng.random(N, "f4"))
    )
    begun = np.full(N, first)
    return Seen(obs, np.broadcast_to(np.asarray(tasks), (N,)), np.arange(N), begun, begun, action, reward)


def params(algorithm: Algorithm, state: Any) -> dict[str, np.ndarray]:
    """What an actor gets."""
    return {k: v[0].numpy() for k, v in algorithm.policy(state).items()}


def columns_of(algorithm: Algorithm) -> dict[str, tuple[int, ...]]:
    """Shapes of what ``act`` gives to replay."""
    fields = (*(algorithm.encoded() if isinstance(algorithm, Encoding) else ()), *algorithm.fields())
    return {field.name: field.shape for field in fields}

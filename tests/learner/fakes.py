"""What the learner's tests learn: SAC, by a loop or by vmap, on made-up data that depends on a seed only."""

from typing import Any

import numpy as np
import torch
from torch.func import vmap

import algos
from algos.sac import SAC
from core.contracts import alone
from core.seeding import SeedTree
from core.tree import map_tree
from core.types import Batch, Field, TaskSpec
from learner.settings import Config
from learner.worker import LearnerWorker

OBS, A, K, B = 6, 2, 2, 8
SPEC = TaskSpec("test", (Field("obs", (OBS,)),), A, 50)


class Source:
    """Random batches (K, B, ...); how many were drawn is its whole state."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.widths = (OBS, A, 1, OBS, 1)
        self.buffer = torch.zeros(K * B * sum(self.widths))

    def sample(self) -> None:
        self.buffer.copy_(torch.from_numpy(self.rng.random(len(self.buffer), np.float32)))

    def assemble(self, buffer: torch.Tensor) -> Batch:
        obs, action, reward, next_obs, bootstrap = torch.split(buffer.view(K, B, -1), self.widths, -1)
        return Batch(obs, action, reward[..., 0], next_obs, bootstrap[..., 0])

    def state_dict(self) -> dict[str, Any]:
        return self.rng.bit_generator.state

    def load_state_dict(self, state: Any) -> None:
        self.rng.bit_generator.state = state


class Vmapped(SAC):
    """The same update, over the seeds at once."""

    def update(self, state: Any, batch: Any, noise: Any, reduce: Any = alone) -> dict[str, torch.Tensor]:
        new, metrics = vmap(self.update_one)(state, batch, noise)
        map_tree(lambda leaf, value: leaf.copy_(value), state, new)
        return metrics


def learner(*seeds: int, kind: type[SAC] | None = None, hidden: tuple[int, ...] = (16, 16), **settings: Any) -> LearnerWorker:
    module = algos.find("sac")
    config = module.Config(hidden=hidden, batch_size=B, normalize_obs=True)
    algorithm = kind(config, SPEC, K) if kind else module.make(config, SPEC, K)
    settings = {"threads": 1, "compile": "eager", "eager_first": 0, "matmul": "default", "device": "cpu", **settings}
    return LearnerWorker(algorithm, [Source(seed) for seed in seeds], [SeedTree(seed) for seed in seeds], Config(**settings))


def tensors(worker: LearnerWorker, seed: int = 0) -> dict[str, torch.Tensor]:
    state = worker.state_dict(seed)
    return {**state["tensors"], "generator": state["generator"]}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, rtol: float = 0.0, atol: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}")

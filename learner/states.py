"""Learner side: what every learner of S seeds keeps, publishes as versioned weights and saves, whatever it learns from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.contracts import Algorithm, Stateful
from core.errors import CheckpointError
from core.seeding import SeedTree
from core.tree import index_tree, named_leaves
from core.types import Weights
from learner import precision
from learner.device import choose, limit_memory, restore_generator, scope
from learner.settings import Config


class SeedStates(ABC):
    """Seeds know nothing of each other: each ends where it would end alone.

    Args:
        seeds: the learner's node of each seed's tree.
        threads: CPU threads of the update.
    """

    def __init__(self, algorithm: Algorithm, seeds: Sequence[SeedTree], config: Config, *, threads: int) -> None:
        self.algorithm, self.config, self.seeds, self.device = algorithm, config, list(seeds), choose(config.device)
        self.threads = threads
        torch.set_num_threads(threads)
        limit_memory(self.device, config.memory_fraction)
        self.precision = precision.begin(self.device, config.matmul, config.tf32)
        self._host: dict[str, Tensor] = {}
        self.updates, self.version = [0] * len(seeds), [0] * len(seeds)
        """per seed: updates done, newest version published"""

    @property
    @abstractmethod
    def state(self) -> Any:
        """of the algorithm; leaves lead with [S]"""
        ...

    @property
    @abstractmethod
    def generators(self) -> list[torch.Generator]:
        """of each seed's updates"""
        ...

    @property
    @abstractmethod
    def sources(self) -> Sequence[Stateful]:
        """of each seed's data"""
        ...

    # ---- weights ------------------------------------------------------------------------------------------------------

    def publish(self, seed: int = 0) -> Weights:
        """A private copy of the policy under the next version number."""
        self.version[seed] += 1
        return self.weights(seed)

    def weights(self, seed: int = 0) -> Weights:
        """The policy as it is now, under the current version number."""
        policy = index_tree(self.algorithm.policy(self.state), seed)
        if self.device.type == "cuda":
            policy = self._to_host(policy)
        return Weights(self.version[seed], {name: leaf.numpy().copy() for name, leaf in policy.items()})

    def _to_host(self, policy: dict[str, Tensor]) -> dict[str, Tensor]:
        """Into pinned memory that is reused, with one wait for all."""
        with scope(self.device):
            for name, leaf in policy.items():
                if name not in self._host:
                    self._host[name] = torch.empty(leaf.shape, dtype=leaf.dtype, pin_memory=True)
                self._host[name].copy_(leaf, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
            done.synchronize()
        return self._host

    # ---- checkpoint ---------------------------------------------------------------------------------------------------

    def state_dict(self, seed: int = 0) -> dict[str, Any]:
        """Of one seed, as a learner of that seed alone would save it; copies in the host's memory."""
        own = index_tree(self.state, slice(seed, seed + 1))
        return {
            "tensors": {name: leaf.to("cpu", copy=True) for name, leaf in named_leaves(own)},
            "generator": self.generators[seed].get_state(),
            "generator_kind": self.device.type,
            "updates": self.updates[seed],
            "version": self.version[seed],
            "matmul": self.precision.path,
            "source": self.sources[seed].state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], seed: int = 0) -> None:
        saved, here = state["tensors"], dict(named_leaves(index_tree(self.state, slice(seed, seed + 1))))
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in here.items()}:
            odd = sorted(k for k in saved.keys() | here.keys() if k not in saved or k not in here or saved[k].shape != here[k].shape)
            raise CheckpointError(f"the checkpoint's networks do not fit this configuration; differing: {', '.join(odd[:5])}")
        for name, leaf in here.items():
            leaf.copy_(saved[name])
        self.updates[seed], self.version[seed] = state["updates"], state["version"]
        anew = self.seeds[seed].child("noise", state["updates"]).integer()
        restore_generator(self.generators[seed], state["generator_kind"], state["generator"], anew)
        self.precision = precision.keep(self.precision, state["matmul"])
        self.sources[seed].load_state_dict(state["source"])

    def warm_start(self, tensors: Mapping[str, Tensor], seed: int = 0) -> None:
        """Before the first update: these leaves of the state, (1, ...) by name, in place of what they began with."""
        here = dict(named_leaves(index_tree(self.state, slice(seed, seed + 1))))
        for name, leaf in tensors.items():
            here[name].copy_(leaf)


def numbers(metrics: Mapping[str, Tensor], row: int) -> dict[str, float]:
    """One seed's, with one wait for all. What an algorithm tells per task, (S, K), is numbered."""
    own = [value[row].reshape(-1) for value in metrics.values()]
    values, shown = iter(torch.cat(own).tolist()), {}
    for name, part in zip(metrics, own, strict=True):
        for k in range(len(part)):
            shown[f"learner/{name}" if metrics[name].dim() == 1 else f"learner/{name}/{k}"] = next(values)
    return shown

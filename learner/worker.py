"""Learner side: owns the state of one algorithm, draws from replay, updates, publishes versioned weights."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.contracts import Algorithm, BatchSource
from core.errors import CheckpointError, ConfigError
from core.seeding import SeedTree
from core.tree import map_tree, named_leaves
from core.types import Weights
from learner.precision import MAX_RELATIVE_ERROR, Precision, probe, set_path
from learner.step import Step, Update


@dataclass(frozen=True)
class Config:
    """How updates run."""

    threads: int = 0
    """CPU threads of the update; 0: all cores but one, which simulators need: threads that wait for one another must not wait for a core"""
    compile: str = "auto"
    """auto (one compiled graph where a C++ compiler is installed) | compile | eager"""
    eager_first: int = 500
    """updates at the start of a run that the eager twin does while the graph is compiled; a number, not a time, so that runs repeat"""
    matmul: str = "auto"
    """auto (measured at start) | default | onednn"""

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"learner.threads is {self.threads}; it must be 0 (all cores but one) or more")
        if self.eager_first < 0:
            raise ConfigError(f"learner.eager_first is {self.eager_first}; it must be 0 or more")
        if self.matmul not in ("auto", "default", "onednn"):
            raise ConfigError(f"learner.matmul is {self.matmul!r}; allowed: auto, default, onednn")


class LearnerWorker:
    """See the module. One seed (S = 1).

    Args:
        sources: one per seed, where batches come from; drawing costs no call and no copy beyond the gather.
        seeds: the learner's node of each seed's tree.
    """

    def __init__(self, algorithm: Algorithm, sources: Sequence[BatchSource], seeds: Sequence[SeedTree], config: Config) -> None:
        self.algorithm, (self.source,), (tree,) = algorithm, sources, seeds
        self.threads = config.threads or max(1, torch.get_num_threads() - 1)
        torch.set_num_threads(self.threads)
        self.precision = self._choose_precision(config)
        self.batch = map_tree(
            lambda leaf: leaf[None], self.source.assemble(self.source.buffer)
        )  # (K, B, ...) -> (S = 1, K, B, ...), views into the reused buffer
        self.state = algorithm.init([tree.child("init").integer()])
        self.generator = torch.Generator().manual_seed(tree.child("noise").integer())
        self.updates, self.version, self.eager_first = 0, 0, config.eager_first
        self.step = Step(algorithm.update, config.compile, self.threads)

    def _choose_precision(self, config: Config) -> Precision:
        measured = probe()
        if config.matmul != "auto":
            measured = measured._replace(path=config.matmul)
            set_path(config.matmul)
        return measured

    def describe(self) -> str:
        twin = "one compiled graph" if self.step.compiled else "eager"
        return f"learner: {self.threads} threads, {twin}, {self.precision.describe()}"

    def compile(self) -> None:
        """Begins to compile in the background, on made-up data of the real shapes."""
        generator = torch.Generator().manual_seed(0)
        self.step.warm_up(self.state, self.batch, self.algorithm.noise(self.state, [generator]))

    def compiling(self) -> bool:
        """Whether the next update would have to wait for the graph."""
        return self.updates >= self.eager_first and self.step.compiling()

    def wait_compiled(self) -> None:
        self.step.wait()

    def update(self, count: int) -> dict[str, float]:
        """``count`` updates. Returns the metrics of the last one, and ``learner/seconds`` of the call."""
        began = time.monotonic()
        metrics: dict[str, Tensor] = {}
        eager = min(count, max(0, self.eager_first - self.updates))
        for _ in range(eager):
            metrics = self._update_once(self.step.eager)
        if eager < count:
            with self.step.running():
                for _ in range(count - eager):
                    metrics = self._update_once(self.step)
        self.updates += count
        shown = {f"learner/{name}": float(value[0]) for name, value in metrics.items()}
        return shown | {"learner/seconds": time.monotonic() - began}

    def _update_once(self, step: Update) -> dict[str, Tensor]:
        self.source.sample()
        return step(self.state, self.batch, self.algorithm.noise(self.state, [self.generator]))

    def publish(self) -> Weights:
        """A private copy of the policy under the next version number."""
        self.version += 1
        return self.weights()

    def weights(self) -> Weights:
        """The policy as it is now, under the current version number."""
        policy = self.algorithm.policy(self.state)
        return Weights(self.version, {name: leaf[0].cpu().numpy().copy() for name, leaf in policy.items()})

    def state_dict(self) -> dict[str, Any]:
        return {
            "tensors": dict(named_leaves(self.state)),
            "generator": self.generator.get_state(),
            "updates": self.updates,
            "version": self.version,
            "matmul": self.precision.path,
            "source": self.source.state_dict(),
        }

    def _keep_path(self, path: str) -> None:
        """Goes on with the matmul path that the run began with, so that it goes on bit by bit; unless that is not accurate here."""
        if path == "default" or self.precision.error <= MAX_RELATIVE_ERROR:
            set_path(path)
            self.precision = self.precision._replace(path=path)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        saved, here = state["tensors"], dict(named_leaves(self.state))
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in here.items()}:
            odd = sorted(k for k in saved.keys() | here.keys() if k not in saved or k not in here or saved[k].shape != here[k].shape)
            raise CheckpointError(f"the checkpoint's networks do not fit this configuration; differing: {', '.join(odd[:5])}")
        for name, leaf in here.items():
            leaf.copy_(saved[name])
        self.generator.set_state(state["generator"])
        self._keep_path(state["matmul"])
        self.updates, self.version = state["updates"], state["version"]
        self.source.load_state_dict(state["source"])

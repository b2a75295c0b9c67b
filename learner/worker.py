"""Learner side: owns the states of one algorithm's seeds, draws from replay, updates, publishes versioned weights."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.contracts import Algorithm, BatchSource, Reduce, alone
from core.errors import CheckpointError, ConfigError
from core.seeding import SeedTree
from core.tree import index_tree, named_leaves
from core.types import Weights
from learner import graph, precision
from learner.device import CORES, choose, limit_memory, memory_errors, restore_generator, scope
from learner.feed import Retired
from learner.stack import Stack
from learner.step import Step

Metrics = dict[str, float] | list[dict[str, float]]
"""of one seed a dict, of several one dict per seed"""


@dataclass(frozen=True)
class Config:
    """How updates run."""

    device: str = "auto"
    """auto (CUDA where there is a GPU) | cpu | cuda | cuda:N"""
    threads: int = 0
    """CPU threads of the update; 0: all cores but one, which simulators need: threads that wait for one another must not wait for a core"""
    compile: str = "auto"
    """auto (one compiled graph where a C++ compiler is installed, for CUDA also Triton) | compile | eager"""
    eager_first: int = 500
    """updates at the start of a run that the eager twin does while the graph is compiled; a number, not a time, so that runs repeat"""
    matmul: str = "auto"
    """on the CPU: auto (measured at start) | default | onednn"""
    tf32: bool = True
    """on CUDA: float32 matrix products with TF32's 10 bits of mantissa"""
    cuda_graph: str = "auto"
    """auto (on CUDA; where capturing fails, without, and a warning) | on | off"""
    updates_per_launch: int = 8
    """on CUDA: updates that one graph makes; what is left over goes one by one"""
    metrics_every: int = 100
    """on CUDA: updates between two looks at the losses, each of which waits for the GPU; the CPU tells them after every call"""
    ranks: int = 1
    """processes that share every batch, on CUDA a GPU for each; algo.batch_size must be a multiple"""
    memory_fraction: float = 1.0
    """on CUDA: the share of the GPU's memory that this learner may take"""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"learner.device is {self.device!r}; allowed: auto, cpu, cuda, cuda:N")
        if self.threads < 0:
            raise ConfigError(f"learner.threads is {self.threads}; it must be 0 (all cores but one) or more")
        if self.eager_first < 0:
            raise ConfigError(f"learner.eager_first is {self.eager_first}; it must be 0 or more")
        for name, allowed in (("matmul", ("auto", *precision.CPU_PATHS)), ("cuda_graph", graph.MODES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"learner.{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        for name in ("updates_per_launch", "metrics_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"learner.{name} is {getattr(self, name)}; it must be 1 or more")
        if not 0 < self.memory_fraction <= 1:
            raise ConfigError(f"learner.memory_fraction is {self.memory_fraction}; it must be in (0, 1]")


class LearnerWorker:
    """See the module. S seeds, which know nothing of each other: each ends where it would end alone.

    Args:
        sources: one per seed, where batches come from; drawing costs no call and no copy beyond the gather.
        seeds: the learner's node of each seed's tree.
        reduce: averages over the processes that share a batch.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        sources: Sequence[BatchSource],
        seeds: Sequence[SeedTree],
        config: Config,
        reduce: Reduce = alone,
    ) -> None:
        if not seeds or len(sources) != len(seeds):
            raise ConfigError(f"a learner needs one batch source per seed; it got {len(sources)} for {len(seeds)} seeds")
        self.algorithm, self.config, self.seeds, self.device = algorithm, config, list(seeds), choose(config.device)
        self.threads = config.threads or max(1, CORES - 1)
        torch.set_num_threads(self.threads)
        limit_memory(self.device, config.memory_fraction)
        self.precision = precision.begin(self.device, config.matmul, config.tf32)
        self._make = partial(
            Stack,
            algorithm,
            device=self.device,
            step=partial(Step, mode=config.compile, threads=self.threads, device=self.device),
            reduce=reduce,
            per_launch=config.updates_per_launch if self.device.type == "cuda" else 1,
            cuda_graph=config.cuda_graph,
        )
        with scope(self.device), memory_errors():
            self.stack = self._make(sources, seeds)
        self._lone: Stack | None = None
        self._host: dict[str, Tensor] = {}
        S = len(seeds)
        self.updates, self.version = [0] * S, [0] * S
        """per seed: updates done, newest version published"""

    @property
    def state(self) -> Any:
        return self.stack.state

    @property
    def step(self) -> Step:
        return self.stack.step

    def describe(self) -> str:
        S = len(self.seeds)
        where = f"{self.threads} threads"
        if self.device.type == "cuda":
            how = f"a CUDA graph of {self.stack.per_launch} updates" if self.stack.capture else "no CUDA graph"
            where = f"{self.device} ({torch.cuda.get_device_name(self.device)}), {how}"
        twin = "one compiled graph" if self.step.compiled else "eager"
        return f"learner: {'' if S == 1 else f'{S} seeds, '}{where}, {twin}, {self.precision.describe()}"

    def compile(self) -> None:
        """Begins to compile in the background, on made-up data of the real shapes."""
        with scope(self.device):
            self.stack.compile()

    def compiling(self) -> bool:
        """Whether the next update would have to wait for the graph."""
        return max(self.updates) >= self.config.eager_first and self.step.compiling()

    def wait_compiled(self) -> None:
        self.step.wait()

    # ---- updates ------------------------------------------------------------------------------------------------------

    def update(self, count: int | Sequence[int]) -> Metrics:
        """So many updates, of each seed or per seed. What all do is done together, what is left of some by each of those alone.

        Returns:
            The metrics of the last update (on CUDA only now and then, see ``metrics_every``), ``learner/seconds`` of the call and
            ``learner/sample_seconds``, what of it the host spent drawing.
        """
        began, counts = time.monotonic(), [count] * len(self.seeds) if isinstance(count, int) else list(count)
        if len(counts) != len(self.seeds) or min(counts) < 0:
            raise ConfigError(f"updates {counts} of {len(self.seeds)} seeds; there must be one count, 0 or more, for each")
        drawn = self._sample_seconds()
        with scope(self.device), memory_errors():
            last = self._advance(counts)
            shown = self._read(last, counts)
        self.updates = [done + more for done, more in zip(self.updates, counts, strict=True)]
        times = {"learner/seconds": time.monotonic() - began, "learner/sample_seconds": self._sample_seconds() - drawn}
        told = [metrics | times for metrics in shown]
        return told[0] if len(told) == 1 else told

    def retire(self, seed: int) -> None:
        """This seed has ended: its replay is not read any more. It may keep in step, so that the others stay one stack."""
        sources: list[Any] = list(self.stack.feed.sources)
        sources[seed] = Retired(sources[seed])
        self.stack.feed.draw_from(sources)

    def _advance(self, counts: list[int]) -> list[tuple[dict[str, Tensor], int]]:
        """Returns per seed the metrics of its last update, and the row of them that is its own."""
        first = self.config.eager_first if self.step.compiled else 0
        eager = [min(n, max(0, first - done)) for n, done in zip(counts, self.updates, strict=True)]
        last: list[tuple[dict[str, Tensor], int]] = [({}, 0) for _ in counts]
        for twin, parts in ((True, eager), (False, [n - e for n, e in zip(counts, eager, strict=True)])):
            together = min(parts)
            if together:
                metrics = self.stack.run(together, eager=twin)
                last = [(metrics, s) for s in range(len(counts))]
            for s, part in enumerate(parts):
                if part > together:
                    alone = self._alone().borrow(self.stack, s, part - together, eager=twin)
                    last[s] = ({name: value.clone() for name, value in alone.items()}, 0)  # the next seed overwrites them
        return last

    def _alone(self) -> Stack:
        """A stack of one, for what is left; made when it is first needed."""
        if self._lone is None:
            self._lone = self._make(self.stack.feed.sources[:1], self.seeds[:1])
        return self._lone

    def _sample_seconds(self) -> float:
        return self.stack.feed.seconds + (self._lone.feed.seconds if self._lone else 0.0)

    def _read(self, last: list[tuple[dict[str, Tensor], int]], counts: list[int]) -> list[dict[str, float]]:
        """The numbers, where it is time to wait for them."""
        every = self.config.metrics_every if self.device.type == "cuda" else 1
        shown: list[dict[str, float]] = []
        for (metrics, row), done, count in zip(last, self.updates, counts, strict=True):
            due = metrics and (done + count) // every > done // every
            shown.append(_numbers(metrics, row) if due else {})
        return shown

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
            "generator": self.stack.generators[seed].get_state(),
            "generator_kind": self.device.type,
            "updates": self.updates[seed],
            "version": self.version[seed],
            "matmul": self.precision.path,
            "source": self.stack.feed.sources[seed].state_dict(),
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
        restore_generator(self.stack.generators[seed], state["generator_kind"], state["generator"], anew)
        self.precision = precision.keep(self.precision, state["matmul"])
        self.stack.feed.sources[seed].load_state_dict(state["source"])

    def warm_start(self, tensors: Mapping[str, Tensor], seed: int = 0) -> None:
        """Before the first update: these leaves of the state, (1, ...) by name, in place of what they began with."""
        here = dict(named_leaves(index_tree(self.state, slice(seed, seed + 1))))
        for name, leaf in tensors.items():
            here[name].copy_(leaf)


def _numbers(metrics: Mapping[str, Tensor], row: int) -> dict[str, float]:
    """One seed's, with one wait for all. What an algorithm tells per task, (S, K), is numbered."""
    own = [value[row].reshape(-1) for value in metrics.values()]
    values, shown = iter(torch.cat(own).tolist()), {}
    for name, part in zip(metrics, own, strict=True):
        for k in range(len(part)):
            shown[f"learner/{name}" if metrics[name].dim() == 1 else f"learner/{name}/{k}"] = next(values)
    return shown

"""Learner side: owns the states of one algorithm's seeds, draws from replay, updates, publishes versioned weights."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.contracts import Algorithm, BatchSource, Reduce, alone
from core.errors import ConfigError
from core.seeding import SeedTree
from learner.device import CORES, memory_errors, scope
from learner.feed import Retired
from learner.settings import Config
from learner.stack import Stack
from learner.states import SeedStates, numbers
from learner.step import Step

Metrics = dict[str, float] | list[dict[str, float]]
"""of one seed a dict, of several one dict per seed"""


class LearnerWorker(SeedStates):
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
        super().__init__(algorithm, seeds, config, threads=config.threads or max(1, CORES - 1))
        whole = getattr(algorithm, "whole_graph", True)
        if not whole and (config.compile == "compile" or config.cuda_graph == "on"):
            raise ConfigError("this algorithm's update is not one graph; fix: --learner.compile auto and --learner.cuda-graph auto, or off")
        self._make = partial(
            Stack,
            algorithm,
            device=self.device,
            step=partial(Step, mode=config.compile if whole else "eager", threads=self.threads, device=self.device),
            reduce=reduce,
            per_launch=config.updates_per_launch if self.device.type == "cuda" else 1,
            cuda_graph=config.cuda_graph if whole else "off",
        )
        with scope(self.device), memory_errors():
            self.stack = self._make(sources, seeds)
        self._lone: Stack | None = None

    @property
    def state(self) -> Any:
        return self.stack.state

    @property
    def generators(self) -> list[torch.Generator]:
        return self.stack.generators

    @property
    def sources(self) -> Sequence[BatchSource]:
        return self.stack.feed.sources

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
            shown.append(numbers(metrics, row) if due else {})
        return shown

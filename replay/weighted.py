"""One draw by priority, and from a run's demonstrations beside its own ring: places in two rings, and the windows that begin there.

Sampling is stratified: the running sum of priorities is cut into as many equal parts as rows are drawn, and each part gives one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import CheckpointError, ManyhandsError
from core.types import Stream
from replay.draw import TORN_ROUNDS, nothing
from replay.priority import Priorities
from replay.reading import reader
from replay.ring import Ring

SMALLEST = 1e-10
"""added to a priority before it is a weight"""


class WeightedDraw:
    """Places of B rows of each of K tasks, first those of demonstrations. With ``plan.priority`` = 0 all rows are as likely.

    Args:
        tasks: (K,) rows of the rings; ``turn_to`` names others.
        rng: shared with whoever else draws for the same batch.
        rows: that a window spans.
        gathered: (K * B, words of a window), where ``gather`` writes.
    """

    def __init__(
        self,
        ring: Ring,
        demos: Ring | None,
        tasks: NDArray[np.int64],
        plan: Stream,
        rng: np.random.Generator,
        *,
        rows: int,
        gathered: torch.Tensor,
    ) -> None:
        largest = np.ones(ring.layout.tasks)
        self._largest, self._rng, self._plan = largest, rng, plan
        self._main = _Shelf(ring, largest, plan.priority, rows, gathered)
        self._demos = _Shelf(demos, largest, plan.priority, rows, gathered) if demos is not None else None
        self._count = plan.batch_size
        self.turn_to(tasks)
        self._rows = np.zeros((len(tasks), self._count), np.int64)
        """row numbers in the ring that each is of"""
        self._shown = np.zeros((len(tasks), self._count), bool)
        """(K, B) drawn from demonstrations"""
        self._priority = np.ones((len(tasks), self._count))
        """(K, B) that they had when they were drawn: the trees go on"""

    def turn_to(self, tasks: NDArray[np.int64]) -> None:
        """Draws from these (K,) rows of the rings from now on."""
        self._tasks = tasks
        self._task_of = np.repeat(tasks[:, None], self._count, 1)

    def live(self, tasks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Transitions of these tasks that can be drawn."""
        return sum((shelf.ring.state().live[tasks] for shelf in self._shelves()), np.zeros(len(tasks), np.int64))

    def check(self, tasks: NDArray[np.int64]) -> None:
        """Raises EmptyReplayError where one of these rows of the rings has nothing to draw."""
        empty = tasks[self.live(tasks) <= 0]
        if len(empty):
            raise nothing(empty)

    def _shelves(self) -> "list[_Shelf]":
        return [self._main] if self._demos is None else [self._main, self._demos]

    def gather(self) -> None:
        """Draws, and copies the windows.

        Raises:
            EmptyReplayError: a task has nothing to draw.
        """
        for shelf in self._shelves():
            shelf.priorities.look()
        self._draw()
        self._copy()
        self._mend()

    def drawn(self) -> NDArray[np.int64]:
        """(K, B) row numbers of what was gathered last; row a of a demonstration is -1 - a."""
        return np.where(self._shown, -1 - self._rows, self._rows)

    def _draw(self) -> None:
        uniform, total = self._rng.random((len(self._tasks), self._count)), self._main.priorities.totals(self._tasks)[:, None]
        shown = np.zeros_like(total) if self._demos is None else self._demos.priorities.totals(self._tasks)[:, None]
        if (empty := (total + shown)[:, 0] <= 0).any():
            raise nothing(self._tasks[empty])
        at = self._shares(uniform, total, shown) if self._plan.demos else self._union(uniform, total, shown)
        own = ~self._shown
        self._rows[own], self._priority[own] = self._found(self._task_of[own], at[own])
        if self._demos is not None and self._shown.any():
            tasks, of = self._task_of[self._shown], self._demos.priorities
            self._rows[self._shown] = found = of.find(tasks, at[self._shown])
            self._priority[self._shown] = of.of(tasks, found)

    def _shares(self, uniform: NDArray, total: NDArray, shown: NDArray) -> NDArray[np.float64]:
        """(K, B) places in the running sums, of which a fixed share is of demonstrations: all where there is nothing else, and none where
        there are none."""
        B, b = self._count, np.arange(self._count)
        first = np.where(total <= 0, B, np.where(shown <= 0, 0, int(self._plan.demos * B + 0.5)))
        self._shown = b < first
        strata, stratum = np.where(self._shown, first, B - first), np.where(self._shown, b, b - first)
        return (stratum + uniform) / strata * np.where(self._shown, shown, total)

    def _union(self, uniform: NDArray, total: NDArray, shown: NDArray) -> NDArray[np.float64]:
        """The same where demonstrations are drawn as any other transition: their sum comes first."""
        at = (np.arange(self._count) + uniform) / self._count * (total + shown)
        self._shown = (at < shown) | (total <= 0)
        return np.where(self._shown, at, at - shown)

    def _found(self, tasks: NDArray[np.int64], at: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n,) rows of the ring at these places in the running sums, and their priorities; another row for each that was withdrawn at
        this moment."""
        of = self._main.priorities
        rows = of.find(tasks, at)
        while (gone := of.withdrawn(tasks, rows)).any():  # each is never found again, so this ends
            rows[gone] = self._again(tasks[gone])
        return rows, of.of(tasks, rows)

    def _again(self, tasks: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) rows of the ring, drawn singly."""
        totals = self._main.priorities.totals(tasks)
        if (totals <= 0).any():
            raise nothing(np.unique(tasks[totals <= 0]))
        return self._main.priorities.find(tasks, self._rng.random(len(tasks)) * totals)

    def _copy(self) -> None:
        if self._demos is None:
            self._main.read(0, self._task_of.reshape(-1), self._rows.reshape(-1))
            return
        for k, split in enumerate(self._shown.sum(1).tolist()):
            first, parts = k * self._count, ((self._demos, slice(0, split)), (self._main, slice(split, self._count)))
            for shelf, part in parts:
                if part.stop > part.start:
                    shelf.read(first + part.start, self._task_of[k, part], self._rows[k, part])

    def _mend(self) -> None:
        """Replaces rows that the writer began to overwrite while they were copied."""
        tasks, rows, own = self._task_of.reshape(-1), self._rows.reshape(-1), ~self._shown.reshape(-1)
        for _ in range(TORN_ROUNDS):
            torn = np.flatnonzero(own & self._main.torn(tasks, rows))
            if not len(torn):
                return
            self._main.priorities.look_again()
            rows[torn] = self._again(tasks[torn])
            self._priority.reshape(-1)[torn] = self._main.priorities.of(tasks[torn], rows[torn])
            for i in torn.tolist():
                self._main.read(i, tasks[i : i + 1], rows[i : i + 1])
        raise ManyhandsError("replay rows are overwritten faster than they can be copied; fix: a larger replay capacity")

    def weights(self) -> NDArray[np.float64]:
        """(K, B) of what was gathered last: the larger, the less likely it was; the largest is 1."""
        raw = (1 / (self._priority + SMALLEST)) ** self._plan.weight
        return raw / raw.max()

    def prioritise(self, priority: NDArray) -> None:
        """(K, B) priorities of what was gathered last, before ``plan.priority`` is their exponent."""
        for shelf, where in zip(self._shelves(), (~self._shown, self._shown), strict=False):
            shelf.priorities.tell(self._task_of[where], self._rows[where], np.asarray(priority)[where])

    def state_dict(self) -> dict[str, Any]:
        """The trees. Priorities of a batch that was drawn before are not told any more."""
        names = ("main", "demos")
        trees = {name: shelf.priorities.state_dict() for name, shelf in zip(names, self._shelves(), strict=False)}
        return {**trees, "largest": self._largest.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises CheckpointError where the trees are of other rings."""
        if ("demos" in state) != (self._demos is not None):
            raise CheckpointError("the sampler was saved with demonstrations or without, now it is the other way round")
        for name, shelf in zip(("main", "demos"), self._shelves(), strict=False):
            shelf.priorities.load_state_dict(state[name])
        self._largest[:] = state["largest"]


class _Shelf:
    """A ring, the priorities of its rows, and how they are copied."""

    def __init__(self, ring: Ring, largest: NDArray[np.float64], exponent: float, rows: int, gathered: torch.Tensor) -> None:
        self.ring, self.priorities = ring, Priorities(ring, largest, exponent)
        self._reader = reader(ring, rows, gathered)

    def read(self, first: int, tasks: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Windows of the transitions ``rows`` (n,), to where windows ``first`` and following of the buffer are."""
        layout = self.ring.layout
        self._reader.read(first, tasks * layout.stride + (rows - layout.opening) % layout.capacity)

    def torn(self, tasks: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whose windows have begun to be overwritten."""
        layout = self.ring.layout
        return rows - layout.opening < self.ring.control.reserved[tasks] - layout.capacity

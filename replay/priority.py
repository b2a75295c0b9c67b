"""Priorities of a ring's rows, kept by the learner that draws by them: trees that follow what the writer commits, overwrites, withdraws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError, ManyhandsError
from core.rows import STEP
from replay.control import CARRIED_OUT
from replay.draw import GUARD
from replay.ring import Ring
from replay.sumtree import SumTrees


class Priorities:
    """A priority of every row that can be drawn, 0 of all others. A new row gets the largest that its task has ever had.

    Args:
        largest: (K,) of each task of the ring, 1 at first; shared with another ring of the same tasks, and changed here.
        exponent: that told priorities are raised to; 0: all rows stay as likely.
    """

    def __init__(self, ring: Ring, largest: NDArray[np.float64], exponent: float) -> None:
        layout = ring.layout
        self.ring, self._largest, self._exponent = ring, largest, exponent
        self._capacity, self._opening, self._guard = layout.capacity, layout.opening, layout.capacity // GUARD
        self._trees = SumTrees(layout.tasks, layout.capacity)
        self.low, self._known = np.zeros(layout.tasks, np.int64), np.zeros(layout.tasks, np.int64)
        """(K,) the oldest row that can be drawn; one past the newest row that the trees know"""
        self._counter = self._carried_out = -1

    def look(self) -> None:
        """Follows the ring: rows that are new, that are overwritten or will be next, that were withdrawn."""
        control, capacity = self.ring.control, self._capacity
        carried_out = control.word(CARRIED_OUT)
        if (control.counter, carried_out) == (self._counter, self._carried_out):
            return
        reserved = control.reserved.copy()  # first: read after the counters it could be far ahead of them
        self._counter, state = control.read()
        low = np.maximum(reserved - capacity, 0)
        low[low > 0] += self._guard
        low += self._opening
        if (state.rows < self._known).any():
            self._forget()
        self._enter(low, state.rows)
        self.low, self._known = low, np.maximum(state.rows, self._known)
        if carried_out != self._carried_out:
            self._trees.leaves[self.ring.kinds[:, :capacity] != STEP] = 0
            self._trees.rebuild()
            self._carried_out = carried_out

    def _enter(self, low: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Moves the bounds (K,) of what the trees know to [low, rows): what leaves comes first, it may lie where the new rows do."""
        tasks, slots, values = [], [], []
        for k in np.flatnonzero((low > self.low) | (rows > self._known)):
            gone = np.arange(self.low[k], min(low[k], self._known[k])) % self._capacity
            fresh = np.arange(max(self._known[k], low[k]), rows[k]) % self._capacity
            tasks.append(np.full(len(gone) + len(fresh), k))
            slots += [gone, fresh]
            values += [np.zeros(len(gone)), np.where(self.ring.kinds[k][fresh] == STEP, self._largest[k], 0.0)]
        if tasks:
            self._trees.set(np.concatenate(tasks), np.concatenate(slots), np.concatenate(values))

    def _forget(self) -> None:
        """The ring was emptied."""
        self._trees.leaves[...] = 0
        self._trees.rebuild()
        self.low[:], self._known[:] = 0, 0

    def look_again(self) -> None:
        """Follows the ring even where nothing was committed since: rows are announced before they are."""
        self._counter = -1
        self.look()

    def totals(self, tasks: NDArray[np.int64]) -> NDArray[np.float64]:
        """(T,) sums of all priorities of these tasks."""
        return self._trees.totals()[tasks]

    def find(self, tasks: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) rows where the running sum of a task's priorities passes ``at`` (n,), below its total."""
        return self._numbers(tasks, self._trees.find(tasks, at))

    def _numbers(self, tasks: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
        low = self.low[tasks]
        return low + (slots - low) % self._capacity

    def of(self, tasks: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) priorities of rows (n,)."""
        return self._trees.leaves[tasks, rows % self._capacity]

    def withdrawn(self, tasks: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) which of these rows were withdrawn since the last look. They are not found again."""
        gone = self.ring.kinds[tasks, rows % self._capacity] != STEP
        if gone.any():
            self._trees.set(tasks[gone], rows[gone] % self._capacity, np.zeros(np.count_nonzero(gone)))
        return gone

    def tell(self, tasks: NDArray[np.int64], rows: NDArray[np.int64], values: NDArray) -> None:
        """Priorities of rows (n,) that were drawn, as the algorithm measures them. Rows overwritten or withdrawn meanwhile are skipped.

        Raises:
            ManyhandsError: one of them is negative or not finite.
        """
        values = np.asarray(values, np.float64)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ManyhandsError("the update's priorities must be finite and not negative; fix: the algorithm, or a smaller learning rate")
        self.look()
        there = (rows >= self.low[tasks]) & (self.ring.kinds[tasks, rows % self._capacity] == STEP)
        tasks, rows, values = tasks[there], rows[there], values[there] ** self._exponent
        self._trees.set(tasks, rows % self._capacity, values)
        np.maximum.at(self._largest, tasks, values)

    def state_dict(self) -> dict[str, Any]:
        """Row numbers and priorities: good for the same rows, wherever they lie."""
        return {"leaves": self._trees.leaves.copy(), "low": self.low.copy(), "known": self._known.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises CheckpointError where they are of a ring of another size."""
        leaves = np.asarray(state["leaves"])
        if leaves.shape != self._trees.leaves.shape:
            raise CheckpointError(f"priorities were saved of a replay of {leaves.shape} rows, this one has {self._trees.leaves.shape}")
        self._trees.leaves[...] = leaves
        self._trees.rebuild()
        self.low, self._known = np.array(state["low"], np.int64), np.array(state["known"], np.int64)
        self._counter = self._carried_out = -1

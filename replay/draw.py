"""One draw from a ring: B places of each of K tasks, uniform over their live transitions, and the windows of rows that begin there.

A flat gather from shared memory, no call to anyone; what the writer overwrites meanwhile is drawn again.
"""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import ManyhandsError
from core.rows import STEP
from replay.reading import DiskReader, as_windows
from replay.ring import Ring

REDRAWS = 16
"""Rounds of redrawing rejected rows before the drawable ones are listed instead."""
TORN_ROUNDS = 1000
GUARD = 1024
"""One in so many of the oldest rows of a full ring is not drawn: they are the next to be overwritten."""
LOOK_BACK = 4
"""The newest n transitions are looked for in n times so many rows first, then in twice as many."""


class EmptyReplayError(ManyhandsError):
    """A task has no transition that can be drawn."""


class Draw:
    """Places in the flat row table, drawn with replacement over the live STEP rows of each task.

    Args:
        tasks: (K,) rows of the ring; ``turn_to`` names others.
        count: B.
        rng: shared with whoever else draws for the same batch.
        rows: that a window spans.
        gathered: (K * B, words of a window), where ``gather`` writes.
        recent: only a task's newest so many transitions are drawn; 0: all.
    """

    def __init__(
        self,
        ring: Ring,
        tasks: NDArray[np.int64],
        count: int,
        rng: np.random.Generator,
        *,
        rows: int,
        gathered: torch.Tensor,
        recent: int = 0,
    ) -> None:
        layout = ring.layout
        self._ring, self._rng, self._recent, self._opening = ring, rng, recent, layout.opening
        self._tasks, self._count, self.gathered = tasks, count, gathered
        self.source, self._all_kinds = as_windows(ring, rows, gathered.shape[1]), kinds_at(ring)
        self._disk = DiskReader(ring, gathered) if layout.spilled else None
        self._scratch(len(tasks), count)
        self._seen = -1
        self._mended: NDArray[np.int64] | None = None
        self._guard = layout.capacity // GUARD

    def _scratch(self, K: int, B: int) -> None:
        """Every array that a draw needs."""
        self._uniform = np.empty((K, B))
        small = self._ring.kinds.size < 2**31
        self._integer = np.int32 if small else np.int64
        self._index, self._wrapped = np.empty((K, B), self._integer), np.empty((K, B), self._integer)
        unsigned = np.uint32 if small else np.uint64
        self._unsigned, self._wrapped_unsigned = self._index.view(unsigned), self._wrapped.view(unsigned)
        self._index_flat = self._index.reshape(-1)
        self._places = torch.from_numpy(self._index_flat)
        self._rejected = torch.empty(K * B, dtype=torch.uint8)
        self._rejected_bool = self._rejected.numpy().view(bool)
        self._base = self._bases()
        self._low, self._span = np.zeros((K, 1), np.int64), np.zeros((K, 1), np.int64)

    def _bases(self) -> NDArray:
        """(K, 1) places at which the tasks' rows begin."""
        return (self._tasks * self._ring.layout.stride).astype(self._integer)[:, None]

    def turn_to(self, tasks: NDArray[np.int64]) -> None:
        """Draws from these (K,) rows of the ring from now on."""
        self._tasks, self._seen = tasks, -1
        self._base = self._bases()

    def check(self, tasks: NDArray[np.int64]) -> None:
        """Raises EmptyReplayError where one of these rows of the ring has nothing to draw."""
        empty = tasks[self._ring.state().live[tasks] <= 0]
        if len(empty):
            raise nothing(empty)

    def gather(self) -> None:
        """Draws, and copies the windows.

        Raises:
            EmptyReplayError: a task has nothing to draw.
        """
        self._look()
        self._draw()
        if self._disk is None:
            torch.index_select(self.source, 0, self._places, out=self.gathered)
        else:
            self._disk.read(0, self._index_flat)
        if np.count_nonzero(self._ring.control.reserved[self._tasks] > self._limit):
            self._mend()

    def drawn(self) -> NDArray[np.int64]:
        """(K, B) row numbers of what was gathered last."""
        return (self._rows() if self._mended is None else self._mended) + self._opening

    def _rows(self) -> NDArray[np.int64]:
        """(K, B) numbers of the rows at which windows begin, from where they lie: a ring holds each place once between its bounds."""
        return self._low + (self._index - self._base - self._first) % self._ring.layout.capacity

    def _look(self) -> None:
        """Takes the bounds of the draw: where windows may begin, in rows committed now, less those that are about to be overwritten."""
        if self._ring.control.counter == self._seen:
            return
        # What is reserved comes first: read after the counters, by then it may be so far ahead of them that nothing seems to be left.
        capacity, reserved = self._ring.layout.capacity, self._ring.control.reserved[self._tasks]
        self._seen, state = self._ring.control.read()
        low = np.maximum(reserved - capacity, 0)
        low[low > 0] += self._guard
        if self._recent:
            self._keep_recent(low, state.rows[self._tasks])
        span = state.rows[self._tasks] - self._opening - low
        empty = (span <= 0) | (state.live[self._tasks] <= 0)
        if empty.any():
            self._seen = -1
            raise nothing(self._tasks[empty])
        self._low, self._span, self._limit = low[:, None], span[:, None], low + capacity
        self._first = (self._low % capacity).astype(self._integer)
        self._wraps = bool((self._first + self._span > capacity).any())
        self._origin = self._base if self._wraps else self._base + self._first

    def _keep_recent(self, low: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Raises bounds (K,) to where the window of the oldest of the newest transitions begins; ``rows`` (K,) are committed."""
        for k, task in enumerate(self._tasks):
            kinds, stop, back = self._ring.kinds[task], int(rows[k]), LOOK_BACK * self._recent
            bottom = min(int(low[k]) + self._opening, stop)
            while True:
                start = max(bottom, stop - back)
                steps = np.flatnonzero(kinds[np.arange(start, stop) % self._ring.layout.capacity] == STEP)
                if len(steps) >= self._recent:
                    low[k] = start + steps[-self._recent] - self._opening
                if len(steps) >= self._recent or start == bottom:
                    break
                back *= 2

    def _draw(self) -> None:
        """Offsets into the bounds, from them places in the flat row table, and redraws until every row is a STEP."""
        index, self._mended = self._index, None
        np.multiply(self._rng.random(out=self._uniform), self._span, out=self._uniform)
        np.copyto(index, self._uniform, casting="unsafe")
        if self._wraps:
            # x % capacity without a division: as unsigned numbers, min(x, x - capacity) is x until x reaches capacity.
            index += self._first
            np.subtract(index, self._ring.layout.capacity, out=self._wrapped)
            np.minimum(self._unsigned, self._wrapped_unsigned, out=self._unsigned)
            index += self._base
        else:
            index += self._origin
        torch.index_select(self._all_kinds, 0, self._places, out=self._rejected)
        if np.count_nonzero(self._rejected_bool):
            self._redraw(np.flatnonzero(self._rejected_bool))

    def _redraw(self, bad: NDArray[np.int64]) -> None:
        """New rows for flat positions ``bad``: closing and discarded rows are rejected, which leaves the draw uniform over the rest."""
        span, first, base, kinds = self._span[:, 0], self._first[:, 0], self._base[:, 0], self._all_kinds.numpy()
        for _ in range(REDRAWS):
            k = bad // self._count
            offset = (self._rng.random(len(bad)) * span[k]).astype(np.int64)
            place = (offset + first[k]) % self._ring.layout.capacity + base[k]
            self._index_flat[bad] = place
            bad = bad[kinds[place] != STEP]
            if not len(bad):
                return
        self._enumerate(bad)

    def _enumerate(self, bad: NDArray[np.int64]) -> None:
        """The same draw where nearly everything is rejected: from the list of what is left."""
        capacity, kinds = self._ring.layout.capacity, self._all_kinds.numpy()
        for k in np.unique(bad // self._count):
            places = bad[bad // self._count == k]
            rows = self._low[k, 0] + np.arange(self._span[k, 0])
            rows = rows[kinds[self._base[k, 0] + rows % capacity] == STEP]
            if not len(rows):
                raise nothing(self._tasks[[k]])
            chosen = rows[(self._rng.random(len(places)) * len(rows)).astype(np.int64)]
            self._index_flat[places] = self._base[k, 0] + chosen % capacity

    def _mend(self) -> None:
        """Replaces rows that the writer began to overwrite while they were copied."""
        capacity, drawn = self._ring.layout.capacity, self._rows()
        self._mended = drawn  # a place does not tell the lap any more once the bounds have moved
        for _ in range(TORN_ROUNDS):
            oldest = (self._ring.control.reserved[self._tasks] - capacity)[:, None]
            torn = np.flatnonzero(drawn < oldest)
            if not len(torn):
                return
            self._seen = -1  # reserved may have moved without a commit
            self._look()
            self._redraw(torn)
            drawn.reshape(-1)[torn] = self._rows().reshape(-1)[torn]
            where = torch.from_numpy(torn)
            self.gathered[where] = self.source.index_select(0, self._places[where])
        raise ManyhandsError(f"replay rows are overwritten faster than they can be copied; fix: a replay capacity larger than {capacity}")


def nothing(tasks: NDArray[np.int64]) -> EmptyReplayError:
    """The error of these rows of the ring."""
    named = ", ".join(str(t) for t in tasks)
    return EmptyReplayError(f"replay of task {named} holds no transition to draw; wait until ready() is true")


def kinds_at(ring: Ring) -> torch.Tensor:
    """At each place the kind of the transition that a window beginning there is of: a view of the shared memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch dislikes the read-only map; nothing here writes to it
        return torch.from_numpy(ring.kinds.reshape(-1))[ring.layout.opening :]

"""The task-uniform draw from a ring: what a learner calls once per update. One flat gather from shared memory, no call to anyone."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import CheckpointError, ConfigError, ManyhandsError
from core.rows import STEP
from core.types import Batch, Stream
from replay.ring import Ring
from replay.windows import Windows

REDRAWS = 16
"""Rounds of redrawing rejected rows before the drawable ones are listed instead."""
TORN_ROUNDS = 1000
GUARD = 1024
"""One in so many of the oldest rows of a full ring is not drawn: they are the next to be overwritten."""


class EmptyReplayError(ManyhandsError):
    """A task has no transition that can be drawn."""


class Sampler:
    """Draws B transitions of each task, uniformly with replacement over its live STEP rows."""

    def __init__(self, ring: Ring, tasks: Sequence[int], plan: Stream, seed: int, pin: bool = False) -> None:
        """
        Args:
            tasks: rows of the ring to draw from, in the order of the batch.
            pin: puts the buffer into page-locked memory, for copies to a GPU.
        """
        layout = ring.layout
        if plan.n_step + 1 > layout.window:
            raise ConfigError(f"n_step {plan.n_step} reads {plan.n_step + 1} rows, the ring of this run mirrors windows of {layout.window}")
        if not tasks or any(not 0 <= t < layout.tasks for t in tasks):
            raise ConfigError(f"sampler tasks {list(tasks)} must be some of 0 ... {layout.tasks - 1}")
        self._ring, self._plan = ring, plan
        self._tasks = np.array(tasks, np.int64)
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self.windows = Windows(layout.dtype, len(tasks), plan, pin=pin)
        self._source, self._kind_source = _sources(ring, plan.n_step + 1)
        self._scratch(len(tasks), plan.batch_size)
        self._seen = -1
        self._guard = layout.capacity // GUARD

    def _scratch(self, K: int, B: int) -> None:
        """Every array that a draw needs."""
        self._uniform = np.empty((K, B))
        self._row, self._index, self._wrapped = (np.empty((K, B), np.int64) for _ in range(3))
        self._index_flat = torch.from_numpy(self._index.reshape(-1))
        self._kinds = torch.empty(K * B, dtype=torch.uint8)
        self._kinds_flat = self._kinds.numpy()
        self._base = (self._tasks * self._ring.layout.stride)[:, None]
        self._low, self._span = np.zeros((K, 1), np.int64), np.zeros((K, 1), np.int64)

    def ready(self) -> bool:
        """Whether every task has a transition that can be drawn."""
        return bool((self._ring.state().live[self._tasks] > 0).all())

    def example(self) -> Batch:
        """The batch that ``sample`` will fill, with whatever it holds now: its shapes and strides before there is data."""
        return self.windows.batch

    def sample(self) -> Batch:
        """The next batch: views into one reused buffer, valid until the next call.

        Raises:
            EmptyReplayError: a task has nothing to draw.
        """
        self._look()
        self._draw()
        torch.index_select(self._source, 0, self._index_flat, out=self.windows.gathered)
        if (self._ring.control.reserved[self._tasks] > self._limit).any():
            self._mend()
        return self.windows.fold()

    def columns(self, name: str) -> NDArray:
        """(K, B, ...) view of a column at the drawn transitions of the last batch."""
        return self.windows.records[name][:, :, 0]

    def drawn(self) -> NDArray[np.int64]:
        """(K, B) row numbers of the last batch."""
        return self._row.copy()

    def _look(self) -> None:
        """Takes the bounds of the draw: rows committed now, less those that are about to be overwritten."""
        if self._ring.control.counter == self._seen:
            return
        capacity = self._ring.layout.capacity
        self._seen, state = self._ring.control.read()
        low = np.maximum(self._ring.control.reserved[self._tasks] - capacity, 0)
        low[low > 0] += self._guard
        self._low[:, 0] = low
        self._span[:, 0] = state.rows[self._tasks] - low
        if (self._span <= 0).any() or (state.live[self._tasks] <= 0).any():
            self._seen = -1
            raise self._nothing(np.flatnonzero((self._span[:, 0] <= 0) | (state.live[self._tasks] <= 0)))
        self._limit = low + capacity
        self._shift = self._low // capacity * capacity

    def _draw(self) -> None:
        """Row numbers, their places in the flat row table, and redraws until every row is a STEP."""
        np.multiply(self._rng.random(out=self._uniform), self._span, out=self._uniform)
        np.copyto(self._row, self._uniform, casting="unsafe")
        self._row += self._low
        self._place(self._row, self._shift, self._base, self._index, self._wrapped)
        # Besides being the test, this pulls the line of each row towards the cache with many misses in flight; the gather has one.
        torch.index_select(self._kind_source, 0, self._index_flat, out=self._kinds)
        if self._kinds_flat.any():
            self._redraw(np.flatnonzero(self._kinds_flat))

    def _place(self, row: NDArray, shift: NDArray, base: NDArray, index: NDArray, wrapped: NDArray) -> None:
        """index = base + row % capacity, without the division: as unsigned numbers, min(x, x - capacity) is x until x reaches capacity."""
        np.subtract(row, shift, out=index)
        np.subtract(index, self._ring.layout.capacity, out=wrapped)
        unsigned = index.view(np.uint64)
        np.minimum(unsigned, wrapped.view(np.uint64), out=unsigned)
        index += base

    def _redraw(self, bad: NDArray[np.int64]) -> None:
        """New rows for flat positions ``bad``: closing and discarded rows are rejected, which leaves the draw uniform over the rest."""
        rows, index, kinds = self._row.reshape(-1), self._index.reshape(-1), self._kind_source.numpy()
        for _ in range(REDRAWS):
            k = bad // self._plan.batch_size
            row = (self._rng.random(len(bad)) * self._span[k, 0]).astype(np.int64) + self._low[k, 0]
            place = np.empty_like(row)
            self._place(row, self._shift[k, 0], self._base[k, 0], place, np.empty_like(row))
            rows[bad], index[bad] = row, place
            bad = bad[kinds[place] != STEP]
            if not len(bad):
                return
        self._enumerate(bad)

    def _enumerate(self, bad: NDArray[np.int64]) -> None:
        """The same draw where nearly everything is rejected: from the list of what is left."""
        capacity, kinds = self._ring.layout.capacity, self._kind_source.numpy()
        for k in np.unique(bad // self._plan.batch_size):
            places = bad[bad // self._plan.batch_size == k]
            rows = self._low[k, 0] + np.arange(self._span[k, 0])
            rows = rows[kinds[self._base[k, 0] + rows % capacity] == STEP]
            if not len(rows):
                raise self._nothing(np.array([k]))
            chosen = rows[self._rng.integers(len(rows), size=len(places))]
            self._row.reshape(-1)[places] = chosen
            self._index.reshape(-1)[places] = self._base[k, 0] + chosen % capacity

    def _mend(self) -> None:
        """Replaces rows that the writer began to overwrite while they were copied."""
        capacity, B = self._ring.layout.capacity, self._plan.batch_size
        for _ in range(TORN_ROUNDS):
            torn = np.flatnonzero(self._row < (self._ring.control.reserved[self._tasks] - capacity)[:, None])
            if not len(torn):
                return
            self._look()
            self._redraw(torn)
            where = torch.from_numpy(torn)
            self.windows.gathered[where] = self._source.index_select(0, self._index_flat[where])
        raise ManyhandsError(f"replay overwrites rows faster than {B} of {capacity} per task can be copied; fix: a larger replay capacity")

    def _nothing(self, positions: NDArray[np.int64]) -> EmptyReplayError:
        tasks = ", ".join(str(t) for t in self._tasks[positions])
        return EmptyReplayError(f"replay of task {tasks} holds no transition to draw; wait until ready() is true")

    def state_dict(self) -> dict[str, Any]:
        """What makes the following draws the same over the same ring."""
        inner = self._rng.bit_generator.state
        return {"kind": inner["bit_generator"], "state": inner["state"]["state"].copy(), "tasks": self._tasks.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises CheckpointError where the state was saved for other tasks."""
        kind, tasks = self._rng.bit_generator.state["bit_generator"], np.asarray(state["tasks"])
        if state["kind"] != kind or not np.array_equal(tasks, self._tasks):
            raise CheckpointError(
                f"the sampler was saved for tasks {tasks.tolist()} ({state['kind']}), this one draws {self._tasks.tolist()}"
            )
        words = np.array(state["state"], np.uint64)
        self._rng.bit_generator.state = {"bit_generator": kind, "state": {"state": words}, "has_uint32": 0, "uinteger": 0}


def _sources(ring: Ring, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ring as overlapping windows (windows, words of one) and as one kind per row: views of the shared memory."""
    layout = ring.layout
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch dislikes the read-only map; nothing here writes to it
        flat = torch.from_numpy(ring.bytes.reshape(-1))
    total, words = layout.tasks * layout.stride, layout.row_bytes // 4
    windows = flat.view(torch.float32).as_strided((total - window + 1, window * words), (words, 1))
    return windows, flat.as_strided((total,), (layout.row_bytes,), layout.dtype.fields["kind"][1])

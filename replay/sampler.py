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
from replay.windows import Windows, rows_read

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
        layout, rows = ring.layout, rows_read(ring.layout.dtype, plan)
        if rows > layout.window:
            raise ConfigError(f"n_step {plan.n_step} reads {rows} rows, the ring of this run mirrors windows of {layout.window}")
        if not tasks or any(not 0 <= t < layout.tasks for t in tasks):
            raise ConfigError(f"sampler tasks {list(tasks)} must be some of 0 ... {layout.tasks - 1}")
        self._ring, self._plan, self._opening = ring, plan, layout.opening
        self._tasks = np.array(tasks, np.int64)
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self.windows = Windows(layout.dtype, len(tasks), plan, pin=pin)
        self.buffer = self.windows.buffer
        self._source, self._all_kinds = _sources(ring, rows, self.windows.words)
        self._scratch(len(tasks), plan.batch_size)
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
        self._base = (self._tasks * self._ring.layout.stride).astype(self._integer)[:, None]
        self._low, self._span = np.zeros((K, 1), np.int64), np.zeros((K, 1), np.int64)

    def ready(self) -> bool:
        """Whether every task has a transition that can be drawn."""
        return bool((self._ring.state().live[self._tasks] > 0).all())

    def sample(self) -> None:
        """Fills ``buffer`` with the next batch.

        Raises:
            EmptyReplayError: a task has nothing to draw.
        """
        self._look()
        self._draw()
        torch.index_select(self._source, 0, self._places, out=self.windows.gathered)
        if np.count_nonzero(self._ring.control.reserved[self._tasks] > self._limit):
            self._mend()
        self.windows.fold()

    def assemble(self, buffer: torch.Tensor) -> Batch:
        """The batch in ``buffer``, or in a copy of it on any device."""
        return self.windows.assemble(buffer)

    def draw(self) -> Batch:
        """The next batch, valid until the next call; for whoever is in no hurry."""
        self.sample()
        return self.assemble(self.buffer)

    def columns(self, name: str) -> NDArray:
        """(K, B, ...) view of a column at the drawn transitions of the last batch."""
        return self.windows.records[name][:, :, 0]

    def drawn(self) -> NDArray[np.int64]:
        """(K, B) row numbers of the last batch."""
        return (self._rows() if self._mended is None else self._mended) + self._opening

    def _rows(self) -> NDArray[np.int64]:
        """(K, B) numbers of the rows at which windows begin, from where they lie: a ring holds each place once between its bounds."""
        return self._low + (self._index - self._base - self._first) % self._ring.layout.capacity

    def _look(self) -> None:
        """Takes the bounds of the draw: where windows may begin, in rows committed now, less those that are about to be overwritten."""
        if self._ring.control.counter == self._seen:
            return
        capacity = self._ring.layout.capacity
        self._seen, state = self._ring.control.read()
        low = np.maximum(self._ring.control.reserved[self._tasks] - capacity, 0)
        low[low > 0] += self._guard
        span = state.rows[self._tasks] - self._opening - low
        empty = (span <= 0) | (state.live[self._tasks] <= 0)
        if empty.any():
            self._seen = -1
            raise self._nothing(np.flatnonzero(empty))
        self._low, self._span, self._limit = low[:, None], span[:, None], low + capacity
        self._first = (self._low % capacity).astype(self._integer)
        self._wraps = bool((self._first + self._span > capacity).any())
        self._origin = self._base if self._wraps else self._base + self._first

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
            k = bad // self._plan.batch_size
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
        for k in np.unique(bad // self._plan.batch_size):
            places = bad[bad // self._plan.batch_size == k]
            rows = self._low[k, 0] + np.arange(self._span[k, 0])
            rows = rows[kinds[self._base[k, 0] + rows % capacity] == STEP]
            if not len(rows):
                raise self._nothing(np.array([k]))
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
            self.windows.gathered[where] = self._source.index_select(0, self._places[where])
        raise ManyhandsError(f"replay rows are overwritten faster than they can be copied; fix: a replay capacity larger than {capacity}")

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


def _sources(ring: Ring, rows: int, words: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ring as overlapping windows (places, words of one), which span ``rows``, and at each place the kind of the transition that a
    window beginning there is of: views of the shared memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch dislikes the read-only map; nothing here writes to it
        flat, kinds = torch.from_numpy(ring.bytes.reshape(-1)).view(torch.float32), torch.from_numpy(ring.kinds.reshape(-1))
    stride = ring.layout.row_bytes // 4
    return flat.as_strided((ring.layout.tasks * ring.layout.stride - rows + 1, words), (stride, 1)), kinds[ring.layout.opening :]

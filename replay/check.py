"""What a chunk must be before replay stores it: the gate between actors and the ring."""

import numpy as np

from core.errors import ManyhandsError
from core.rows import CLOSING, OPENING, STEP
from core.types import Chunk
from replay.layout import Layout, column, undescribe


class ChunkError(ManyhandsError):
    """A chunk is not what actors may send. It was not stored, and its sequence is still expected."""


class ChunkCheck:
    """Checks chunks for one ring."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._dtype = layout, layout.dtype
        names = list(self._dtype.names or ())
        floats = [n for n in names if np.issubdtype(self._dtype[n].base, np.floating)]
        self._whole = _blocks(self._dtype, floats)
        observed = [n for n in floats if names.index(n) < names.index("action")]
        self._closing, self._opening = _blocks(self._dtype, observed), _blocks(self._dtype, ["obs"])
        self._first = layout.opening
        """position of a chunk's first transition"""
        self._kinds = "OPENING, STEP ... STEP, CLOSING" if self._first else "STEP ... STEP, CLOSING"

    def __call__(self, chunk: Chunk) -> None:
        """Raises ChunkError, one line, for the first thing that is wrong."""
        reason = self._shape(chunk) or self._order(chunk) or self._values(chunk)
        if reason:
            raise ChunkError(f"chunk {chunk.sequence} of writer {chunk.writer} (incarnation {chunk.incarnation}): {reason}")

    def _shape(self, chunk: Chunk) -> str:
        tasks, writers, rows = self._layout.tasks, self._layout.writers, chunk.rows
        if not isinstance(rows, np.ndarray) or rows.dtype != self._dtype or rows.ndim != 1:
            return f"its rows are not one-dimensional records of this run (columns {', '.join(self._dtype.names or ())})"
        if not 0 <= chunk.writer < writers:
            return f"writer must be 0 ... {writers - 1}"
        if not 0 <= chunk.task < tasks:
            return f"task {chunk.task} must be 0 ... {tasks - 1}"
        if chunk.sequence < 0 or chunk.incarnation < 0:
            return "sequence and incarnation must not be negative"
        if not self._first + 2 <= len(rows) <= self._layout.capacity:
            return f"{len(rows)} rows; it needs a transition and its closing row ({self._kinds}), and at most {self._layout.capacity} rows"
        return ""

    def _order(self, chunk: Chunk) -> str:
        rows = chunk.rows
        kinds, steps = rows["kind"], rows[self._first : -1]
        if kinds[-1] != CLOSING or (steps["kind"] != STEP).any() or (self._first and kinds[0] != OPENING):
            return f"kinds must be {self._kinds}; got {kinds[:4].tolist()} ... {kinds[-1]}"
        if (steps["writer"] != chunk.writer).any() or (steps["episode"] != steps["episode"][0]).any():
            return f"its rows are not of one episode of writer {chunk.writer}"
        t = steps["t"]
        if t[0] < 0 or (t != np.arange(t[0], t[0] + len(t))).any():
            return f"t is not consecutive: it begins {t[:4].tolist()}"
        terminated, truncated = steps["terminated"], steps["truncated"]
        if terminated[-1] and truncated[-1]:
            return f"step t={t[-1]} is both terminated and truncated"
        if terminated[:-1].any() or truncated[:-1].any():
            return "the episode ends before the chunk does"
        return ""

    def _values(self, chunk: Chunk) -> str:
        rows, first = chunk.rows, self._first
        if _finite(rows[first:-1], self._whole) and _finite(rows[-1:], self._closing) and _finite(rows[:first], self._opening):
            return ""
        return f"{self._culprit(rows)} is not finite"

    def _culprit(self, rows: np.ndarray) -> str:
        for name in rows.dtype.names or ():
            if np.issubdtype(rows.dtype[name].base, np.floating) and not np.isfinite(rows[name]).all():
                row = int(np.argwhere(~np.isfinite(rows[name]))[0][0])
                return f"column {name!r} at t={int(rows['t'][row])}"
        return "a column"


def _blocks(dtype: np.dtype, names: list[str]) -> list[np.dtype]:
    """Views of a row in which adjacent columns of one float type are a single one: one test each instead of one per column."""
    blocks: list[tuple[np.dtype, int, int]] = []
    for name in names:
        kind, at = column(dtype, name)
        if blocks and blocks[-1][0] == kind.base and blocks[-1][2] == at:
            blocks[-1] = (kind.base, blocks[-1][1], at + kind.itemsize)
        else:
            blocks.append((kind.base, at, at + kind.itemsize))
    return [
        undescribe({"names": ["x"], "formats": [[b, [(stop - at) // b.itemsize]]], "offsets": [at], "itemsize": dtype.itemsize})
        for b, at, stop in blocks
    ]


def _finite(rows: np.ndarray, blocks: list[np.dtype]) -> bool:
    return all(bool(np.isfinite(rows.view(block)["x"]).all()) for block in blocks)

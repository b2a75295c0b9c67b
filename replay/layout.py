"""Where everything lies in a ring file: the self-describing header, the control words, the rows. Used by every process that maps it."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.errors import ConfigError, ManyhandsError
from core.rows import opening_rows

MAGIC = b"MHRING01"
SCHEMA = 2
HEADER_BYTES = 65_536
"""Magic, length, JSON. Generous, so that the control words always begin at the same place."""
LOG = 4096
"""Discarded episodes that are remembered, so that a late chunk of one is not drawn either."""
PAGE = 4096


def column(dtype: np.dtype, name: str) -> tuple[np.dtype, int]:
    """Type and byte offset of a column of a record."""
    fields: Any = dtype.fields
    kind, at = fields[name][:2]
    return kind, at


def describe(dtype: np.dtype) -> dict[str, Any]:
    """A record dtype as JSON-able data, offsets included."""
    names = list(dtype.names or ())
    if not names:
        raise ConfigError(f"replay rows need a record dtype (core.rows.row_dtype), not {dtype}")
    kinds = [column(dtype, n)[0] for n in names]
    return {
        "names": names,
        "formats": [[kind.base.str, list(kind.shape)] for kind in kinds],
        "offsets": [column(dtype, n)[1] for n in names],
        "itemsize": dtype.itemsize,
    }


def undescribe(data: dict[str, Any]) -> np.dtype:
    """The inverse of ``describe``."""
    formats = [(base, tuple(shape)) for base, shape in data["formats"]]
    parts: Any = {**data, "formats": formats}
    return np.dtype(parts)


def bytes_per_transition(dtype: np.dtype, chunk: int) -> float:
    """What a transition takes in replay and on disk, with its share of the rows around a chunk of so many."""
    return dtype.itemsize * (opening_rows(dtype) + chunk + 1) / chunk


def _up(value: int, to: int) -> int:
    return -(-value // to) * to


@dataclass(frozen=True)
class Layout:
    """Sizes of one ring. All word positions are indices of int64 words from the start of the control area."""

    run_id: str
    tasks: int
    """K"""
    capacity: int
    """rows per task"""
    writers: int
    """W"""
    window: int
    """consecutive rows that one draw reads: ``replay.windows.rows_read``"""
    descr: dict[str, Any]
    spilled: bool = False
    """the file lies on a disk: rows are read and written by calls, not through the map"""

    def __post_init__(self) -> None:
        for name in ("tasks", "capacity", "writers", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(f"replay.{name} is {getattr(self, name)}; it must be at least 1")
        if self.capacity <= self.window:
            raise ConfigError(f"replay.capacity is {self.capacity} rows per task; it must exceed the window of {self.window} rows")
        if self.row_bytes % 4:
            raise ConfigError(f"a replay row has {self.row_bytes} bytes; it must be a multiple of 4 (build it with core.rows.row_dtype)")

    @property
    def row_bytes(self) -> int:
        return self.descr["itemsize"]

    @property
    def dtype(self) -> np.dtype:
        return undescribe(self.descr)

    @property
    def opening(self) -> int:
        """Rows in front of a chunk's first transition: 0 or 1."""
        return opening_rows(self.dtype)

    @property
    def mirror(self) -> int:
        """Rows behind the last one that repeat the first ones, so that every window is one span."""
        return self.window - 1

    @property
    def stride(self) -> int:
        """Rows per task in the file."""
        return self.capacity + self.mirror

    @property
    def copy_words(self) -> int:
        """One copy of the state: rows[K], transitions[K], live[K], incarnation[W], next sequence[W]; whole cache lines."""
        return _up(3 * self.tasks + 2 * self.writers, 8)

    @property
    def reserved_at(self) -> int:
        """Words before it: 0 commit counter, 8 discards logged, 9 discards carried out, 10 owner pid, 11 owner start time."""
        return 16

    @property
    def log_at(self) -> int:
        return _up(self.reserved_at + self.tasks, 8)

    @property
    def copies_at(self) -> int:
        return self.log_at + LOG

    @property
    def control_words(self) -> int:
        return self.copies_at + 2 * self.copy_words

    @property
    def kinds_at(self) -> int:
        """Byte of the file at which the kinds begin: one byte per row, dense, so that rejecting a drawn row costs no cache miss."""
        return _up(HEADER_BYTES + 8 * self.control_words, PAGE)

    @property
    def rows_at(self) -> int:
        """Byte of the file at which the rows begin."""
        return _up(self.kinds_at + self.tasks * self.stride, PAGE)

    @property
    def total_bytes(self) -> int:
        return _up(self.rows_at + self.tasks * self.stride * self.row_bytes, PAGE)

    def row_at(self, task: int, slot: int) -> int:
        """Byte of the file at which a row begins."""
        return self.rows_at + (task * self.stride + slot) * self.row_bytes

    def spans(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Slots of rows [first, stop) as at most two spans, in row order."""
        if stop <= first:
            return []
        start, n = first % self.capacity, stop - first
        if start + n <= self.capacity:
            return [(start, start + n)]
        return [(start, self.capacity), (0, start + n - self.capacity)]

    def encode(self) -> bytes:
        body = json.dumps({"schema": SCHEMA, **asdict(self)}).encode()
        if len(body) + 16 > HEADER_BYTES:
            raise ConfigError(f"the row description takes {len(body)} bytes; at most {HEADER_BYTES - 16} fit. Use fewer replay columns")
        return MAGIC + len(body).to_bytes(8, "little") + body

    @staticmethod
    def decode(head: bytes, name: str) -> "Layout":
        """Reads the header. Raises ManyhandsError where the file is no ring or one of another schema."""
        if head[:8] != MAGIC:
            raise ManyhandsError(f"{name} is not a manyhands ring file")
        body = json.loads(head[16 : 16 + int.from_bytes(head[8:16], "little")])
        if body.pop("schema") != SCHEMA:
            raise ManyhandsError(f"{name} has another ring schema than {SCHEMA}; remove it or use the version that made it")
        return Layout(**body)

    def differences(self, other: "Layout") -> list[str]:
        """``capacity 100 != 200`` for every part that differs."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{k} {v} != {theirs[k]}" if k != "descr" else "row columns" for k, v in mine.items() if v != theirs[k]]

"""What a file of the journal is made of: a head, then records, each with its checksum; and how far such a file is to be believed."""

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import CheckpointError
from replay.layout import Layout

SCHEMA = 1
MAGIC, MARK = b"MHJRNL01", b"MHJR"
ROWS, DISCARD, FENCE = 0, 1, 2
"""Kinds of records: a chunk; episodes withdrawn, int64 keys; a writer taken over by a newer incarnation."""
_HEAD = struct.Struct("<8sII")
"""MAGIC, bytes of the JSON that follows, its checksum"""
_RECORD = struct.Struct("<4sHxxiiqqqqII")
"""MARK, kind, writer, task, incarnation, sequence, bytes of the payload, durable, checksum of the payload, checksum of all before"""
FIX = "fix: restore it, or resume with --step, which goes back to that checkpoint and leaves the journal aside"


class Record(NamedTuple):
    """One thing that changed the ring."""

    kind: int
    writer: int
    task: int
    incarnation: int
    sequence: int
    durable: int
    """bytes of this file that a disk had when this was written"""
    payload: memoryview
    """packed rows, or keys of episodes"""
    end: int
    """byte of the file behind it"""


@dataclass(frozen=True)
class Head:
    """Where the ring stood when a file was begun, so that what is read can be held against it."""

    number: int
    follows: bool
    """the file before goes on in this one; else it begins at a checkpoint"""
    level: str
    boot: str
    """of the machine that wrote it: another one means that memory did not outlive what happened"""
    columns: int
    """checksum of the rows' description"""
    rows: list[int]
    incarnation: list[int]
    sequence: list[int]

    def encode(self) -> bytes:
        body = json.dumps({"schema": SCHEMA, **vars(self)}).encode()
        return _HEAD.pack(MAGIC, len(body), zlib.crc32(body)) + body


def columns_of(layout: Layout) -> int:
    return zlib.crc32(json.dumps(layout.descr).encode())


@cache
def boot() -> str:
    """What names the time from the start of this machine's kernel to its end."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def name_of(number: int) -> str:
    return f"{number:08d}.journal"


def numbers(folder: Path) -> list[int]:
    """Of the files that are there, ascending. A name that exists has a whole head."""
    return sorted(int(path.stem) for path in folder.glob("*.journal"))


def pack(kind: int, place: tuple[int, int, int, int], payload: memoryview, durable: int) -> bytes:
    """What stands in front of the payload. ``place``: writer, task, incarnation, sequence."""
    front = _RECORD.pack(MARK, kind, *place, len(payload), durable, zlib.crc32(payload), 0)[:-4]
    return front + zlib.crc32(front).to_bytes(4, "little")


class File:
    """One file, mapped for reading.

    Raises:
        CheckpointError: its head is missing or damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise CheckpointError(f"the journal {path} is missing; {FIX}") from None
        except ValueError:
            raise CheckpointError(f"the journal {path} is empty; {FIX}") from None
        self._view = memoryview(self.data)
        self.head, self.end = self._head()
        """``end``: byte behind the last record that was read and is whole"""

    def _head(self) -> tuple[Head, int]:
        try:
            magic, size, checksum = _HEAD.unpack_from(self.data)
            body = self.data[_HEAD.size : _HEAD.size + size]
            if magic != MAGIC or len(body) != size or zlib.crc32(body) != checksum:
                raise ValueError
            found: dict[str, Any] = json.loads(body)
        except (struct.error, ValueError):
            raise CheckpointError(f"the journal {self.path} is damaged: its head is not what was written; {FIX}") from None
        if (schema := found.pop("schema")) != SCHEMA:
            raise CheckpointError(
                f"the journal {self.path} has schema {schema}, this version reads {SCHEMA}; use the version that wrote it"
            )
        return Head(**found), _HEAD.size + size

    def records(self) -> Iterator[Record]:
        """Up to the first that is not whole."""
        while (record := self._record(self.end)) is not None:
            self.end = record.end
            yield record

    def _record(self, at: int) -> Record | None:
        front = self._front(at)
        if front is None:
            return None
        kind, *place, size, durable, checksum = front
        payload = self._view[at + _RECORD.size : at + _RECORD.size + size]
        if len(payload) != size or zlib.crc32(payload) != checksum:
            return None
        writer, task, incarnation, sequence = place
        return Record(kind, writer, task, incarnation, sequence, durable, payload, at + _RECORD.size + size)

    def _front(self, at: int) -> tuple | None:
        """What stands in front of a payload, None where that is not whole."""
        front = self._view[at : at + _RECORD.size]
        if len(front) < _RECORD.size or front[:4] != MARK or zlib.crc32(front[:-4]) != int.from_bytes(front[-4:], "little"):
            return None
        return _RECORD.unpack(front)[1:-1]

    def torn(self) -> bool:
        """Whether there is more than whole records."""
        return self.end < len(self.data)

    def check_rest(self, *, last: bool) -> None:
        """What follows ``end`` may be dropped only if nothing of it can have been acknowledged.

        While the machine lives a write is cut short by the death of the process that made it, and by nothing else. When the machine
        died, anything may be missing that its disk did not have yet.

        Raises:
            CheckpointError: it may have been.
        """
        if self.head.boot == boot():
            rest = len(self.data) - self.end
            good = last and (rest < _RECORD.size or self._cut_short(rest))
        else:
            good = self.head.level != "host" or (last and not self._known_durable())
        if not good:
            raise CheckpointError(
                f"the journal {self.path} is damaged at byte {self.end}, and rows behind that had been acknowledged; {FIX}"
            )

    def _cut_short(self, rest: int) -> bool:
        front = self._front(self.end)
        return front is not None and rest < _RECORD.size + front[5]

    def _known_durable(self) -> bool:
        """Whether a later record tells that the disk had what is not whole now."""
        at = self.data.find(MARK, self.end + 1)
        while at >= 0:
            later = self._record(at)
            if later is not None and later.durable > self.end:
                return True
            at = self.data.find(MARK, at + 1)
        return False

    def drop_rest(self) -> None:
        """Shortens the file to what was read."""
        os.truncate(self.path, self.end)

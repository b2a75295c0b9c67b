"""The journal of a run: what changes the ring is written to a file first, then made, then acknowledged. One process writes it.

A write is whole or torn, and what is torn was never acknowledged. At the level ``process`` the bytes are with the kernel, which outlives
any process; at ``host`` they are on the disk. Files are begun with each checkpoint, and dropped when that is complete.
"""

import os
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import ManyhandsError
from replay.control import State
from replay.journal_file import File, Head, Record, boot, columns_of, name_of, numbers, pack
from replay.layout import Layout
from replay.memory import write_all
from replay.segments import sync_folder
from replay.settings import Level

FOLDER = "journal"
FILE_BYTES = 256 * 2**20
"""A file that has grown so far is followed by another: what goes on after the death of the ingest reads one file."""


class JournalError(ManyhandsError):
    """The journal cannot be written. What it was to tell was not stored either."""


class Wanted(NamedTuple):
    """What a run asks for."""

    run: Path
    """its folder"""
    level: Level


class Journal:
    """Appends records. Calls come one at a time, but for ``settle`` and ``secure``, which may run beside.

    Args:
        folder: of the journal; made when the first file is.
    """

    def __init__(self, folder: Path, level: Level, layout: Layout) -> None:
        self.folder, self.level = folder, level
        self._columns = columns_of(layout)
        self._file, self._number, self._end, self._durable = -1, 0, 0, 0
        self._broken = ""
        self._syncing = threading.Lock()
        """held while the disk is waited for; who comes meanwhile finds that its record went along"""

    @property
    def begun(self) -> bool:
        return self._file >= 0

    @property
    def full(self) -> bool:
        return self._end >= FILE_BYTES

    def begin(self, state: State, *, follows: bool) -> int:
        """A new file, from where the ring is. Returns its number.

        Raises:
            JournalError: the disk is full or broken.
        """
        number = max([self._number, *numbers(self.folder)]) + 1
        told = [part.tolist() for part in (state.rows, state.incarnation, state.sequence)]
        head = Head(number, follows, self.level, boot(), self._columns, *told).encode()
        unfinished = self.folder / f"{name_of(number)}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.settle()
            file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            write_all(file, np.frombuffer(head, np.uint8), 0)
            unfinished.rename(self.folder / name_of(number))
        except OSError as error:
            raise self._error(error) from error
        with self._syncing:
            self._close()
            self._file, self._number, self._end, self._durable = file, number, len(head), 0
        if self.level == "host":
            self.secure(number)
        return number

    def go_on(self) -> tuple[Head, list[Record]] | None:
        """Opens the newest file, of a process that has died, behind its last whole record. Returns what it holds; None where there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        found = numbers(self.folder)
        if not found:
            return None
        file = File(self.folder / name_of(found[-1]))
        held = list(file.records())
        if file.torn():
            file.check_rest(last=True)
            file.drop_rest()
        self._file, self._number, self._end = os.open(file.path, os.O_RDWR | os.O_CLOEXEC), found[-1], file.end
        self.settle()
        return file.head, held

    def append(self, kind: int, place: tuple[int, int, int, int], payload: memoryview) -> None:
        """One record. ``place``: writer, task, incarnation, sequence. Where this raises, nothing was appended.

        Raises:
            JournalError: the disk is full or broken.
        """
        if self._broken:
            raise JournalError(self._broken)
        parts, at = [memoryview(pack(kind, place, payload, self._durable)), payload], self._end
        try:
            while any(parts):
                done = os.pwritev(self._file, parts, at)
                at += done
                parts = [part[max(0, done - before) :] for part, before in zip(parts, (0, len(parts[0])), strict=True)]
        except OSError as error:
            self._withdraw()
            raise self._error(error) from error
        self._end = at

    def _withdraw(self) -> None:
        """A record written in part must not be followed by another."""
        try:
            os.ftruncate(self._file, self._end)
        except OSError as error:
            self._broken = str(self._error(error))

    def settle(self) -> None:
        """At the level ``host``: returns when the disk has everything that had been appended before the call. One wait serves all who came.

        Raises:
            JournalError: the disk is broken. Nothing is appended any more: what it still has cannot be known.
        """
        if self.level != "host":
            return
        with self._syncing:
            end = self._end
            if self._broken:
                raise JournalError(self._broken)
            if self._file < 0 or self._durable >= end:
                return
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._broken = str(self._error(error))
                raise JournalError(self._broken) from error
            self._durable = end

    def secure(self, number: int) -> None:
        """Returns when the disk knows a file and its head: before a checkpoint names it.

        Raises:
            JournalError: the disk is full or broken.
        """
        try:
            file = os.open(self.folder / name_of(number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)
            sync_folder(self.folder)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> JournalError:
        why = error.strerror or str(error)
        return JournalError(f"cannot write the journal in {self.folder}: {why}. What was stored is intact; fix: free space on that disk")

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def close(self) -> None:
        self._close()


def drop(run: Path, before: int | None) -> list[Path]:
    """Deletes the files of a run that its newest complete checkpoint covers: those below number ``before``, None for all. Returns them."""
    folder = run / FOLDER
    covered = [folder / name_of(number) for number in numbers(folder) if before is None or number < before]
    for path in [*covered, *folder.glob("*.tmp")] if before is None else covered:
        path.unlink(missing_ok=True)
    return covered

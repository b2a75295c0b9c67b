"""A ring with its journal in front: each change is written down, then made. What the journal tells is made again from here too.

The order decides what a death in between can leave: a change that is written down and not made, which the successor makes from the journal
before anything else. One that is made and not written down cannot be.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import CheckpointError
from core.types import Chunk
from replay.control import State
from replay.journal import FOLDER, Journal, Wanted
from replay.journal_file import DISCARD, FENCE, FIX, ROWS, File, Head, Record, columns_of, name_of, numbers
from replay.ring import Ring, Run


class Replayed(NamedTuple):
    """What a journal gave back."""

    marks: list[Run]
    """rows of withdrawn episodes"""
    chunks: int = 0
    version: int = 0
    """of the newest weights that acted in them"""


class JournaledRing:
    """The changes that the ingest makes to its ring, one at a time.

    Args:
        wanted: None for a ring without journal.
        attached: the ring is that of a process that has died: its journal goes on.
    """

    def __init__(self, ring: Ring, wanted: Wanted | None, *, attached: bool) -> None:
        self.ring, self._attached = ring, attached
        kept = wanted is not None and wanted.level != "off"
        self.journal = Journal(wanted.run / FOLDER, wanted.level, ring.layout) if wanted is not None and kept else None

    def insert(self, chunk: Chunk) -> int:
        """As ``Ring.insert``. Rows go from where they lie to the file, without a copy."""
        journal = self._open()
        if journal is not None and self.ring.awaited(chunk) == chunk.sequence:
            place = (chunk.writer, chunk.task, chunk.incarnation, chunk.sequence)
            journal.append(ROWS, place, _bytes(np.ascontiguousarray(chunk.rows)))
        return self.ring.insert(chunk)

    def discard(self, keys: list[int]) -> list[Run]:
        """Withdraws episodes, see ``Ring.discard``."""
        journal = self._open()
        if journal is not None and keys:
            journal.append(DISCARD, (0, 0, 0, 0), _bytes(np.array(keys, np.int64)))
        return self.ring.discard(keys)

    def fence(self, writer: int, incarnation: int) -> None:
        """Refuses earlier incarnations of a writer."""
        journal = self._open()
        if journal is not None:
            journal.append(FENCE, (writer, 0, incarnation, 0), memoryview(b""))
        self.ring.control.fence(writer, incarnation)

    def settle(self) -> None:
        """Before anything is acknowledged; needs no lock."""
        if self.journal is not None:
            self.journal.settle()

    def cut(self) -> int | None:
        """A new file begins: a checkpoint of this moment needs those from it on. None where there is no journal."""
        journal = self._open()
        return None if journal is None else journal.begin(self.ring.state(), follows=True)

    def secure(self, number: int) -> None:
        """Before a checkpoint is complete that names this file; needs no lock."""
        if self.journal is not None:
            self.journal.secure(number)

    def _open(self) -> Journal | None:
        """Not before it is needed: who makes this may be about to load a checkpoint, again after a death in the middle of that."""
        journal = self.journal
        if journal is None:
            return None
        if not journal.begun:
            held = journal.go_on() if self._attached else None
            if held is None:
                journal.begin(self.ring.state(), follows=False)
            else:
                self._catch_up(*held)
        elif journal.full:
            journal.begin(self.ring.state(), follows=True)
        return journal

    def _catch_up(self, head: Head, held: list[Record]) -> None:
        """Makes what was written down last, if the writer died before it did; what it had made stays as it is."""
        for record in held[-1:]:
            apply(self.ring, record)
        want, got = expected(head, held, self.ring.layout.row_bytes), self.ring.state()
        if (want.rows != got.rows).any() or (want.incarnation != got.incarnation).any() or (want.sequence != got.sequence).any():
            assert self.journal is not None
            raise CheckpointError(
                f"the ring of the run holds other chunks than its journal in {self.journal.folder}; fix: end the run, then resume it"
            )

    def replay(self, run: Path, first: int) -> Replayed:
        """Makes everything again that is written down from file ``first`` on, of the checkpoint that the ring holds now.

        Raises:
            CheckpointError: a file is missing or damaged, or does not follow the checkpoint.
        """
        marks, chunks, version = [], 0, 0
        rest = [number for number in numbers(run / FOLDER) if number >= first]
        whole = True
        for number in range(first, max([first, *rest]) + 1):
            file = File(run / FOLDER / name_of(number))
            if not whole or (number > first and not file.head.follows):
                file.path.unlink()
                whole = False
                continue
            self._check(file)
            for record in file.records():
                marks += apply(self.ring, record)
                if record.kind == ROWS:
                    newest = np.frombuffer(record.payload, self.ring.layout.dtype)["version"].max()
                    chunks, version = chunks + 1, max(version, int(newest))
            if file.torn():
                file.check_rest(last=number >= max(rest))
                file.drop_rest()
                whole = False
        return Replayed(marks, chunks, version)

    def _check(self, file: File) -> None:
        """Holds what a file begins with against the ring; the number of actors may have changed since."""
        state, head = self.ring.state(), file.head
        if head.columns != columns_of(self.ring.layout):
            raise CheckpointError(f"the journal {file.path} has other columns; fix: resume with the algorithm it was written with")
        pairs = ((state.rows, head.rows), (state.incarnation, head.incarnation), (state.sequence, head.sequence))
        if any(a != b for mine, told in pairs for a, b in zip(mine.tolist(), told, strict=False)):
            raise CheckpointError(f"the journal {file.path} does not follow what is before it; {FIX}")

    def begin(self, *, follows: bool) -> None:
        """After a checkpoint was loaded: what comes now is written to a new file."""
        if self.journal is not None:
            self.journal.begin(self.ring.state(), follows=follows)

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()


def apply(ring: Ring, record: Record) -> list[Run]:
    """Makes a change; one that was made already changes nothing. Returns the runs of rows that it withdrew."""
    known = record.writer < ring.layout.writers
    if record.kind == DISCARD:
        return ring.discard(np.frombuffer(record.payload, np.int64).tolist())
    if record.kind == FENCE:
        if known:
            ring.control.fence(record.writer, record.incarnation)
        return []
    rows = np.frombuffer(record.payload, ring.layout.dtype)
    chunk = Chunk(record.writer, record.incarnation, record.sequence, record.task, rows)
    if not known:
        ring.store(chunk, {})  # of an actor that the run has no more: nobody will send it again
    elif ring.insert(chunk) < chunk.sequence:
        raise CheckpointError(f"the journal lacks a chunk of writer {chunk.writer} before number {chunk.sequence}; {FIX}")
    return []


def expected(head: Head, held: list[Record], row_bytes: int) -> State:
    """Where a ring stands that began at ``head`` and was told all that is in ``held``; the other counters are left out."""
    rows, incarnation, sequence = list(head.rows), list(head.incarnation), list(head.sequence)
    for record in held:
        w = record.writer
        if record.kind == FENCE and record.incarnation > incarnation[w]:
            incarnation[w], sequence[w] = record.incarnation, 0
        elif record.kind == ROWS and (record.incarnation, record.sequence) >= (incarnation[w], sequence[w]):
            incarnation[w], sequence[w] = record.incarnation, record.sequence + 1
            rows[record.task] += len(record.payload) // row_bytes
    none = np.zeros(0, np.int64)
    return State(np.array(rows), none, none, np.array(incarnation), np.array(sequence))


def _bytes(array: np.ndarray) -> memoryview:
    """The array's own memory."""
    return np.ndarray(array.nbytes, np.uint8, array).data

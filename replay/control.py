"""The control words of a ring: how the single writer makes a change visible to readers and safe against its own death, all at once.

Two copies of the state exist. A writer prepares the idle one and then flips the commit counter by one aligned 8-byte store, so a kill
between any two instructions leaves either the old or the new state. Readers in other processes rely on stores becoming visible in program
order (x86-64); machines that order stores more loosely have only the guard band of the sampler between them and a torn row.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replay.layout import LOG, Layout

COMMIT, LOGGED, CARRIED_OUT, OWNER_PID, OWNER_START = 0, 8, 9, 10, 11


class State(NamedTuple):
    """One consistent copy. Arrays are int64."""

    rows: NDArray[np.int64]
    """(K,) rows committed since the start, closing rows included: the number of the next row"""
    transitions: NDArray[np.int64]
    """(K,) transitions committed since the start"""
    live: NDArray[np.int64]
    """(K,) transitions that can be drawn now: neither overwritten nor discarded"""
    incarnation: NDArray[np.int64]
    """(W,) newest incarnation seen, 0 before the first"""
    sequence: NDArray[np.int64]
    """(W,) sequence that this incarnation must send next: 0 before the first"""


class Control:
    """Reads and commits the state. ``words`` is the mapped control area."""

    def __init__(self, layout: Layout, words: memoryview) -> None:
        self._words = words
        self._layout = layout
        self._size = layout.copy_words
        self._at = (layout.copies_at, layout.copies_at + layout.copy_words)
        array = np.frombuffer(words, np.int64)
        self.reserved: NDArray[np.int64] = array[layout.reserved_at : layout.reserved_at + layout.tasks]
        """(K,) rows up to which old content may be destroyed; never behind ``rows``"""
        self._copies = tuple(array[at : at + self._size] for at in self._at)

    def release(self) -> None:
        """Lets go of the mapping."""
        self.reserved, self._copies = np.zeros(0, np.int64), ()
        self._words.release()

    @property
    def counter(self) -> int:
        """Commits since the file was made."""
        return self._words[COMMIT]

    def word(self, at: int) -> int:
        return self._words[at]

    def store(self, at: int, value: int) -> None:
        """One aligned 8-byte store."""
        self._words[at] = value

    def reserve(self, task: int, upto: int) -> int:
        """Announces that rows below ``upto`` are about to be written. Returns the earlier announcement."""
        at = self._layout.reserved_at + task
        before = self._words[at]
        if upto > before:
            self._words[at] = upto
        return before

    def split(self, copy: NDArray[np.int64]) -> State:
        """Views of one copy's parts."""
        K, W = self._layout.tasks, self._layout.writers
        return State(copy[:K], copy[K : 2 * K], copy[2 * K : 3 * K], copy[3 * K : 3 * K + W], copy[3 * K + W : 3 * K + 2 * W])

    def read(self) -> tuple[int, State]:
        """The commit counter and a private copy of the state that belongs to it.

        The writer touches the copy being read only after it has flipped the counter once more, hence the second look.
        """
        while True:
            counter = self._words[COMMIT]
            copy = self._copies[counter & 1].copy()
            if self._words[COMMIT] == counter:
                return counter, self.split(copy)

    def peek(self, at: int) -> int:
        """A word of the active copy, for the writer itself: no one else changes it."""
        return self._words[self._at[self._words[COMMIT] & 1] + at]

    def commit(self, changes: dict[int, int]) -> None:
        """Makes ``changes`` (position within the copy -> value) visible together."""
        words, counter = self._words, self._words[COMMIT]
        old, new = self._at[counter & 1], self._at[1 - (counter & 1)]
        words[new : new + self._size] = words[old : old + self._size]
        for at, value in changes.items():
            words[new + at] = value
        words[COMMIT] = counter + 1

    def fence(self, writer: int, incarnation: int) -> None:
        """Refuses chunks of earlier incarnations of a writer from now on, also those that are still on their way."""
        at, W = 3 * self._layout.tasks + writer, self._layout.writers
        if incarnation > self.peek(at):
            self.commit({at: incarnation, at + W: 0})

    def replace(self, state: State) -> None:
        """Commits a whole state."""
        flat = [int(v) for part in state for v in part]
        self.commit(dict(enumerate(flat)))

    def log_discard(self, key: int) -> int | None:
        """Remembers a discarded episode, entry before count. Returns the key that it pushed out."""
        count = self._words[LOGGED]
        at = self._layout.log_at + count % LOG
        gone = self._words[at] if count >= LOG else None
        self._words[at] = key
        self._words[LOGGED] = count + 1
        return gone

    def logged(self, first: int = 0) -> list[int]:
        """Remembered keys, oldest first, from entry number ``first`` on."""
        count = self._words[LOGGED]
        return [self._words[self._layout.log_at + i % LOG] for i in range(max(first, count - LOG, 0), count)]

"""The packed-row ring in shared memory: the ingest writes chunks of actors into it, samplers of learners read it without any call.

One file holds K tasks of ``capacity`` rows. Rows of a task are numbered 0, 1, 2 ... for ever; row a lies in slot a % capacity, and the
first ``window - 1`` slots are repeated behind the last one, so that any window of consecutive rows is one span of memory.
"""

import contextlib
import fcntl
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, ManyhandsError
from core.rows import DISCARDED, STEP
from core.types import Chunk
from replay.control import CARRIED_OUT, LOGGED, OWNER_PID, OWNER_START, Control, State
from replay.episodes import episode_key, open_episodes, rows_of
from replay.layout import HEADER_BYTES, Layout, column, describe
from replay.memory import SHM, check_fits, lock_writer, nameless, start_time, write_all

Run = tuple[int, int, int]
"""(task, first row, one past the last row)"""


class StaleWriterError(ManyhandsError):
    """A chunk comes from an incarnation of an actor that a newer one has replaced."""


class Ring:
    """One mapped ring file. Made by ``create`` or ``attach``."""

    def __init__(self, path: Path, file: int, layout: Layout, *, readonly: bool) -> None:
        self.path, self.layout, self.readonly = path, layout, readonly
        self._file = file
        flags = mmap.PROT_READ if readonly else mmap.PROT_READ | mmap.PROT_WRITE
        self._map = mmap.mmap(file, layout.total_bytes, mmap.MAP_SHARED, flags)
        view = memoryview(self._map)
        self.control = Control(layout, view[HEADER_BYTES : HEADER_BYTES + 8 * layout.control_words].cast("q"))
        shape = (layout.tasks, layout.stride)
        self.rows: NDArray = np.ndarray(shape, layout.dtype, view, layout.rows_at)
        """(K, capacity + mirror) records"""
        self.kinds: NDArray[np.uint8] = np.ndarray(shape, np.uint8, view, layout.kinds_at)
        """(K, capacity + mirror) kind of each row, the one that decides about drawing"""
        self.bytes: NDArray[np.uint8] = np.ndarray((*shape, layout.row_bytes), np.uint8, view, layout.rows_at)
        """(K, capacity + mirror, row bytes): the same memory"""
        self._kind_at, self._opening = column(layout.dtype, "kind")[1], layout.opening
        self._discarded: set[int] = set()

    @classmethod
    def create(  # noqa: PLR0913 - sizes, and where they lie
        cls,
        run_id: str,
        dtype: np.dtype,
        *,
        tasks: int,
        capacity: int,
        writers: int,
        window: int,
        directory: Path | str = SHM,
        spilled: bool = False,
        owner: int | None = None,
    ) -> "Ring":
        """Makes the file with all its pages reserved and attaches as its writer.

        Args:
            spilled: ``directory`` is on a disk, and rows are not to be held in memory.
            owner: pid whose life is the life of the run, as ``sweep`` sees it; this process by default.

        Raises:
            ConfigError: it does not fit, or a file of this run exists.
        """
        layout = Layout(run_id, tasks, capacity, writers, window, describe(dtype), spilled)
        head, directory = layout.encode(), Path(directory)
        check_fits(layout.total_bytes, directory, spilled=spilled)
        file = nameless(directory)
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            lock_writer(file, run_id)
            os.posix_fallocate(file, 0, layout.total_bytes)
            os.pwrite(file, head, 0)
            path = directory / f"manyhands-{run_id}.ring"
            ring = cls(path, file, layout, readonly=False)
            ring.own(owner)
            os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file)
        except FileExistsError:
            os.close(file)
            raise ConfigError(f"{directory} already has a ring of run {run_id!r}; attach it, or sweep it if that run is dead") from None
        except OSError as error:
            os.close(file)
            raise ConfigError(f"cannot reserve {layout.total_bytes} bytes in {directory}: {error.strerror}") from error
        return ring

    @classmethod
    def attach(cls, path: Path | str, *, readonly: bool = True, owner: int | None = None) -> "Ring":
        """Maps an existing ring. Writable makes this process its single writer, which goes on from the last commit of the one before.

        Raises:
            ManyhandsError: no such ring, another schema, or a live process writes it.
        """
        path = Path(path)
        try:
            file = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ManyhandsError(f"no ring at {path}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not os.fstat(file).st_nlink:
                raise ManyhandsError(f"no ring at {path}: it was swept just now")
            if not readonly:
                lock_writer(file, path.name)
            ring = cls(path, file, Layout.decode(os.pread(file, HEADER_BYTES, 0), path.name), readonly=readonly)
        except ManyhandsError:
            os.close(file)
            raise
        if not readonly:
            ring.own(owner)
            ring.recover()
        return ring

    def own(self, pid: int | None) -> None:
        """Records whose life is the run's life."""
        pid = os.getpid() if pid is None else pid
        self.control.store(OWNER_PID, pid)
        self.control.store(OWNER_START, start_time(pid))

    def recover(self) -> None:
        """Finishes what a writer that died had begun: discards, and the count of live rows that belongs to them."""
        self._discarded = set(self.control.logged())
        self._mark(self.control.logged(self.control.word(CARRIED_OUT)))
        self.control.store(CARRIED_OUT, self.control.word(LOGGED))
        self.recount()

    def recount(self) -> None:
        """Sets the count of live transitions from the rows themselves."""
        live = {2 * self.layout.tasks + k: len(self.steps(k)) for k in range(self.layout.tasks)}
        self.control.commit(live)

    def close(self) -> None:
        """Detaches. Views and tensors that are still around keep the mapping alive, not the locks."""
        if self._file < 0:
            return
        del self.rows, self.bytes, self.kinds
        with contextlib.suppress(BufferError):  # a sampler's views: unmapped when the last one goes
            self.control.release()
            self._map.close()
        os.close(self._file)
        self._file = -1

    def unlink(self) -> None:
        """Removes the file; who has it attached keeps it."""
        self.path.unlink(missing_ok=True)

    def reopen(self) -> int:
        """The file once more, to read from, without this ring's locks; who asks closes it."""
        return os.open(f"/proc/self/fd/{self._file}", os.O_RDONLY | os.O_CLOEXEC)

    def state(self) -> State:
        """A consistent copy of the committed counters."""
        return self.control.read()[1]

    def low(self, task: int) -> int:
        """Number of the oldest row of the task that is still whole."""
        return max(0, int(self.control.reserved[task]) - self.layout.capacity)

    def insert(self, chunk: Chunk) -> int:
        """Stores a chunk once. Returns the last sequence that is stored without gap for its writer and incarnation; -1 for none.

        A duplicate, or a chunk after a gap, changes nothing: the sender goes back to the sequence after the returned one.

        Raises:
            StaleWriterError: a newer incarnation of this writer has already sent.
            ConfigError: the chunk is longer than the ring.
        """
        K, W, writer, expected = self.layout.tasks, self.layout.writers, chunk.writer, self.awaited(chunk)
        if chunk.sequence != expected:
            return expected - 1
        self.store(chunk, {3 * K + writer: chunk.incarnation, 3 * K + W + writer: expected + 1})
        return expected

    def awaited(self, chunk: Chunk) -> int:
        """The sequence that the writer of this chunk, in its incarnation, must send next. Raises StaleWriterError as ``insert``."""
        K, W, writer = self.layout.tasks, self.layout.writers, chunk.writer
        newest = self.control.peek(3 * K + writer)
        if chunk.incarnation < newest:
            raise StaleWriterError(f"writer {writer}: chunk of incarnation {chunk.incarnation}, but incarnation {newest} has taken over")
        return self.control.peek(3 * K + W + writer) if chunk.incarnation == newest else 0

    def store(self, chunk: Chunk, told: dict[int, int]) -> None:
        """Stores a chunk whoever sent it; ``told`` is committed with it."""
        K, capacity, task, n, source = self.layout.tasks, self.layout.capacity, chunk.task, len(chunk.rows), chunk.rows
        if n > capacity:
            raise ConfigError(f"a chunk of {n} rows does not fit a ring of {capacity} rows per task; fix: shorter chunks, larger capacity")
        if self._discarded and episode_key(source["writer"][0], source["episode"][0]) in self._discarded:
            source = source.copy()
            source["kind"][source["kind"] == STEP] = DISCARDED
        peek, first, kinds = self.control.peek, self.control.peek(task), self.kinds[task]
        reserved = self.control.reserve(task, first + n)
        # A row whose predecessor is overwritten can be drawn no more than one that is overwritten itself, where it needs that.
        upto = min(first + n + self._opening, first + capacity)
        lost = sum(np.count_nonzero(kinds[a:b] == STEP) for a, b in self.layout.spans(max(first, reserved, capacity) + self._opening, upto))
        self.copy_in(task, first, np.ndarray((n, self.layout.row_bytes), np.uint8, np.ascontiguousarray(source)))
        fresh = 0 if source is not chunk.rows else chunk.transitions
        counts = {task: first + n, K + task: peek(K + task) + chunk.transitions, 2 * K + task: peek(2 * K + task) + fresh - int(lost)}
        self.control.commit(counts | told)

    def copy_out(self, task: int, first: int, into: NDArray[np.uint8]) -> None:
        """Copies rows ``first`` and following into (n, row bytes)."""
        done = 0
        for a, b in self.layout.spans(first, first + len(into)):
            into[done : done + b - a] = self.bytes[task, a:b]
            done += b - a

    def copy_in(self, task: int, first: int, rows: NDArray[np.uint8]) -> None:
        """Puts rows (n, row bytes) to where row ``first`` lies, the mirror too, without committing them."""
        target, done = self.bytes[task], 0
        for a, b in self.layout.spans(first, first + len(rows)):
            if self.layout.spilled:
                write_all(self._file, rows[done : done + b - a], self.layout.row_at(task, a))  # the map would read each page first
            else:
                target[a:b] = rows[done : done + b - a]
            self.kinds[task, a:b] = rows[done : done + b - a, self._kind_at]
            done += b - a
            if a < self.layout.mirror:
                target[self.layout.capacity :] = target[: self.layout.mirror]
                self.kinds[task, self.layout.capacity :] = self.kinds[task, : self.layout.mirror]

    def clear(self) -> None:
        """Forgets everything that is stored."""
        self.control.replace(State(*(np.zeros_like(part) for part in self.state())))
        self.control.reserved[:] = 0
        self.control.store(LOGGED, 0)
        self.control.store(CARRIED_OUT, 0)
        self._discarded = set()

    def adopt(self, state: State, reserved: list[int], discarded: list[int]) -> None:
        """Commits rows that ``copy_in`` has put in place."""
        for key in discarded:
            self.control.log_discard(key)
        self.control.store(CARRIED_OUT, self.control.word(LOGGED))
        self._discarded = set(discarded)
        self.control.reserved[:] = reserved
        self.control.replace(state)

    def whole(self, task: int) -> NDArray[np.int64]:
        """Slots of the committed rows of a task that nothing has begun to overwrite, in row order from ``low`` on."""
        low, rows = self.low(task), self.control.peek(task)
        return np.arange(low, max(low, rows)) % self.layout.capacity

    def steps(self, task: int) -> NDArray[np.int64]:
        """Those of ``whole`` that can be drawn; the oldest row lacks its predecessor, where that matters."""
        slots = self.whole(task)[self._opening :]
        return slots[self.kinds[task][slots] == STEP]

    def discard_episode(self, writer: int, episode: int) -> list[Run]:
        """Withdraws an episode from the draw, also rows of it that arrive later. Returns the runs of rows marked now."""
        return self.discard([episode_key(writer, episode)])

    def discard_open(self, writer: int | None = None) -> list[Run]:
        """Withdraws the episodes, of one writer or of all, of which no row is terminated or truncated. Returns the runs marked."""
        return self.discard(self.open_keys(writer))

    def open_keys(self, writer: int | None = None) -> list[int]:
        return open_episodes(self.rows, [self.steps(k) for k in range(self.layout.tasks)], writer)

    def discard(self, keys: list[int]) -> list[Run]:
        """Remembers first, then marks: a writer that dies in between is completed by ``recover``."""
        for key in keys:
            if key in self._discarded:
                continue
            gone = self.control.log_discard(key)
            self._discarded.discard(-1 if gone is None else gone)
            self._discarded.add(key)
        runs = self._mark(keys)
        self.control.store(CARRIED_OUT, self.control.word(LOGGED))
        return runs

    def _mark(self, keys: list[int]) -> list[Run]:
        runs: list[Run] = []
        for task in range(self.layout.tasks if keys else 0):
            slots = self.whole(task)
            hits = rows_of(self.rows[task], self.kinds[task], slots, keys)
            if not len(hits):
                continue
            self.mark(task, slots[hits])
            drawable = np.count_nonzero(hits >= self._opening)
            self.control.commit({2 * self.layout.tasks + task: self.control.peek(2 * self.layout.tasks + task) - int(drawable)})
            low = self.low(task)
            runs += [(task, low + int(run[0]), low + int(run[-1]) + 1) for run in np.split(hits, np.flatnonzero(np.diff(hits) > 1) + 1)]
        return runs

    def mark(self, task: int, slots: NDArray[np.int64]) -> None:
        """Sets DISCARDED on slots, in the mirror too. What decides comes last: an interrupted mark is seen as none, and made again."""
        column = self.rows["kind"][task]
        column[slots] = DISCARDED
        column[self.layout.capacity :] = column[: self.layout.mirror]
        self.kinds[task][slots[slots < self.layout.mirror] + self.layout.capacity] = DISCARDED
        self.kinds[task][slots] = DISCARDED

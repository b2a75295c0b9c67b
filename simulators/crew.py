"""The worker processes of a pool: launches them, waits for their answers against deadlines, ends and replaces those that crash or hang."""

import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from core.errors import SimulatorError
from core.types import TaskSpec
from simulators.memory import DONE, IDLE, LAUNCHING, RESET, RESETTING, STEPPING, Memory, check_alike, shares, specs_from_json
from simulators.process import Process, read_spec_line

ATTACH = b"M"
_LOOK_S = 0.1
"""How often deadlines are looked at while nobody answers. They cost more than a step to work out, so not before."""
_LEAVE_S = 4.0
"""seconds that a worker has to close its simulators"""

Deadline = Callable[[int], tuple[float, str]]
"""Worker -> (when its time is over, what to say of it then)."""


class Deadlines(NamedTuple):
    """Seconds that one simulator may take for a step, a reset, or to be made."""

    step_s: float
    reset_s: float
    launch_s: float


class _Stage(NamedTuple):
    """What a worker is waited for."""

    deadline: Deadline
    end: bytes = DONE
    """of its answer"""
    ends_well: bool = False
    """that it is gone, or its time is over, is what was waited for"""


class Crew:
    """W workers over one shared memory of N slots.

    A worker that is started goes through stages, each of which waits for an answer: a pause, its simulators, the memory and, once the pool
    was reset, its episodes. Nobody else waits for it meanwhile but who has to.

    Args:
        name: of the simulator, for messages.
        processes: not yet started, W of them.
        slots: N.
        fd: of the memory file, still empty.
        deadlines: in seconds.
        lost: called with a worker that has failed and is dead by now, the reason, and the slot it was in, if that is known. It says which
            episodes begin next, and returns the seconds until the next start.
    """

    def __init__(
        self, name: str, processes: list[Process], slots: int, fd: int, deadlines: Deadlines, lost: Callable[[int, str, int | None], float]
    ) -> None:
        self.name, self.processes, self.slots, self.fd, self.deadlines = name, processes, slots, fd, deadlines
        self._look_s = min(_LOOK_S, *deadlines)
        self.shares = shares(slots, len(processes))
        self.memory: Memory | None = None
        self.specs: list[TaskSpec | None] = [None] * slots
        self.playing = False
        """Episodes have begun: a worker that comes back begins some, too."""
        self._first: TaskSpec | None = None
        self._lost = lost
        self._work = _Stage(self._work_deadline)
        self._coming: dict[int, Iterator[_Stage]] = {}
        """workers on their way back"""
        self._stage: dict[int, _Stage] = {}
        """where they are"""
        self._said: dict[int, bytes] = {}

    def bring(self, w: int, pause_s: float = 0.0, *, leave: bool = False) -> None:
        """Begins to start a worker, and returns at once; ``wait`` goes on with it.

        Args:
            leave: the one that is there is to close its simulators first.
        """
        self._coming[w] = self._way(w, pause_s, leave)
        self._advance(w)

    def _way(self, w: int, pause_s: float, leave: bool) -> Iterator[_Stage]:
        process = self.processes[w]
        if leave:
            process.leave()
            until = time.monotonic() + _LEAVE_S
            yield _Stage(lambda _: (until, ""), ends_well=True)
            process.kill()
        if pause_s > 0:
            due = time.monotonic() + pause_s
            yield _Stage(lambda _: (due, ""), ends_well=True)
        if self.memory is not None:
            self.memory.progress[w] = LAUNCHING
        process.start()
        yield _Stage(self._launch_deadline, b"\n")
        self._agree(w, specs_from_json(read_spec_line(self._said[w])))
        process.send(ATTACH)
        yield _Stage(self._launch_deadline)
        if self.playing:
            assert self.memory is not None
            self.memory.chosen[self.shares[w]] = True
            process.send(RESET)
            yield self._work

    def _advance(self, w: int) -> bool:
        """To the next stage; False where there is none, and the worker is there."""
        stage = next(self._coming[w], None)
        self._said[w] = b""
        if stage is None:
            del self._coming[w], self._stage[w], self._said[w]
            return False
        self._stage[w] = stage
        return True

    def send(self, command: bytes, workers: Iterable[int]) -> None:
        """Starts a command and returns at once."""
        for w in workers:
            self.processes[w].send(command)

    def wait(self, workers: Iterable[int], *, some: bool = False) -> list[int]:
        """Waits until each of these, or ``some`` at least, has answered or, where it failed, was replaced. Returns them.

        Raises:
            ManyhandsError: a worker cannot make its simulators, and no other could; or what ``lost`` raises.
        """
        waiting, done, fds, poll = set(workers), [], {}, select.poll()

        def watch(w: int) -> None:
            if self.processes[w].running:
                fds[fd := self.processes[w].line.fileno()] = w
                poll.register(fd, select.POLLIN)

        for w in waiting:
            watch(w)
        while waiting and not (some and done):
            events = poll.poll(1000 * self._patience())
            touched = [(fd, fds[fd], self._heard(fds[fd])) for fd, _ in events]
            if some or not events:
                mine = {w: fd for fd, w in fds.items()}
                busy = {w for _, w, _ in touched}
                touched += [(mine.get(w, -1), w, self._late(w)) for w in self._overdue(waiting - busy)]
            for fd, w, on in touched:
                if on is None:  # it has more to say
                    continue
                if fd >= 0:
                    poll.unregister(fd)
                    del fds[fd]
                if on:
                    watch(w)
                else:
                    waiting.discard(w)
                    done.append(w)
        return done

    def _patience(self) -> float:
        """Seconds until deadlines are looked at."""
        if not self._coming:
            return self._look_s
        soonest = min((self._stage[w].deadline(w)[0] for w in self._coming), default=0.0)
        return max(0.0, min(self._look_s, soonest - time.monotonic() + 1e-3))

    def _heard(self, w: int) -> bool | None:
        """Takes in what a worker says, or its end. Whether it has further to go; None: it has not said all."""
        stage, said = self._stage.get(w, self._work), self.processes[w].hear()
        if not said and not stage.ends_well:
            return self._failed(w, self._crashed(w))
        if w not in self._coming:
            return False if said.endswith(stage.end) else None
        self.processes[w].sent_at = time.monotonic()  # it told of a simulator that it has made
        self._said[w] += said
        return self._advance(w) if not said or said.endswith(stage.end) else None

    def _late(self, w: int) -> bool:
        """What follows from a deadline that is over."""
        stage = self._stage.get(w, self._work)
        if stage.ends_well:
            return self._advance(w)
        slot, what = self._slot(w), stage.deadline(w)[1]
        self.processes[w].kill()
        return self._failed(w, what, slot)

    def _overdue(self, waiting: Iterable[int]) -> list[int]:
        now = time.monotonic()
        return [w for w in waiting if self._stage.get(w, self._work).deadline(w)[0] <= now]

    def _failed(self, w: int, reason: str, slot: int | None = None) -> bool:
        self.bring(w, self._lost(w, reason, slot if slot is not None else self._slot(w)))
        return True

    def close(self) -> None:
        """Lets the workers close their simulators, then ends what is left of them."""
        for process in self.processes:
            process.leave()
        until = time.monotonic() + _LEAVE_S
        for process in self.processes:
            process.wait_gone(max(0.0, until - time.monotonic()))
            process.kill()
            process.log.close()

    def _agree(self, worker: int, specs: list[TaskSpec]) -> None:
        """Slots may have different tasks, but one observation and one action; a worker made anew must make what it made before."""
        first = self._first = self._first or specs[0]
        check_alike([first, *specs])
        for slot, spec in zip(range(self.slots)[self.shares[worker]], specs, strict=True):
            if self.specs[slot] not in (None, spec):
                raise SimulatorError(f"slot {slot} was made twice and differs: {self.specs[slot]} and {spec}", retryable=False)
            self.specs[slot] = spec
        if self.memory is None:
            os.ftruncate(self.fd, Memory.size(first, self.slots, len(self.processes)))
            self.memory = Memory(self.fd, first, self.slots, len(self.processes))

    def _crashed(self, w: int) -> str:
        where, what = self._where(w)[:2]
        self.processes[w].wait_gone()
        return f"{where}: crash while {what}, {self.processes[w].kill()}"

    def _launch_deadline(self, w: int) -> tuple[float, str]:
        limit = self.deadlines.launch_s
        return self.processes[w].sent_at + limit, f"{self.name} worker {w}: hang, launching for more than {limit:g} s (launch_timeout_s)"

    def _work_deadline(self, w: int) -> tuple[float, str]:
        """A worker that moves on to its next slot writes a new start, so that the limit is per simulator, not per worker."""
        where, what, since = self._where(w)
        limit, option = (self.deadlines.reset_s, "reset") if what == "resetting" else (self.deadlines.step_s, "step")
        return max(since, self.processes[w].sent_at) + limit, f"{where}: hang, {what} for more than {limit:g} s ({option}_timeout_s)"

    def _slot(self, w: int) -> int | None:
        """That a worker was in; None where it was in none."""
        doing, slot = (LAUNCHING, 0) if self.memory is None else self.memory.progress[w, :2].tolist()
        return int(slot) if doing in (STEPPING, RESETTING) else None

    def _where(self, w: int) -> tuple[str, str, float]:
        """Which slot a worker is in, what it does there, and since when."""
        doing, slot, since = (LAUNCHING, 0, 0) if self.memory is None else self.memory.progress[w, :3].tolist()
        what = {LAUNCHING: "launching", IDLE: "idle", STEPPING: "stepping", RESETTING: "resetting"}[doing]
        if doing in (LAUNCHING, IDLE):
            return f"{self.name} worker {w}", what, since
        return f"{self.name} worker {w} slot {slot:.0f}", what, since

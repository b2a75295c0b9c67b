"""The worker processes of a pool: launches them, waits for their answers against deadlines, ends those that crash or hang."""

import os
import select
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from core.errors import ConfigError, SimulatorError
from core.types import TaskSpec
from simulators.memory import DONE, IDLE, LAUNCHING, RESETTING, STEPPING, Memory, shares, specs_from_json
from simulators.process import Process, read_spec_line

ATTACH = b"M"
_LOOK_S = 0.1
"""How often deadlines are looked at while nobody answers. They cost more than a step to work out, so not before."""

Deadline = Callable[[int], tuple[float, str]]
"""Worker -> (when its time is over, what to say of it then)."""


class Deadlines(NamedTuple):
    """Seconds that one simulator may take for a step or a reset, and a worker to make its simulators."""

    step_s: float
    reset_s: float
    launch_s: float


class Crew:
    """W workers over one shared memory of N slots.

    Args:
        name: of the simulator, for messages.
        processes: not yet started, W of them.
        slots: N.
        fd: of the memory file, still empty.
        deadlines: in seconds.
    """

    def __init__(self, name: str, processes: list[Process], slots: int, fd: int, deadlines: Deadlines) -> None:
        self.name, self.processes, self.slots, self.fd, self.deadlines = name, processes, slots, fd, deadlines
        self._look_ms = 1000 * min(_LOOK_S, *deadlines)
        self.shares = shares(slots, len(processes))
        self.memory: Memory | None = None
        self.specs: list[TaskSpec | None] = [None] * slots

    def launch(self, workers: Iterable[int]) -> dict[int, str]:
        """Starts these workers side by side. Returns those that failed, with the reason."""
        workers = list(workers)
        self.start(workers)
        return self.meet(workers)

    def start(self, workers: Iterable[int]) -> None:
        """Starts the processes and returns at once."""
        for w in workers:
            if self.memory is not None:
                self.memory.progress[w] = LAUNCHING
            self.processes[w].start()

    def meet(self, workers: Iterable[int]) -> dict[int, str]:
        """Waits until started workers have made their simulators. Returns those that failed, with the reason.

        Raises:
            ManyhandsError: making the simulators raised it; another try would raise it again.
        """
        workers = list(workers)
        heard, failed = self._wait(workers, self._launch_deadline, end=b"\n")
        for w in workers:
            if w not in failed:
                self._agree(w, specs_from_json(read_spec_line(heard[w])))
        attached = [w for w in workers if w not in failed]
        self.send(ATTACH, attached)
        return failed | self._wait(attached, self._launch_deadline)[1]

    def send(self, command: bytes, workers: Iterable[int]) -> None:
        """Starts a command and returns at once."""
        for w in workers:
            self.processes[w].send(command)

    def wait(self, workers: Iterable[int]) -> dict[int, str]:
        """Waits until each of these has answered or failed. Returns the failed, which are dead by now, with the reason."""
        return self._wait(workers, self._work_deadline)[1]

    def wait_any(self, workers: Iterable[int]) -> tuple[list[int], dict[int, str]]:
        """Waits until one of these has answered or failed. Returns all that have, and which of them failed, with the reason."""
        heard, failed = self._wait(workers, self._work_deadline, some=True)
        return [w for w in heard if w in failed or heard[w]], failed

    def close(self) -> None:
        """Lets the workers close their simulators, then ends what is left of them."""
        for process in self.processes:
            process.leave()
        until = time.monotonic() + 2.0
        for process in self.processes:
            process.wait_gone(max(0.0, until - time.monotonic()))
            process.kill()
            process.log.close()

    def _agree(self, worker: int, specs: list[TaskSpec]) -> None:
        """Slots may have different tasks, but one observation and one action; a worker made anew must make what it made before."""

        def io(spec: TaskSpec) -> tuple:
            return spec.observation, spec.action_dim, spec.discrete, spec.repeated, spec.keyframes

        first = self.specs[0] or specs[0]
        for slot, spec in zip(range(self.slots)[self.shares[worker]], specs, strict=True):
            if io(spec) != io(first):
                raise ConfigError(f"{first.task} and {spec.task} differ in observation or action; simulators of one pool need equal ones")
            if self.specs[slot] not in (None, spec):
                raise SimulatorError(f"slot {slot} was made twice and differs: {self.specs[slot]} and {spec}", retryable=False)
            self.specs[slot] = spec
        if self.memory is None:
            os.ftruncate(self.fd, Memory.size(first, self.slots, len(self.processes)))
            self.memory = Memory(self.fd, first, self.slots, len(self.processes))

    def _wait(
        self, workers: Iterable[int], deadline: Deadline, *, end: bytes = DONE, some: bool = False
    ) -> tuple[dict[int, bytes], dict[int, str]]:
        """What each worker answered up to ``end``, and which failed and why. ``some``: the first to be done are enough."""
        waiting = {self.processes[w].line.fileno(): w for w in workers}
        heard, failed = dict.fromkeys(waiting.values(), b""), {}
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        enough = len(waiting) - 1 if some else 0
        while len(waiting) > enough:
            events = poll.poll(self._look_ms)
            for fd, _ in events:
                w = waiting[fd]
                said = self.processes[w].hear()
                heard[w] += said
                if not said:
                    failed[w] = self._crashed(w)
                if not said or said.endswith(end):
                    poll.unregister(fd)
                    del waiting[fd]
            if some or not events:
                for fd, w in self._overdue(waiting, deadline).items():
                    failed[w] = deadline(w)[1]
                    poll.unregister(fd)
                    del waiting[fd]
                    self.processes[w].kill()
        return heard, failed

    def _overdue(self, waiting: dict[int, int], deadline: Deadline) -> dict[int, int]:
        now = time.monotonic()
        return {fd: w for fd, w in waiting.items() if deadline(w)[0] <= now}

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

    def _where(self, w: int) -> tuple[str, str, float]:
        """Which slot a worker is in, what it does there, and since when."""
        doing, slot, since = (LAUNCHING, 0, 0) if self.memory is None else self.memory.progress[w, :3].tolist()
        what = {LAUNCHING: "launching", IDLE: "idle", STEPPING: "stepping", RESETTING: "resetting"}[doing]
        if doing in (LAUNCHING, IDLE):
            return f"{self.name} worker {w}", what, since
        return f"{self.name} worker {w} slot {slot:.0f}", what, since

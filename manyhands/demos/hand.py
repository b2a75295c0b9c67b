"""One collecting process as its parent sees it: it is given a job at a time, and is replaced when it dies or takes too long."""

import json
import os
import select
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ConfigError
from manyhands.children import start_python
from simulators.hooks import surroundings
from simulators.process import FOLDER

LAUNCH_S = 300.0
"""longest that a process may take to make its simulator"""
LEAVE_S = 3.0
"""longest that a process may take to close its simulator"""
LAST_WORDS = 300
"""characters of a dead process's output that are told"""


class Job(NamedTuple):
    """One demonstration."""

    task: str
    variation: int
    path: Path
    tries: int = 1


class Hand:
    """Does one job at a time. Make it, ``take``, ``wait``, ``let_go``, and so on; at the end ``leave`` and ``close``.

    Args:
        seed, options: of the simulator.
        replay: keyframes are played, too.
        timeout_s: longest that a job may take.
        log: takes what the process prints.
    """

    def __init__(self, seed: int, options: Mapping[str, Any], replay: bool, timeout_s: float, log: Path) -> None:
        self.order = {"seed": seed, "options": dict(options), "replay": replay, "parent": os.getpid()}
        self.timeout_s, self.log = timeout_s, log
        self.job: Job | None = None
        self.failure: str | None = None
        """why the job failed; empty: it did not; None: it goes on"""
        self.task, self.deadline, self.heard = "", 0.0, b""
        self.since = 0.0
        """when what the process is at began: making its simulator, or where it was ``asked`` the demonstration"""
        self.folder = ""
        """in which the process works, where it has one of its own"""
        self.process: subprocess.Popen | None = None
        self.asked = self.leaving = False
        """the process has its simulator, and the job; it is to go"""

    def take(self, job: Job) -> None:
        """Begins a job, in a new process where the last one is gone or has the simulator of another task."""
        if self.task != job.task:
            self.leave()
            self.close()
        self.job, self.failure = job, None
        if self.process is not None:
            self._ask()
            return
        self.task, self.heard, self.since = job.task, b"", time.monotonic()
        self.deadline = self.since + LAUNCH_S
        around = surroundings([job.task])
        self.folder = tempfile.mkdtemp(prefix=FOLDER) if around.own_folder else ""
        kept = {"stdout": subprocess.PIPE, "keep_open": True, "guarded": around.guarded, "folder": self.folder}
        self.process = start_python("manyhands.demos.collector", {**self.order, "task": job.task}, self.log, around.env, **kept)

    def hear(self) -> None:
        """Takes in what the process has said. Call it when there is something, or its end.

        Raises:
            ConfigError: it cannot make its simulator, and no other one could.
        """
        assert self.process is not None and self.process.stdout is not None
        said = os.read(self.process.stdout.fileno(), 65536)
        if not said:
            self._lost("died" + self._end())
            return
        *lines, self.heard = (self.heard + said).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "fatal" in answer:
                raise ConfigError(answer["fatal"])
            if "ready" in answer:
                self._ask()
            else:
                self.failure = answer.get("failed", "")

    def look_at_the_clock(self) -> None:
        """Ends a process that takes too long."""
        if self.job and self.failure is None and time.monotonic() > self.deadline:
            self._lost(f"took longer than {LAUNCH_S if not self.asked else self.timeout_s:g} s")

    def let_go(self) -> tuple[Job, str]:
        """The job that ended, and why it failed; empty where it did not."""
        job, failure = self.job, self.failure
        assert job is not None and failure is not None
        self.job = None
        return job, failure

    def leave(self) -> None:
        """Asks a process that has nothing to do to close its simulator; ``close`` then waits a moment for its end."""
        if self.process is not None and self.process.stdin is not None and self.job is None:
            self.leaving = True
            with suppress(OSError):
                self.process.stdin.close()

    def close(self) -> None:
        """Ends the process with all that it started."""
        process, leaving, self.process, self.asked, self.leaving = self.process, self.leaving, None, False, False
        if process is None:
            return
        if leaving:
            ended = os.pidfd_open(process.pid)  # it is not waited for: its group keeps its number
            select.select([ended], [], [], LEAVE_S)
            os.close(ended)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.job:  # what it had begun to write
            for part in self.job.path.parent.glob(f".{self.job.path.name}.*"):
                part.unlink(missing_ok=True)

    def _ask(self) -> None:
        assert self.process is not None and self.process.stdin is not None and self.job is not None
        self.asked, self.since = True, time.monotonic()
        self.deadline = self.since + self.timeout_s
        with suppress(BrokenPipeError):  # it died; its end will tell
            self.process.stdin.write(json.dumps({"variation": self.job.variation, "path": str(self.job.path.absolute())}).encode() + b"\n")
            self.process.stdin.flush()

    def _lost(self, what: str) -> None:
        assert self.job is not None
        self.close()
        self.failure = f"the process that demonstrated {self.job.task} in variation {self.job.variation} {what}"

    def _end(self) -> str:
        """How the process ended, and its last words."""
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)
        code, words = self.process.returncode, self.log.read_bytes()[-LAST_WORDS:].decode(errors="replace").strip().splitlines()
        how = f" with exit code {code}" if code is None or code >= 0 else f", killed by {signal.Signals(-code).name}"
        return how + (f": {words[-1]}" if words else "")


def wait(hands: Sequence[Hand], seconds: float) -> list[Hand]:
    """Those whose jobs have ended; waits for the first of them, at most so many seconds or until the next deadline."""
    busy = [hand for hand in hands if hand.job and hand.failure is None]
    with selectors.DefaultSelector() as selector:
        for hand in busy:
            assert hand.process is not None and hand.process.stdout is not None
            selector.register(hand.process.stdout, selectors.EVENT_READ, hand)
        soonest = min((hand.deadline for hand in busy), default=0.0) - time.monotonic()
        for key, _ in selector.select(max(0.0, min(seconds, soonest))):
            key.data.hear()
    for hand in busy:
        hand.look_at_the_clock()
    return [hand for hand in hands if hand.job and hand.failure is not None]

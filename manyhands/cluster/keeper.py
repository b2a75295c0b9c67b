"""Keeps one run alive: its driver is a child process, which is started again from the newest checkpoint whenever it dies.

Plain Python: on a cluster it lives in a small Ray actor (``manyhands.backends.ray_cluster``), which Ray makes anew when its node dies.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

KILLED_WITH = {-number: number.name for number in signal.Signals}


class Kept(Protocol):
    """What a Keeper has to know of its run; ``run_folder.RunFolder`` is one."""

    def over(self) -> bool:
        """There is nothing to go on with."""
        ...

    def progress(self) -> int:
        """How far it was saved; more is further."""
        ...

    def end(self, status: str, reason: str) -> None:
        """Enters how it ended, where its driver could not."""
        ...

    def note(self, facts: Mapping[str, Any]) -> None:
        """Leaves ``facts`` for the next Keeper of the run."""
        ...

    def noted(self) -> dict[str, Any]:
        """What the last Keeper left."""
        ...


class Limits(NamedTuple):
    """When a Keeper tries again, and when no more."""

    first_s: float = 1.0
    """before the first restart; twice as long before each further one without progress"""
    longest_s: float = 60.0
    restarts: int = 8
    """in a row without a newer checkpoint: then it gives up"""
    stop_s: float = 600.0
    """that a driver has to save and end after it was asked to; then it is killed"""


LIMITS = Limits()


class Keeper:
    """``keep`` runs in one thread to the end of the run; the other methods may be called from others.

    Args:
        command: starts or resumes the driver; the same whatever ended the last one.
        log: takes what the driver prints.
        env: added to this process's environment for the driver.
    """

    def __init__(
        self, command: Sequence[str], log: Path, kept: Kept, env: Mapping[str, str] | None = None, limits: Limits = LIMITS
    ) -> None:
        self.command, self.log, self.kept, self.env, self.limits = list(command), log, kept, dict(env or {}), limits
        self.state = "starting"
        """starting, running, waiting (to start again), stopping, ended"""
        self.reason = ""
        """why the last driver ended"""
        self.restarts = int(kept.noted().get("restarts", -1)) + 1
        """of the driver, since the run was handed to the cluster; a Keeper that begins on another node adds one"""
        self.process: subprocess.Popen | None = None
        self._stop, self._ended, self._lock = threading.Event(), threading.Event(), threading.Lock()

    def keep(self) -> None:
        """Starts the driver, waits for its end, starts it again; until the run is over, stopped, or stuck."""
        try:
            self._keep()
        finally:
            self.state = "ended"
            self._ended.set()

    def _keep(self) -> None:
        failures, reached = 0, self.kept.progress()
        self._note()
        while not self._stop.is_set() and not self.kept.over():
            code = self._drive()
            if self._stop.is_set() or self.kept.over():
                break
            self.restarts += 1
            now = self.kept.progress()
            failures, reached = (1 if now > reached else failures + 1), now
            self.reason = _in_words(code)
            self._note()
            if failures > self.limits.restarts:
                said = f"given up after {failures} ends in a row without a newer checkpoint; the last: {self.reason}. See its log: driver"
                self.reason = said
                self.kept.end("failed", said)
                return
            self.state = "waiting"
            self._stop.wait(min(self.limits.first_s * 2 ** (failures - 1), self.limits.longest_s))
        if self._stop.is_set():
            self.kept.end("stopped", "stopped")

    def _note(self) -> None:
        self.kept.note({"restarts": self.restarts, "reason": self.reason, "time": time.time()})

    def _drive(self) -> int:
        """One life of the driver. Returns its exit status; 0 where it was not started any more."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.log.open("ab") as log:
            if self._stop.is_set():
                return 0
            # A session of its own: nothing that is sent to this process's group reaches it.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env}, start_new_session=True
            )
            self.state = "running"
        return self.process.wait()

    def stop(self) -> bool:
        """Asks the driver to save and end, and waits for that. Returns whether it did so in time; otherwise it was killed."""
        with self._lock:
            asked, process = self._stop.is_set(), self.process
            self._stop.set()
            self.state = "stopping"
            if process is not None and process.poll() is None and not asked:  # a second signal would end it without saving
                process.send_signal(signal.SIGTERM)
        if self._ended.wait(self.limits.stop_s):
            return True
        if process is not None:
            process.kill()
        self._ended.wait()
        return False

    def status(self) -> dict[str, Any]:
        process = self.process
        alive = process is not None and process.poll() is None
        return {"state": self.state, "restarts": self.restarts, "reason": self.reason, "pid": process.pid if process and alive else None}


def _in_words(code: int) -> str:
    return f"killed by {KILLED_WITH.get(code, -code)}" if code < 0 else f"ended with code {code}"

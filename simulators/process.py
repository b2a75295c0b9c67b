"""One worker process as the pool sees it: start, speak, find out why it died, kill with everything it started."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import core.errors

_ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the package ``simulators``, checkout or site-packages."""
_THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""Workers are the parallelism: libraries inside them must not start threads of their own."""
_TAIL_BYTES = 4096


class Process:
    """A slot for one worker process; ``start`` may be called again after ``kill``.

    Args:
        order: what ``simulators.worker`` is told, all but its end of the socket.
        memory: file descriptor of the shared memory.
        log: where its output goes; None is a temporary file.
    """

    def __init__(self, order: Mapping[str, Any], memory: int, log: Path | None) -> None:
        self.order, self.memory = order, memory
        self.log = tempfile.TemporaryFile("a+b") if log is None else log.open("a+b")  # noqa: SIM115 - lives as long as the pool
        self.strikes = 0
        """failures since it last completed a step"""
        self.sent_at = 0.0
        self._child: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts the process; the first line it sends is the spec or an error."""
        self.line, theirs = socket.socketpair()
        self._log_start = os.fstat(self.log.fileno()).st_size
        order = json.dumps({**self.order, "socket": theirs.fileno(), "memory": self.memory, "parent": os.getpid()}).encode()
        told = os.memfd_create("order")  # an argument of a command is limited to 128 kB
        os.write(told, order)
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "simulators.worker", str(told), *_shown(self.order)],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env={**os.environ, **_THREADS, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                pass_fds=(theirs.fileno(), self.memory, told),
                start_new_session=True,
            )
        os.close(told)
        self.sent_at = time.monotonic()

    def send(self, command: bytes) -> None:
        """One command. A dead worker is not noticed here but where its answer is awaited."""
        self.sent_at = time.monotonic()
        try:  # suppress() takes as long as the system call
            self.line.send(command)
        except (BrokenPipeError, ConnectionResetError):
            return

    def hear(self) -> bytes:
        """Its answer so far, at least one byte; empty when it died."""
        try:
            return self.line.recv(65536)
        except ConnectionResetError:
            return b""

    def kill(self) -> str:
        """Ends the process and all of its group at once. Returns why it had ended, if it had by itself: exit code and last words."""
        child, self._child = self._child, None
        if child is None:
            return ""
        self.line.close()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        words = self.tail(1).strip()
        return _how(child.wait()) + (f": {words}" if words else "")

    def wait_gone(self, seconds: float = 2.0) -> None:
        """Gives a process that has hung up the time to get its own exit code."""
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)

    def leave(self) -> None:
        """Asks it to close its simulators and go; follow with ``wait_gone`` and ``kill``."""
        if self._child is not None:
            with suppress(OSError):
                self.line.shutdown(socket.SHUT_WR)

    def tail(self, lines: int = 20) -> str:
        """The last lines it wrote since it was started."""
        size = os.fstat(self.log.fileno()).st_size
        begin = max(self._log_start, size - _TAIL_BYTES)
        text = os.pread(self.log.fileno(), size - begin, begin).decode(errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:])


def _shown(order: Mapping[str, Any]) -> list[str]:
    """For whoever looks at the list of processes; the worker does not read it."""
    names, seeds = list(dict.fromkeys(order["names"])), order["seeds"]
    return [", ".join(names[:3]) + ", ..." * (len(names) > 3), "seeds " + " ".join(map(str, seeds[:8])) + " ..." * (len(seeds) > 8)]


def cores(rank: int, workers: int) -> list[int]:
    """One core for each worker of the pool of this rank (the actor's number), in turn over the cores this process may use."""
    mine = sorted(os.sched_getaffinity(0))
    return [mine[(rank * workers + w) % len(mine)] for w in range(workers)]


def read_spec_line(line: bytes) -> dict[str, Any]:
    """The first line of a worker.

    Raises:
        ConfigError, MissingExtra: what making the simulators raised in the worker.
    """
    tree = json.loads(line)
    if "error" in tree:
        raise getattr(core.errors, tree["error"])(tree["message"])
    return tree


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

"""One worker process as the pool sees it: start, speak, find out why it died, kill with everything it started."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

import core.errors
from simulators.guard import command
from simulators.hooks import Surroundings

_ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the package ``simulators``, checkout or site-packages."""
_THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""Workers are the parallelism: libraries inside them must not start threads of their own."""
_TAIL_BYTES = 4096
FOLDER = "manyhands-simulator-"
"""how working folders are called, among the temporary files"""


class Process:
    """A slot for one worker process; ``start`` may be called again after ``kill``.

    Args:
        order: what ``simulators.worker`` is told, all but its end of the socket.
        memory: file descriptor of the shared memory.
        log: where its output goes; None is a temporary file.
        around: its environment, and whether it is guarded and has a folder of its own.
    """

    def __init__(self, order: Mapping[str, Any], memory: int, log: Path | None, around: Surroundings) -> None:
        self.order, self.memory, self.around = order, memory, around
        self.log = tempfile.TemporaryFile("a+b") if log is None else log.open("a+b")  # noqa: SIM115 - lives as long as the pool
        self.sent_at = 0.0
        """when it was last asked for something, or last said that it goes on"""
        self._child: subprocess.Popen | None = None
        self._folder = ""

    def start(self) -> None:
        """Starts the process; the first line it sends is the spec or an error."""
        self.line, theirs = socket.socketpair()
        self._log_start = os.fstat(self.log.fileno()).st_size
        order = json.dumps({**self.order, "socket": theirs.fileno(), "memory": self.memory, "parent": os.getpid()}).encode()
        told = os.memfd_create("order")  # an argument of a command is limited to 128 kB
        os.write(told, order)
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._folder = tempfile.mkdtemp(prefix=FOLDER) if self.around.own_folder else ""
        own = {"TMPDIR": self._folder} if self._folder else {}  # what it forgets there goes with the folder
        with theirs:
            self._child = subprocess.Popen(
                [*command("simulators.worker", self.around.guarded, self._folder), str(told), *_shown(self.order)],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                cwd=self._folder or None,
                env={**os.environ, **_THREADS, **own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self.around.env},
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

    @property
    def running(self) -> bool:
        """Whether there is a process, dead or alive, that was not cleared away by ``kill``."""
        return self._child is not None

    @property
    def pid(self) -> int:
        """Of the process; 0 where there is none."""
        return 0 if self._child is None else self._child.pid

    def mb(self) -> float:
        """Resident memory of the process and all that it started, in MB."""
        try:
            me = psutil.Process(self.pid)
            family = [me, *(child for child in me.children(recursive=True) if os.getsid(child.pid) == self.pid or not _is_guard(child))]
            return sum(one.memory_info().rss for one in family) / 2**20
        except (psutil.Error, ProcessLookupError):  # one of them has just ended
            return 0.0

    def kill(self) -> str:
        """Ends the process and all of its group at once. Returns why it had ended, if it had by itself: exit code and last words."""
        child, self._child = self._child, None
        if child is None:
            return ""
        self.line.close()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        words, code = self.tail(1).strip(), child.wait()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        return _how(code) + (f": {words}" if words else "")

    def wait_gone(self, seconds: float = 2.0) -> None:
        """Gives a process that has hung up the time to get its own exit code. It stays a zombie, so that its group keeps its number."""
        if self._child is None:
            return
        with suppress(ProcessLookupError):  # someone else has waited for it
            ended, poll = os.pidfd_open(self._child.pid), select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll(1000 * seconds)
            os.close(ended)

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


def _is_guard(process: psutil.Process) -> bool:
    """Its pages are those of the process that it guards."""
    return "simulators.guard" in process.cmdline()


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

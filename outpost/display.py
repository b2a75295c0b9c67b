"""An X display of this process's own, where none is given: CoppeliaSim draws by GLX even without a window.

Xvfb stays in the process group, so that whoever kills the group ends it too, and the kernel ends it when the process that began it dies.
Only who can read a cookie of this process's own may look at it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from typing import IO

from outpost import Failed

SCREEN = "1280x1024x24"
START_S = 30.0
"""longest that it may take to say which display it is"""
LEAVE_S = 5.0
_PR_SET_PDEATHSIG = 1
_ANY_FAMILY = 0xFFFF

_kept: Display | None = None


class Display:
    """Xvfb, from the making to ``close``; meanwhile DISPLAY names it.

    Raises:
        Failed: it is not installed, or does not start.
    """

    def __init__(self) -> None:
        self.name, self.owner = "", os.getpid()
        program = shutil.which("Xvfb")
        if program is None:
            raise Failed("RLBench draws on an X display, DISPLAY names none, and Xvfb is not installed. Install it: apt install xvfb")
        self._cookie = _cookie()
        with tempfile.TemporaryFile() as words:
            self.process, line = _start(program, self._cookie, words)
            try:
                self.name = ":" + _number(line)
            except Failed as failure:
                self.close()
                words.seek(0)
                said = words.read().decode(errors="replace").strip().splitlines()
                raise Failed(failure.message + (f": {said[-1]}" if said else ""), retryable=True) from None
            finally:
                os.close(line)
        self._before = os.environ.get("XAUTHORITY")
        os.environ.update(DISPLAY=self.name, XAUTHORITY=self._cookie)

    def close(self) -> None:
        """Ends it. May be called twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.name and os.environ.get("DISPLAY") == self.name:
            del os.environ["DISPLAY"], os.environ["XAUTHORITY"]
            if self._before is not None:
                os.environ["XAUTHORITY"] = self._before
        self.forget()

    def forget(self) -> None:
        """Takes away its file, and leaves it to the kernel."""
        if os.getpid() == self.owner:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._cookie)


def private() -> Display | None:
    """A display of our own; None where the environment names one, which then is taken.

    Raises:
        Failed: as ``Display``.
    """
    return None if os.environ.get("DISPLAY") else Display()


def keep() -> None:
    """From here to the end of this process it has a display: one of its own where the environment names none.

    It outlives each simulator, as Qt ends a process whose display goes while it is still there: after a launch that failed halfway, or a
    shutdown that did.

    Raises:
        Failed: as ``Display``.
    """
    global _kept
    if _kept is not None and _kept.owner == os.getpid() and _kept.process.poll() is not None:  # someone ended it
        _kept.close()
        _kept = None
    if _kept is None and (made := private()):
        _kept = made
        atexit.register(made.forget)


def _start(program: str, cookie: str, words: IO[bytes]) -> tuple[subprocess.Popen, int]:
    """The process, and the descriptor on which it says its number. It finds a free one by itself: two never take the same."""
    reads, writes = os.pipe()
    libc, parent = ctypes.CDLL(None), os.getpid()

    def tied() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    drawing = ["-screen", "0", SCREEN, "-noreset", "+extension", "GLX", "+render"]
    command = [program, "-displayfd", str(writes), "-auth", cookie, "-nolisten", "tcp", *drawing]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            pass_fds=(writes,),
            preexec_fn=tied,  # noqa: PLW1509 - this process has one thread: CoppeliaSim starts its own later
        )
    finally:
        os.close(writes)
    return process, reads


def _cookie() -> str:
    """A file with a fresh one, as X keeps them: for any host and any number of a display, as ours is not known yet."""
    parts = [b"", b"", b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16)]
    descriptor, path = tempfile.mkstemp(prefix="manyhands-display-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(struct.pack(">H", _ANY_FAMILY) + b"".join(struct.pack(">H", len(part)) + part for part in parts))
    return path


def _number(line: int) -> str:
    """What is said on ``line`` up to the end of the line."""
    said, deadline = b"", time.monotonic() + START_S
    while not said.endswith(b"\n"):
        ready, _, _ = select.select([line], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise Failed(f"Xvfb did not say within {START_S:g} s which display it is")
        more = os.read(line, 64)
        if not more:
            raise Failed("Xvfb did not start")
        said += more
    return said.decode().strip()

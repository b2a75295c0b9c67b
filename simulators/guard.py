"""Runs a module so that it leaves nothing behind: ``python -m simulators.guard FOLDER MODULE ARGUMENTS``; FOLDER may be empty.

An exception ends the process at once, so that its last words are the exception: what an application does while Python ends, such as
CoppeliaSim's, may print, crash or hang.

A simulator may start processes of its own, such as a display, which nobody would end if it or its parent were killed. So the process is
forked once before anything is loaded: its twin waits outside of the process group for the end, however it comes, then kills what is
left of the group and removes the folder.
"""

import os
import runpy
import select
import shutil
import signal
import sys
import traceback
from contextlib import suppress


def command(module: str, guarded: bool, folder: str = "") -> list[str]:
    """How a Python of ours is started."""
    guard = ["-m", "simulators.guard", folder, module] if guarded else ["-m", module]
    return [sys.executable, "-P", *guard]


def main() -> None:
    """Becomes the module. The process must lead its group."""
    folder, module = sys.argv[1:3]
    watched = os.getpid()
    if os.fork() == 0:
        try:
            _watch(watched)
            with suppress(ProcessLookupError):
                os.killpg(watched, signal.SIGKILL)
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os._exit(0)
    sys.argv[:] = sys.argv[2:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(1)


def _watch(watched: int) -> None:
    """Waits for its end. Holds nothing open meanwhile: its parent learns from a closed line that it is gone."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    with suppress(ProcessLookupError):
        ended = os.pidfd_open(watched)
        if os.getppid() == watched:  # else it was dead before, and the number may be someone else's
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll()


if __name__ == "__main__":
    main()

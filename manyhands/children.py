"""Processes of our own modules as their parent sees them: how they are started, told their order, and how they ended."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import ManyhandsError
from manyhands.registry import Run as Row
from manyhands.stack import ADDRESS, KEY
from manyhands.stack_process import READY
from simulators.guard import command

_ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds our packages, checkout or site-packages."""
FOLDER = "manyhands-stack-"
CLOSE_S = 10.0
"""seconds that a stack has to end after its last seed"""
_INTERRUPTED = 130


def start_python(
    module: str, order: Mapping[str, Any], log: Path, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """``python -m module`` with the order as one line of stdin, its output in ``log``, in a session of its own: a Ctrl-C reaches it only
    through its parent. Options: ``stdout``, ``keep_open`` (stdin), ``guarded`` and ``folder``, see ``simulators.guard``.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    keep_open, folder = options.pop("keep_open", False), options.pop("folder", "")
    own = {"TMPDIR": folder} if folder else {}  # what it forgets there goes with the folder
    with log.open("ab") as output:
        process = subprocess.Popen(
            command(module, options.pop("guarded", False), folder),
            stdin=subprocess.PIPE,
            stdout=options.pop("stdout", output),
            stderr=output,
            cwd=folder or None,
            env={**os.environ, **own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died already; its end will tell
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        if not keep_open:
            process.stdin.close()
    return process


class StackProcess:
    """The process that has the learner of several seeds (``manyhands.stack_process``).

    Args:
        learner: settings of the learner for this process.
        log: takes what it prints.

    Raises:
        ManyhandsError: it did not start.
    """

    def __init__(self, seeds: Sequence[int], cores: Sequence[int], learner: Mapping[str, Any], env: Mapping[str, str], log: Path) -> None:
        self.folder = tempfile.mkdtemp(prefix=FOLDER)  # for this user only
        address, key = str(Path(self.folder, "socket")), secrets.token_hex(32)
        self.env = {ADDRESS: address, KEY: key}
        """for the runs of these seeds"""
        order = {"seeds": list(seeds), "cores": list(cores), "learner": dict(learner), "address": address, "key": key}
        self.process = start_python("manyhands.stack_process", order, log, env, stdout=subprocess.PIPE, keep_open=True)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != READY.encode():
            self.close()
            raise ManyhandsError(f"the process for the learner of seeds {', '.join(map(str, seeds))} did not start; its output is in {log}")

    def gone(self, seed: int) -> None:
        """The process of this seed has ended, whether it ever came or not."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(b"%d\n" % seed)
            self.process.stdin.flush()

    def close(self) -> None:
        """Waits for its end, which comes with that of its seeds."""
        try:
            self.process.communicate(timeout=CLOSE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


def exit_code(status: int) -> int:
    """As a shell tells it: 137 for a process that was killed by signal 9."""
    return status if status >= 0 else 128 - status


def describe_end(row: Row, code: int, target: float) -> str:
    """How a run ended, in words.

    Args:
        target: success that it was to reach; 0: none.
    """
    if row.status == "finished":
        if code == 0:
            return "reached the target" if target else "done"
        return f"did not reach the target of {target:.0%}"
    if row.status == "stopped":
        return f"stopped: {row.reason}" if row.reason != "stopped" else f"stopped and saved after {row.steps:,} env steps"
    if code > 128 and code != _INTERRUPTED:
        number = code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return f"killed by {name} after {row.steps:,} env steps"
    return f"{row.status}{': ' + row.reason if row.reason else ''}"

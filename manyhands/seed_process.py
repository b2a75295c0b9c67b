"""The process of one seed among several: bound to its cores and to its parent's life before torch is loaded, then an ordinary run."""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from manyhands.cli import answered

PR_SET_PDEATHSIG = 1


def main() -> int:
    """The order comes as JSON on stdin. Returns the exit code of the run."""
    order: dict[str, Any] = json.load(sys.stdin)
    end_with_parent(order["parent"])
    os.sched_setaffinity(0, order["cores"])
    os.environ.update(order["env"])
    from manyhands.session import begin

    return answered(lambda: begin(order["run"], Path(order["root"]), order["learner"]))


def end_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """The kernel sends this signal when the parent dies, however: with SIGTERM the run then stops and saves."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main())

"""The process that has the learner of a stack. Its socket is there before anything heavy is imported: the runs are started then."""

import json
import os
import shutil
import signal
import sys
import threading
from multiprocessing.connection import Listener
from typing import IO

from manyhands.stack import Join, Learner, Stack

READY = "ready\n"
SPARE_CALLERS = 8


def main(control: IO[str], ready: IO[str]) -> None:
    """``control``: the order as one line of JSON, then a line with each seed that has ended; its end is the parent's end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the runs' to handle: they need this process to save, and it ends with them
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(control.readline())
    os.sched_setaffinity(0, order["cores"])
    with Listener(order["address"], "AF_UNIX", len(order["seeds"]) + SPARE_CALLERS, bytes.fromhex(order["key"])) as listener:
        ready.write(READY)
        ready.flush()

        def make(joined: list[Join]) -> Learner:
            from manyhands.stack_learner import make

            return make(joined, order["learner"])

        stack = Stack(listener, order["seeds"], make)
        threading.Thread(target=_listen, args=(control, stack), daemon=True, name="control").start()
        stack.serve()
    shutil.rmtree(os.path.dirname(order["address"]), ignore_errors=True)


def _listen(control: IO[str], stack: Stack) -> None:
    for line in control:
        stack.gone([int(line)])
    # The parent is gone: who has not come will not. Who has come still needs the learner, to save.
    stack.gone([seed for seed in stack.seeds if seed not in stack.joined])


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)

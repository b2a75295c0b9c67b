"""A death at one point of a piece of code, as good as SIGKILL for what lies in shared memory and in files."""

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill_at(point: int, action: Callable[[], Any], *, lines_of: Collection[str] = ()) -> bool:
    """Runs ``action`` and drops it at that bytecode instruction. Returns whether it was still running then.

    Args:
        lines_of: names of files; only their lines are counted, instead of all instructions.
    """
    left, counted = point, "line" if lines_of else "opcode"

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if lines_of and Path(frame.f_code.co_filename).name not in lines_of:
            return None
        frame.f_trace_opcodes = not lines_of
        if event == counted:
            left -= 1
            if left < 0:
                raise Killed
        return trace

    sys.settrace(trace)
    try:
        action()
    except Killed:
        return True
    finally:
        sys.settrace(None)
    return False

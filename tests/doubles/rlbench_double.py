"""What the doubles of PyRep and RLBench share: the script of what goes wrong, the record of what was done, and how misuse is refused.

The script is JSON in the environment variable RLBENCH_DOUBLE, so that child processes have it too:
  {"variant": "1.2", "faults": [{"at": "step", "nth": 3, "do": "hang"}], "reach": 1.1}
variant: "1.1" (enumerated action modes), "1.2", "ignoring" (1.2 with the fork's ninth number). reach: metres from the arm's base.
A fault happens at the nth (0, 1 ...) time that this process gets to: import, launch, task, reset, step, demo, observe, shutdown; with
"every" at each one from the nth on; with "variation" only in that one of RLBench; with "once": PATH only where that file is not there,
which it then makes. It does: hang, crash (a signal), exit (as Qt does where its display dies), or raises "NAME: message", NAME
of pyrep.errors, of rlbench's exceptions or of Python.
"""

from __future__ import annotations

import builtins
import collections
import importlib
import json
import os
import signal
import sys
import time

done: collections.Counter = collections.Counter()
"""how often this process did what: launch, reset, step, demo, picture, slow_picture, mask ..."""


class Misuse(BaseException):
    """The real one would have crashed or hung here. No ``except Exception`` hides it."""


class Strict:
    """Refuses attributes that its ``__init__`` does not set: the real one would take a slip of the pen and ignore it."""

    def __setattr__(self, name, value):
        if getattr(self, "_made", False) and name not in self.__dict__ and not hasattr(type(self), name):
            raise Misuse(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        init = cls.__init__

        def strictly(self, *args, **kwargs):
            init(self, *args, **kwargs)
            if type(self).__init__ is strictly:
                object.__setattr__(self, "_made", True)

        strictly.__wrapped__ = init
        cls.__init__ = strictly


def script():
    """The whole of it."""
    return json.loads(os.environ.get("RLBENCH_DOUBLE") or "{}")


def variant():
    """Which RLBench this is."""
    found = script().get("variant", "1.2")
    if found not in ("1.1", "1.2", "ignoring"):
        raise Misuse(f"no variant {found!r}")
    return found


def reached(at, variation=None):
    """Counts, and does what the script says for this time."""
    nth = done[at]
    done[at] += 1
    for fault in script().get("faults", ()):
        due = nth >= fault.get("nth", 0) if fault.get("every") else nth == fault.get("nth", 0)
        if fault["at"] != at or not due or fault.get("variation", variation) != variation:
            continue
        if "once" in fault:
            try:
                os.close(os.open(fault["once"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
        _do(fault["do"])


def _do(what):
    if what == "hang":
        while True:
            time.sleep(3600)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        sys.stderr.write("The X11 connection broke (error 1). Did the X11 server die?\n")
        sys.stderr.flush()
        os._exit(1)
    name, _, message = what.partition(": ")
    raise _exception(name)(message)


def _exception(name):
    for module in ("pyrep.errors", "rlbench.backend.exceptions", "rlbench.task_environment"):
        found = getattr(importlib.import_module(module), name, None)
        if found is not None:
            return found
    return getattr(builtins, name)

"""Which simulators this client can make, by the part of a task's name before the colon: those here, and modules that one names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from outpost import Failed, rlbench_tasks

_MADE = {
    "dummy": ("outpost.client_dummy", "make", ""),
    "rlbench": ("outpost.rlbench", "RLBench", "outpost.rlbench_places"),
}
"""simulator -> module, what makes one of (task, seed, **options), module whose ``environment()`` its process needs"""


MODULES = "MANYHANDS_CLIENT_MODULES"
"""environment variable with the names of further modules, commas in between: processes of simulators know them by it"""


def further(modules: str) -> None:
    """Modules of one's own that have a simulator: ``make(task, seed, **options)``; its name is the last part of the module's.

    Raises:
        Failed: there is no such module.
    """
    for module in filter(None, modules.split(",")):
        try:
            there = find_spec(module) is not None
        except (ImportError, ValueError):
            there = False
        if not there:
            raise Failed(f"there is no module {module} here; fix: PYTHONPATH, or the folder that the client is started in")
        _MADE[module.rpartition(".")[2]] = (module, "make", "")


def names() -> list[str]:
    """Those that can be made here, as far as one can tell."""
    return sorted(name for name in _MADE if name != "rlbench" or rlbench_tasks.installed())


def split(name: str) -> tuple[str, str]:
    """``rlbench:reach_target`` -> (``rlbench``, ``reach_target``).

    Raises:
        Failed: no such simulator.
    """
    simulator, _, task = name.partition(":")
    if simulator not in _MADE or not task:
        raise Failed("this client cannot make {!r}; it has: {}".format(name, ", ".join(names())))
    return simulator, task


def make(name: str, seed: int, options: Mapping[str, Any]) -> Any:
    """The simulator, in this process: ``reset(episode)``, ``step(action)``, ``close()``, see ``outpost.rlbench``. Its ``seed`` may be
    changed before a reset.

    Raises:
        Failed: it cannot be made.
    """
    simulator, task = split(name)
    module, maker, _ = _MADE[simulator]
    return getattr(import_module(module), maker)(task, seed, **options)


def environment(name: str) -> dict[str, str]:
    """Variables that its process must have from its start."""
    places = _MADE[split(name)[0]][2]
    return dict(import_module(places).environment()) if places else {}

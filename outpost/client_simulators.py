"""Which simulators this client can make, by the part of a task's name before the colon. A further one is a further line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from outpost import Failed

_MADE = {
    "dummy": ("outpost.client_dummy", "make", ""),
    "rlbench": ("outpost.rlbench", "RLBench", "outpost.rlbench_places"),
}
"""simulator -> module, what makes one of (task, seed, **options), module whose ``environment()`` its process needs"""


def names() -> list[str]:
    """All of them; that one can be made needs more than a name."""
    return sorted(_MADE)


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

"""What a simulator's module may say of itself beside ``make``: whoever starts processes for simulators asks here.

All of it is optional, by name, and loads no heavy package:

- ``environment() -> dict``: variables that a process with this simulator is started with, such as the path of a library.
- ``ONE_PER_PROCESS = True``: it is an application that takes a process to itself. That process is guarded (``simulators.guard``), and
  begins in an empty folder of its own, also for temporary files, which goes with it.
- ``OWN_FOLDER``: True or False: the latter of any simulator, or not of an application.
- ``spec(task, options) -> TaskSpec``: what ``make`` would say, without making it. ``options`` is the module's ``Options``, here and below.
- ``of_demos(options) -> dict``: of options as they are given, those that its demonstrations depend on and that are not as by default, each
  written in one way; else all that are not as by default count.
- ``megabytes(options) -> float``: resident memory of a process with one, about.
- ``missing() -> str``: what must be installed before it can be made here, in one line; empty: nothing.
- ``kind(options, variation) -> str``: which episodes are alike in what can go wrong, and are quarantined together; empty: none are.
- fields ``restart_episodes`` and ``restart_mb`` of its ``Options``: a process that has played so many episodes, or has with all it started
  grown to so many MB, is replaced when an episode ends. 0: never.
- property ``simulator`` of its ``Options``: those that its twin in ``outpost`` takes; by default all.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import simulators
from core.errors import MissingExtra
from core.types import TaskSpec


class Surroundings(NamedTuple):
    """What a process gets beside its order."""

    env: dict[str, str]
    guarded: bool
    """what it started is killed with it, whatever ended it"""
    own_folder: bool
    """it begins in an empty folder, removed after it"""


class Restarts(NamedTuple):
    """When a healthy process is replaced."""

    episodes: int
    mb: float


def surroundings(names: Iterable[str]) -> Surroundings:
    """Of a process that has these simulators.

    Raises:
        ManyhandsError: what ``environment`` found missing.
    """
    modules = {name: _module(name) for name in dict.fromkeys(name.partition(":")[0] for name in names)}
    env: dict[str, str] = {}
    for module in modules.values():
        env |= module.environment() if hasattr(module, "environment") else {}
    own_folder = any(getattr(module, "OWN_FOLDER", _alone(module)) for module in modules.values())
    return Surroundings(env, own_folder or any(_alone(module) for module in modules.values()), own_folder)


def processes(names: Iterable[str], options: Iterable[Mapping[str, Any]], wanted: int) -> int:
    """How many a pool of these simulators takes where ``wanted`` are asked for: one each, if one of them needs one for itself or may be
    replaced at the end of its episodes, when those of others are not at their end.
    """
    pairs = list(zip(names, options, strict=True))
    alone = any(_alone(_module(name)) or any(restarts(name, told)) for name, told in pairs)
    return len(pairs) if alone else wanted


def spec(name: str, options: Mapping[str, Any]) -> TaskSpec | None:
    """Of a task, without making it; None where its module cannot say."""
    module, (task, goal) = _module(name), simulators.split_goal(simulators.split(name)[1])
    return module.spec(task, module.Options(**options)) if hasattr(module, "spec") and goal is None else None


def of_demos(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """On which of these options demonstrations of a task depend."""
    module, other = _module(name), simulators.changed(name, options) if options else {}
    return module.of_demos(options) if other and hasattr(module, "of_demos") else other


def missing(name: str) -> str:
    """Why the simulator cannot be made here; empty where it can be, or its module does not say."""
    module = _module(name)
    return module.missing() if hasattr(module, "missing") else ""


def require(names: Iterable[str]) -> None:
    """Raises MissingExtra where the simulator of one of these tasks cannot be made here, before a process is started for it."""
    for one in dict.fromkeys(name.partition(":")[0] for name in names):
        if lacking := missing(one):
            raise MissingExtra(lacking)


def side_by_side(names: Iterable[str], wanted: int, processes: int) -> int:
    """How many simulators of each of these tasks play side by side, where nobody has said: ``wanted``; of those that need a process each
    only as many as ``processes`` come to, at least one.
    """
    tasks = list(dict.fromkeys(names))
    return min(wanted, max(1, processes // len(tasks))) if any(_alone(_module(name)) for name in tasks) else wanted


def megabytes(name: str, options: Mapping[str, Any]) -> float:
    """Resident memory of a process with one simulator, about; 0 where its module does not say."""
    module = _module(name)
    return float(module.megabytes(module.Options(**options))) if hasattr(module, "megabytes") else 0.0


def kind(name: str, options: Mapping[str, Any], variation: int) -> str:
    """Of an episode; empty where nothing is quarantined."""
    module = _module(name)
    return str(module.kind(module.Options(**options), variation)) if hasattr(module, "kind") else ""


def restarts(name: str, options: Mapping[str, Any]) -> Restarts:
    """Of a simulator with these options."""
    made = _module(name).Options(**options)
    return Restarts(getattr(made, "restart_episodes", 0), getattr(made, "restart_mb", 0.0))


def elsewhere(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of these options those of a simulator that a client outside of the cluster makes: without what a pool does for it."""
    return dict(getattr(_module(name).Options(**options), "simulator", options))


def _alone(module: ModuleType) -> bool:
    return getattr(module, "ONE_PER_PROCESS", False)


def _module(name: str) -> ModuleType:
    return import_module(f"simulators.{name.partition(':')[0]}")

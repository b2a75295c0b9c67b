"""Where transitions come from: finds a simulator by name, checks its options without loading it, makes it.

``metaworld:reach-v3`` is task ``reach-v3`` of the module ``simulators.metaworld``. Adding a simulator is adding one module with
``tasks()``, a frozen dataclass ``Options`` and ``make(task, seed, **options)``; there is no list to extend. The module itself may
import only light packages; the heavy one is imported in ``make``.

``metaworld:reach-v3@7`` is that task with goal 7 only, counted from 0: what meta-RL calls a task, with a name, and so a replay, of its own.
A module that has such goals says how many with ``named_goals(options)``, and its ``make`` takes the number as ``goal``.

A simulator that crashes, hangs, leaks, or is an application of its own may say more, each by one name in its module: ``environment``,
``ONE_PER_PROCESS``, ``OWN_FOLDER``, ``spec``, ``kind``, and ``restart_episodes`` and ``restart_mb`` among its options. ``simulators.hooks``
has them all. What it starts itself should stay in its process group: then it dies with it.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from core.contracts import Block, BlockArrays, Simulator
from core.errors import ConfigError, unknown
from simulators._options import field_names

_MACHINERY = {"crew", "guard", "hooks", "ledger", "memory", "pool", "process", "step", "worker"}
"""Modules of this folder that are not simulators; those whose name begins with an underscore are not either."""


def names() -> tuple[str, ...]:
    """All simulators, sorted."""
    found = (module.name for module in iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_") and name not in _MACHINERY))


def tasks_of(simulator: str) -> tuple[str, ...]:
    """All its tasks, by their names behind the colon; none where it lists none.

    Raises:
        ConfigError: the simulator is unknown.
    """
    if simulator not in names():
        raise unknown("simulator", simulator, names())
    return tuple(_module(simulator).tasks())


def split(name: str) -> tuple[str, str]:
    """``metaworld:reach-v3`` -> (``metaworld``, ``reach-v3``); what names a goal stays with the task.

    Raises:
        ConfigError: the simulator is unknown, or the name has no task.
    """
    simulator, _, task = name.partition(":")
    if simulator not in names():
        raise unknown("simulator", simulator, names())
    if not task:
        some = _module(simulator).tasks()[:3]
        raise ConfigError(f"{name!r} names no task. Write simulator:task, for example {simulator}:{some[0] if some else 'Pendulum-v1'}")
    return simulator, task


def split_goal(task: str) -> tuple[str, str | None]:
    """``reach-v3@7`` -> (``reach-v3``, ``7``), as it is written; None where no goal is named."""
    task, at, goal = task.partition("@")
    return task, goal if at else None


def check(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Raises ConfigError for an unknown simulator, task, goal or option, or an impossible value. Loads no heavy package."""
    simulator, task = split(name)
    module, (task, goal) = _module(simulator), split_goal(task)
    known = module.tasks()
    if known and task not in known:
        raise unknown(f"task of simulator {simulator}", task, known)
    for option in options or {}:
        if option not in field_names(module.Options):
            raise unknown(f"option of simulator {simulator}", str(option), field_names(module.Options))
    made = module.Options(**(options or {}))
    if goal is not None:
        _check_goal(name, goal, module.named_goals(made) if hasattr(module, "named_goals") else None)


def _check_goal(name: str, goal: str, count: int | None) -> None:
    """``count`` is how many goals can be named; None where the simulator has no such thing."""
    if count is None:
        having = ", ".join(each for each in names() if hasattr(_module(each), "named_goals"))
        raise ConfigError(f"{name!r} names a goal with '@', but this simulator has none to name. Allowed: no '@', or one of: {having}")
    if not count:
        raise ConfigError(f"{name!r} names a goal, but with these options every episode has a fresh one. Set goals")
    # One way to write a number: each name is one task.
    if goal not in {str(number) for number in range(count)}:
        raise ConfigError(f"{name!r} names goal {goal!r}. Allowed with these options: 0 to {count - 1}")


def named_goals(name: str, options: Mapping[str, Any]) -> int:
    """How many goals of a task can be named with these options; 0 where the simulator names none."""
    module = _module(split(name)[0])
    return module.named_goals(module.Options(**options)) if hasattr(module, "named_goals") else 0


def changed(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that are not as by default.

    Raises:
        ConfigError: as ``check``.
    """
    check(name, options)
    usual = _module(split(name)[0]).Options()
    return {option: value for option, value in options.items() if value != getattr(usual, option)}


def make(name: str, seed: int, **options: Any) -> Simulator:
    """The simulator, in this process.

    Raises:
        ConfigError: as ``check``, or a negative seed.
        MissingExtra: the package behind the simulator is not installed.
    """
    check(name, options)
    if seed < 0:
        raise ConfigError(f"simulator seed {seed} of {name} is negative. Allowed: 0 and up")
    simulator, task = split(name)
    task, goal = split_goal(task)
    if goal is not None:
        return _module(simulator).make(task, seed, goal=int(goal), **options)
    return _module(simulator).make(task, seed, **options)


def block(names: Sequence[str], made: Sequence[Simulator], arrays: BlockArrays) -> Block | None:
    """What steps these simulators with one call, where their module offers it."""
    modules = {split(name)[0] for name in names}
    offer = getattr(_module(modules.pop()), "block", None) if len(modules) == 1 else None
    return offer(made, arrays) if offer else None


def _module(simulator: str) -> ModuleType:
    return import_module(f"simulators.{simulator}")

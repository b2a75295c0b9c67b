"""Layer 1: what learns, one file per algorithm, found by name.

A module here has a frozen ``Config`` and ``make(config, spec, tasks, simulators) -> Algorithm``; nothing else has to be edited to add one.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from core.errors import unknown


def names() -> tuple[str, ...]:
    """All algorithms, sorted."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.name != "lib"))


def find(name: str) -> ModuleType:
    """The module of an algorithm.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise unknown("algorithm", name, names())
    return import_module(f"algos.{name}")

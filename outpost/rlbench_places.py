"""Where CoppeliaSim is, and the environment variables that a process needs before it starts to load it."""

from __future__ import annotations

import os
from pathlib import Path

_LIBRARY = "libcoppeliaSim.so"
_PARENTS = ("~", "~/.local", "~/.local/share", "/opt", "/usr/local", "/usr/local/share", "/usr/share")
"""where people unpack it"""
_SCENE_VERSION = "4_1"
"""PyRep is made for CoppeliaSim 4.1: where several lie side by side, that one"""


def find_root() -> Path | None:
    """The folder of CoppeliaSim: what COPPELIASIM_ROOT says, else one in a usual place, named CoppeliaSim...; None: there is none."""
    told = os.environ.get("COPPELIASIM_ROOT")
    if told:
        return Path(told).expanduser()
    found = [root for parent in _PARENTS for root in sorted(Path(parent).expanduser().glob("[Cc]oppelia[Ss]im*")) if is_root(root)]
    return min(found, key=lambda root: _SCENE_VERSION not in root.name, default=None)


def is_root(folder: Path) -> bool:
    """Whether CoppeliaSim lies there."""
    return any(folder.glob(f"{_LIBRARY}*"))


def environment(root: str | None = None) -> dict[str, str]:
    """What a process that is to load CoppeliaSim must be started with, beside what it inherits. Nothing where there is no CoppeliaSim.

    The dynamic linker reads LD_LIBRARY_PATH when a process starts: to set it later does not help. It may start in another folder.
    """
    found = find_root() if root is None else Path(root)
    if found is None:
        return {}
    folder = found.absolute()
    libraries = [str(folder)] + [part for part in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if part not in ("", str(folder))]
    return {
        "COPPELIASIM_ROOT": str(folder),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "QT_QPA_PLATFORM_PLUGIN_PATH": str(folder),
    }


def missing() -> str:
    """What this process was not started with, as one line with the fix; empty where it lacks nothing."""
    root = os.environ.get("COPPELIASIM_ROOT", "")
    if not root:
        return "COPPELIASIM_ROOT is not set. Unpack CoppeliaSim 4.1 and set it to that folder: docs/rlbench.md"
    if not is_root(Path(root)):
        return f"COPPELIASIM_ROOT is {root}, where no {_LIBRARY} is. Set it to the folder of CoppeliaSim 4.1"
    for name in ("LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"):
        if os.path.realpath(root) not in map(os.path.realpath, filter(None, os.environ.get(name, "").split(os.pathsep))):
            return f"{name} does not name {root}. Start the process with it: export {name}={root}"
    return ""


def complete() -> None:
    """Sets, in this process, what does not need to be set before it starts: where CoppeliaSim is, and where Qt finds its plugins there.

    Without the latter Qt would end the process.
    """
    made = environment()
    for name in ("COPPELIASIM_ROOT", "QT_QPA_PLATFORM_PLUGIN_PATH"):
        if name in made:
            os.environ.setdefault(name, made[name])

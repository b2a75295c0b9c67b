"""Where demonstrations are kept, ``<folder>/<simulator>/<task>/000.demo``, and who needs them finds them; what is missing is collected."""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from core.demofile import read_head
from core.errors import DemoError
from simulators import hooks

if TYPE_CHECKING:
    from manyhands.demos.collect import State

ENDING = ".demo"
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def home(runs: Path) -> Path:
    """The folder of all demonstrations, beside the runs in their folder."""
    return runs / "demos"


def folder_of(folder: Path, task: str, options: Mapping[str, Any] = NO_OPTIONS) -> Path:
    """Where the demonstrations of a task are. Other options of its simulator have a folder of their own, told apart by a hash.

    Args:
        task: ``blocks:touch``.
        options: of the simulator; those that are as by default make no difference.
    """
    simulator, _, name = task.partition(":")
    if other := hooks.of_demos(task, options):
        name += "-" + hashlib.sha256(json.dumps(other, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return folder / simulator / name


def path_of(folder: Path, number: int) -> Path:
    """The file of a demonstration in the folder of its task."""
    return folder / f"{number:03d}{ENDING}"


def find(folder: Path, task: str, count: int, options: Mapping[str, Any] = NO_OPTIONS) -> list[Path]:
    """The demonstrations of a task, those with the smallest numbers, at most ``count``; fewer where there are not as many.

    Raises:
        DemoError: a file is not a demonstration, or of another task.
    """
    there = folder_of(folder, task, options)
    numbered = {int(path.stem): path for path in there.glob(f"*{ENDING}") if path.stem.isdecimal()}
    found = [numbered[number] for number in sorted(numbered)[:count]]
    for path in found:
        if (told := read_head(path).task) != task:
            raise DemoError(f"{path} is a demonstration of {told}, in the folder of {task}. Fix: move it to {folder_of(folder, told)}")
    return found


def ensure(
    task: str,
    count: int,
    options: Mapping[str, Any],
    folder: Path,
    seed: int,
    show: Callable[["State"], None] | None = None,
    **collecting: Any,
) -> list[Path]:
    """``count`` demonstrations of a task: those there are, of whatever seed, and what is missing collected now.

    Args:
        options: of the simulator.
        seed: of the simulator that demonstrates what is missing.
        show: as of ``manyhands.demos.collect.collect``.
        collecting: settings of ``manyhands.demos.collect.Plan``, such as ``processes``.

    Raises:
        DemoError: some could not be collected; what could is kept.
        ConfigError: the simulator or its options are unknown, or it has no expert.
    """
    from manyhands.demos.collect import Plan, collect, silent

    if len(find(folder, task, count, options)) < count:
        with _alone_in(folder):  # of several runs that begin at once one collects
            collect(Plan((task,), count, folder, dict(options), seed, **collecting), show or silent)
    return find(folder, task, count, options)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process is here. The lock ends with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".collecting").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

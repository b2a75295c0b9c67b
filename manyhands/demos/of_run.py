"""The demonstrations that a run learns from: found or collected before it begins, then kept in its own folder for every resume."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from core.abilities import Encoding
from core.demofile import read
from core.demos import Demo, check
from core.errors import ConfigError, DemoError
from core.types import Stream
from manyhands.config import RunConfig
from manyhands.demos import store
from manyhands.demos.progress import ProgressLine

if TYPE_CHECKING:
    from rich.console import Console

    from core.types import TaskSpec

FOLDER = "demos"
"""below the run's, then the number of the task"""


def check_use(config: RunConfig, spec: "TaskSpec") -> None:
    """Raises ConfigError where demonstrations are asked for that nobody would learn from."""
    from manyhands import build

    made = build.algorithm(config, spec)
    if config.replay.head_start and isinstance(made.plan, Stream) and made.plan.context:
        head = f"replay.head_start is {config.replay.head_start}, but this algorithm needs what its policy did of every task"
        raise ConfigError(f"{head}, which is nothing before the first env step. Allowed: 0")
    if config.demos.wanted and not isinstance(made, Encoding):
        count = max(config.demos.of_tasks(len(config.tasks)))
        raise ConfigError(f"demos.count is {count}, but {config.algorithm} does not learn from demonstrations. Allowed: 0")


def gather(config: RunConfig, root: Path, console: "Console") -> list[list[Path]]:
    """Files of each task; those that are not there yet are collected now.

    Raises:
        ConfigError, DemoError: there are none, and none can be made.
    """
    if not config.demos.wanted:
        return []
    wanted = zip(config.tasks, config.demos.of_tasks(len(config.tasks)), strict=True)
    return [of_task(config, task, count, root, console) for task, count in wanted]


def of_task(config: RunConfig, task: str, count: int, root: Path, console: "Console") -> list[Path]:
    """``count`` files of a task of the run's simulator, be it one of the run's or not; what is missing is collected now.

    Raises:
        ConfigError, DemoError: as ``gather``.
    """
    folder, options = Path(config.demos.folder or store.home(root)), config.simulator_options
    have = len(store.find(folder, task, count, options))
    if have < count:
        console.print(f"[dim]collecting {count - have} demonstrations of {task} ...[/dim]")
    processes = len(os.sched_getaffinity(0))
    with ProgressLine(None if console.quiet else console.file) as line:
        return store.ensure(task, count, options, folder, config.demos.seed, line.show, processes=processes)


def keep(found: list[list[Path]], folder: Path) -> None:
    """Copies them into the run's folder, by links where the disk has them."""
    for task, paths in enumerate(found):
        own = folder / FOLDER / str(task)
        own.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(paths):
            try:
                os.link(path, store.path_of(own, number))
            except OSError:
                shutil.copyfile(path, store.path_of(own, number))


def load(config: RunConfig, folder: Path) -> list[list[Demo]]:
    """Those of the run in ``folder``, of each task.

    Raises:
        DemoError: one is missing or damaged.
    """
    counts = config.demos.of_tasks(len(config.tasks))
    return [[read(store.path_of(folder / FOLDER / str(task), number)) for number in range(count)] for task, count in enumerate(counts)]


def check_fit(config: RunConfig, spec: "TaskSpec", folder: Path) -> None:
    """Raises DemoError where one is of other cameras or sizes than the run's simulators."""
    for task, demos in zip(config.tasks, load(config, folder), strict=True):
        for demo in demos:
            try:
                check(demo, spec)
            except DemoError as error:
                raise DemoError(f"{task}: {error}; fix: the simulator options that they were collected with") from None

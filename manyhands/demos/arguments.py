"""What ``manyhands demos ...`` takes, as dataclasses that tyro reads. Beside ``manyhands.arguments``."""

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from core.errors import ConfigError
from manyhands.arguments import runs_root
from manyhands.demos.collect import Plan
from manyhands.demos.export import Action
from manyhands.demos.store import home


def usual_folder() -> Path:
    """Of all demonstrations."""
    return home(runs_root())


@dataclass(frozen=True)
class CollectArguments:
    """Demonstrations by the simulator's own expert. What is there already is kept and counts."""

    tasks: tyro.conf.Positional[tuple[str, ...]]
    """such as blocks:touch; one or more"""
    count: Annotated[int, tyro.conf.arg(aliases=("-n",))] = 10
    """demonstrations of each task"""
    out: Path = field(default_factory=usual_folder)
    """folder of all demonstrations; files are OUT/SIMULATOR/TASK/000.demo and so on"""
    options: tuple[str, ...] = ()
    """of the simulator, NAME=VALUE: size=64 rotation=False. Other options than usual have a folder of their own"""
    seed: int = 0
    """of the simulator"""
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """that collect side by side"""
    retries: int = 9
    """further variations that are tried where one fails"""
    timeout: float = 300.0
    """seconds that one demonstration may take"""
    replay: bool = False
    """play the keyframes of each, too: they have to lead to success"""

    def plan(self) -> Plan:
        """Raises ConfigError where something cannot be."""
        if not self.tasks:
            raise ConfigError("demos collect needs a task first: manyhands demos collect TASK ... [-n 10], such as blocks:touch")
        plan = Plan(
            self.tasks, self.count, self.out, parsed(self.options), self.seed, self.processes, self.retries, self.timeout, self.replay
        )
        plan.check()
        return plan


@dataclass(frozen=True)
class ImportArguments:
    """Demonstrations of RLBench: its own folders, TASK/variation0/episodes/episode0, or numpy files, TASK.NUMBER.npz. Neither is run."""

    source: tyro.conf.Positional[tuple[Path, ...]]
    """files, or folders that hold them"""
    cameras: str = "front"
    """which pictures of RLBench's own folders: some of front,left_shoulder,right_shoulder,overhead,wrist"""
    out: Path = field(default_factory=usual_folder)
    """folder of all demonstrations; files are OUT/rlbench/TASK/000.demo and so on. What is there already is kept"""

    def camera_names(self) -> tuple[str, ...]:
        """``front,wrist`` -> (``front``, ``wrist``)"""
        return tuple(name.strip() for name in self.cameras.split(",") if name.strip())


@dataclass(frozen=True)
class ExportArguments:
    """Demonstrations as a data set of others: rows of an observation and the pose to go to from there."""

    source: tyro.conf.Positional[tuple[Path, ...]]
    """files, or folders that hold them, such as runs/demos/blocks/touch"""
    format: Literal["hdf5", "lerobot"]
    """one HDF5 file as robomimic has them, or a folder as LeRobotDataset v3.0"""
    out: Path
    """folder; not there yet, or empty"""
    action: Action = "next-keyframe"
    """the pose of the next keyframe, or of the next observed frame, as numbers x y z qx qy qz qw open"""
    fps: int = 10
    """lerobot: rows per second of its clock. Rows are not evenly apart, it only counts them"""

    def check(self) -> None:
        """Raises ConfigError where something cannot be."""
        if not 1 <= self.fps <= 1000:
            raise ConfigError(f"--fps is {self.fps}. Allowed: 1 to 1000")


@dataclass(frozen=True)
class InspectArguments:
    """What is in files of demonstrations, and whether they are whole."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """files, or folders that hold them; the usual folder by default"""


def parsed(options: tuple[str, ...]) -> dict[str, Any]:
    """``("size=64", "split=test")`` -> {"size": 64, "split": "test"}.

    Raises:
        ConfigError: one is not NAME=VALUE.
    """
    values: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise ConfigError(f"--options has {option!r}. Allowed: NAME=VALUE, such as size=64")
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            values[name] = value
    return values


def files_of(paths: Sequence[Path], ending: str) -> list[Path]:
    """All files with this ending, in folders too, sorted.

    Raises:
        ConfigError: there is no such file or folder.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists() and path != usual_folder():
            raise ConfigError(f"there is no {path}")
        found += [path] if path.is_file() else sorted(path.rglob(f"*{ending}"))
    return [path for path in found if not path.name.startswith(".")]

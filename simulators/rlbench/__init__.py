"""RLBench by next-best poses: ``rlbench:reach_target``. Each simulator is a CoppeliaSim in a process of its own. docs/rlbench.md.

What it does is in ``outpost.rlbench``, which also runs where nothing else of this project is; here it gets the cluster's types. Its tasks,
its options and what it shows are known without RLBench.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from core.errors import ConfigError, MissingExtra
from core.poses import action_dim
from core.types import Field, Keyframes, TaskSpec
from outpost import Failed, rlbench_options
from outpost.rlbench_places import environment
from outpost.rlbench_tasks import installed, tasks
from simulators._options import validate

__all__ = ["ONE_PER_PROCESS", "Options", "environment", "kind", "make", "megabytes", "missing", "of_demos", "spec", "tasks"]

ONE_PER_PROCESS = True
"""CoppeliaSim can be loaded once per process"""
_OF_THE_WORKER = ("restart_episodes", "restart_mb")
"""options that are not the simulator's own"""


@dataclass(frozen=True)
class Options:
    """What one can ask of a task."""

    cameras: int | str = "front"
    """names with commas in between: front, left_shoulder, right_shoulder, overhead, wrist; or how many of them, in this order"""
    size: int = 128
    """pixels of a side of each camera's picture"""
    variation: int = 0
    """RLBench's: what the task asks for, such as the colour of a button; -1: drawn for each episode among all of them"""
    horizon: int = 10
    """env steps, that is keyframes, after which an episode is truncated"""
    collisions: bool = False
    """an action has a ninth number, above 0 where the way may ignore collisions; without it, all ways do"""
    penalty: float = 0.0
    """reward of a step whose target cannot be reached: it ends the episode"""
    arm: Literal["planning", "ik"] = "planning"
    """how the arm gets to a pose; ik goes only a small way"""
    restart_episodes: int = 500
    """a simulator is started anew after so many episodes; 0: never"""
    restart_mb: int = 2000
    """and where its process has grown as large as that; 0: never"""

    def __post_init__(self) -> None:
        if isinstance(self.cameras, (list, tuple)):  # as a file may have it
            object.__setattr__(self, "cameras", ",".join(map(str, self.cameras)))
        _checked(self.simulator)
        validate(self, "rlbench", restart_episodes=0, restart_mb=0)

    @property
    def simulator(self) -> dict[str, Any]:
        """The options of ``outpost.rlbench_options.Settings``."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OF_THE_WORKER}


def make(task: str, seed: int, **options: Any) -> Any:
    """One task; this process's only one, until it is closed.

    Raises:
        MissingExtra: RLBench is not installed.
        ConfigError: what it needs beside that is not, or the task or its variation is not there; the message says what to do.
        SimulatorError: retryable; it does not launch.
    """
    if lacking := missing():
        raise MissingExtra(lacking)
    from simulators.rlbench.simulator import RLBenchTask

    return RLBenchTask(task, seed, Options(**options))


def missing() -> str:
    """What must be installed here first; empty: nothing."""
    line = "RLBench is not installed where this runs. It is not on PyPI, and needs CoppeliaSim 4.1 and PyRep: docs/rlbench.md says how"
    return "" if installed() else line


def megabytes(options: Options | Mapping[str, Any]) -> float:
    """Resident memory of a process, about: measured 158 MB without cameras, 300 MB with five of 128 pixels."""
    asked = options if isinstance(options, Options) else Options(**options)
    return 160 + 28 * len(_checked(asked.simulator).cameras)


def spec(task: str, options: Options | Mapping[str, Any] | None = None) -> TaskSpec:
    """What the simulator will be. Starts nothing.

    Raises:
        ConfigError: an option is unknown or cannot be.
    """
    asked = options if isinstance(options, Options) else Options(**(options or {}))
    settings = _checked(asked.simulator)
    keyframes = Keyframes(rlbench_options.BOUNDS, settings.cameras, rotation=True, collisions=settings.collisions)
    shown = tuple(Field(*field) for field in rlbench_options.fields(asked.simulator))
    told = {**settings._asdict(), "cameras": ",".join(settings.cameras)}
    labels = (("simulator", "rlbench"), *((name, str(value)) for name, value in told.items()))
    return TaskSpec(f"rlbench:{task}", shown, action_dim(keyframes), settings.horizon, labels, keyframes=keyframes)


def kind(options: Options | Mapping[str, Any], episode: int) -> str:
    """What fails together: episodes of one variation of RLBench. Where it is drawn, only an episode itself."""
    asked = options if isinstance(options, Options) else Options(**options)
    return f"variation {asked.variation}" if asked.variation >= 0 else f"episode {episode}"


def of_demos(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that what a demonstration shows depends on, if they are not as by default."""
    usual, asked = (_checked(Options(**told).simulator)._asdict() for told in ({}, options))
    return {name: asked[name] for name in ("cameras", "size", "variation") if asked[name] != usual[name]}


def _checked(options: dict[str, Any]) -> rlbench_options.Settings:
    try:
        return rlbench_options.settings(**options)
    except Failed as failure:
        raise ConfigError(failure.message) from None

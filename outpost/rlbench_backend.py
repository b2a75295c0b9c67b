"""The only file that imports RLBench and PyRep: launches one, and tells in our words what it does. Versions are tried out, not read.

RLBench 1.1.0 has action modes as an enumeration, later ones as objects, and a fork that PerAct uses has a ninth number in its actions.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np

from outpost import Failed
from outpost.rlbench_film import Film
from outpost.rlbench_options import CAMERAS, Settings
from outpost.rlbench_places import complete, is_root, missing
from outpost.rlbench_tasks import class_name, is_name
from outpost.rlbench_words import reasons

INSTALL = "docs/rlbench.md says what to install"


class Unreachable(Exception):  # noqa: N818 - no error: an outcome
    """An action cannot be done: its target is out of the workspace, or there is no way to it."""


class Unplaceable(Exception):  # noqa: N818
    """RLBench found no place for the things of the task in this episode."""


class NoDemo(Exception):  # noqa: N818
    """RLBench's expert failed in this episode."""


class _Modes(NamedTuple):
    """What RLBench is told to do with the numbers of an action."""

    mode: Any
    arms: tuple[Any, Any]
    """the arm's mode that ignores collisions, and the one that does not"""
    attribute: str
    """of ``mode``: which arm's mode it takes"""
    ninth: bool
    """an action has a ninth number, 1 where collisions are ignored"""

    def numbers(self, pose: np.ndarray, opened: bool, ignore: bool) -> np.ndarray:
        """The action (8,) or (9,), after ``mode`` has been told about collisions."""
        if not self.ninth:
            setattr(self.mode, self.attribute, self.arms[0 if ignore else 1])
        return np.concatenate([pose, [float(opened)], [float(ignore)] * self.ninth])


class Backend:
    """One launched RLBench with one task. One per process, and only from the thread that launched it.

    Args:
        film: sees every observation.

    Raises:
        Failed: it is not installed, lacks the task, or cannot be launched.
    """

    def __init__(self, task: str, settings: Settings, film: Film) -> None:
        complete()
        if not is_root(Path(os.environ.get("COPPELIASIM_ROOT", ""))):
            raise Failed(missing())
        _check_pyrep()
        _import("pyrep", missing())
        _import("rlbench.environment")
        self._errors = _Errors()
        task_class = _seen_by(_task_class(task), film)
        self._modes = _modes(settings)
        self._env: Any = None
        self._variation = 0
        with _staying_here():
            try:
                env = _environment(settings, self._modes.mode)
                env.launch()
                self._env = env  # what did not launch is not shut down: that may hang
                self._task = env.get_task(task_class)
            except Exception as error:
                with contextlib.suppress(Exception):
                    self.shutdown()
                raise Failed(f"RLBench does not launch with {task}: {_said(error)}", retryable=not isinstance(error, OSError)) from error

    def variations(self) -> int:
        """How many the task has."""
        return int(self._task.variation_count())

    def reset(self, variation: int) -> Any:
        """The first observation of an episode.

        Raises:
            Unplaceable: another draw may do better.
        """
        with self._errors.of_placing():
            self._set(variation)
            _, observation = self._task.reset()
        return observation

    def step(self, pose: np.ndarray, opened: bool, ignore: bool) -> tuple[Any, bool, bool]:
        """Observation, success, whether the task ended.

        Args:
            pose: (7,) metres and quaternion xyzw of length 1, world.
            ignore: the way may go through things.

        Raises:
            Unreachable: it ends the episode.
        """
        try:
            observation, reward, ended = self._task.step(self._modes.numbers(pose, opened, ignore))
        except self._errors.acting as error:
            raise Unreachable(_said(error)) from error
        success = bool(reward > 0.5)
        return observation, success, success or bool(ended)

    def demo(self, variation: int) -> list[Any]:
        """The frames of a live demonstration of the episode that ``reset`` would have begun.

        Raises:
            Unplaceable: as ``reset``.
            NoDemo: the expert did not succeed.
        """
        with self._errors.of_placing(), reasons() as why:
            self._set(variation)
            try:
                (demo,) = self._task.get_demos(1, live_demos=True, max_attempts=1)
            except RuntimeError as error:
                if "Could not collect demos" not in str(error):
                    raise  # of the reset before it
                raise NoDemo(". ".join(why) or _said(error)) from error
        return [demo[i] for i in range(len(demo))]

    def _set(self, variation: int) -> None:
        """Only where it is another one: some tasks cannot count theirs before they were reset."""
        if variation != self._variation:
            self._task.set_variation(variation)
            self._variation = variation

    def shutdown(self) -> None:
        """Ends CoppeliaSim. The process may launch another one."""
        env, self._env = self._env, None
        if env is not None:
            with _staying_here():
                env.shutdown()


def _check_pyrep() -> None:
    """Before it is imported: the other package of that name may lack something of its own, which would be told instead."""
    spec = importlib.util.find_spec("pyrep")
    places = [Path(place, "backend") for place in (spec.submodule_search_locations or ())] if spec else []
    if spec and not any(place.is_dir() for place in places):
        raise Failed(f"the package pyrep here is another one, which PyPI has under that name: pip uninstall pyrep. {INSTALL}")
    if spec and not any(True for place in places for _ in place.glob("_sim_cffi*")):
        raise Failed(
            f"PyRep is here without its compiled part, pyrep.backend._sim_cffi: install it, a copy of its folder is not enough. {INSTALL}"
        )


def _import(name: str, hint: str = "") -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        words = " ".join(str(error).split()) if isinstance(error, ImportError) else _said(error)
        raise Failed(f"{name} cannot be imported: {words}. {hint or INSTALL}") from error


def _task_class(task: str) -> Any:
    name = class_name(task)
    found = getattr(_import(f"rlbench.tasks.{task}"), name, None) if is_name(task) else None
    if found is None:
        raise Failed(f"this RLBench has no task {task!r}: there is no class {name} in rlbench.tasks.{task}")
    return found


def _seen_by(task_class: Any, film: Film) -> Any:
    """The task, of whose observations and words ``film`` learns, and whose reward is always the sparse one."""

    class Seen(task_class):
        def init_episode(self, index: int) -> Any:
            words = super().init_episode(index)
            film.description = str(words[0]) if words else ""
            return words

        def decorate_observation(self, observation: Any) -> Any:
            observation = super().decorate_observation(observation)
            film.see(observation)
            return observation

        def reward(self) -> None:
            return None  # RLBench 1.1 would give the shaped one without being asked

    # RLBench finds the model of a task by the name of its class.
    Seen.__name__, Seen.__qualname__, Seen.__module__ = task_class.__name__, task_class.__qualname__, task_class.__module__
    return Seen


def _modes(settings: Settings) -> _Modes:
    try:
        from rlbench.action_modes.action_mode import MoveArmThenGripper
    except ImportError:
        return _old_modes(settings)
    from rlbench.action_modes.arm_action_modes import EndEffectorPoseViaIK, EndEffectorPoseViaPlanning
    from rlbench.action_modes.gripper_action_modes import Discrete

    if settings.arm == "ik":
        arms = (EndEffectorPoseViaIK(),) * 2
    else:
        arms = (EndEffectorPoseViaPlanning(collision_checking=False), EndEffectorPoseViaPlanning(collision_checking=True))
    ninth = "ignore_collisions" in inspect.signature(arms[0].action).parameters
    return _Modes(MoveArmThenGripper(arms[0], Discrete()), arms, "arm_action_mode", ninth)


def _old_modes(settings: Settings) -> _Modes:
    from rlbench.action_modes import ActionMode, ArmActionMode, GripperActionMode

    if settings.arm == "ik":
        arms = (ArmActionMode.ABS_EE_POSE_WORLD_FRAME,) * 2
    else:
        arms = (ArmActionMode.ABS_EE_POSE_PLAN_WORLD_FRAME, ArmActionMode.ABS_EE_POSE_PLAN_WORLD_FRAME_WITH_COLLISION_CHECK)
    return _Modes(ActionMode(arms[0], GripperActionMode.OPEN_AMOUNT), arms, "arm", ninth=False)


def _environment(settings: Settings, mode: Any) -> Any:
    """Cameras that are not asked for are taken out of the scene, and so are masks and the slow renderer: 12 times faster with five."""
    from pyrep.const import RenderMode
    from rlbench.environment import Environment
    from rlbench.observation_config import CameraConfig, ObservationConfig

    cameras = {}
    for name in CAMERAS:
        on, size = name in settings.cameras, (settings.size, settings.size)
        camera = CameraConfig(
            rgb=on, depth=on, point_cloud=False, mask=False, image_size=size, render_mode=RenderMode.OPENGL, depth_in_meters=on
        )
        cameras[f"{name}_camera"] = camera
    config = ObservationConfig(
        joint_velocities=True,
        joint_positions=True,
        joint_forces=False,
        gripper_open=True,
        gripper_pose=True,
        gripper_joint_positions=True,
        gripper_touch_forces=False,
        task_low_dim_state=False,
        **cameras,
    )
    return Environment(mode, obs_config=config, headless=True)


class _Errors:
    """RLBench's and PyRep's exceptions, wherever this version keeps them, by what they mean to us."""

    def __init__(self) -> None:
        places = [_import(name) for name in ("rlbench.backend.exceptions", "rlbench.task_environment", "pyrep.errors")]

        def named(*names: str) -> tuple[Any, ...]:
            return tuple({getattr(place, name) for name in names for place in places if hasattr(place, name)})

        self.acting = named("InvalidActionError", "ConfigurationPathError", "IKError")
        self.placing = named("TaskEnvironmentError", "BoundaryError", "WaypointError", "ConfigurationPathError", "IKError")

    @contextlib.contextmanager
    def of_placing(self) -> Iterator[None]:
        try:
            yield
        except self.placing as error:
            raise Unplaceable(_said(error)) from error


@contextlib.contextmanager
def _staying_here() -> Iterator[None]:
    """Within, PyRep may change the working directory: it does for as long as it launches, and for good where that fails."""
    here = os.getcwd()
    try:
        yield
    finally:
        os.chdir(here)


def _said(error: BaseException) -> str:
    """In one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

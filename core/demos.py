"""A demonstration: an episode by an expert, of which the poses between keyframes matter, not the way from one to the next.

Where the keyframes are, whether a demonstration is one, and the chains from keyframe to keyframe that it is learned from.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import DemoError
from core.poses import time_left
from core.types import TaskSpec
from outpost import poses

EVERY_N = 10
"""Each so manyth frame begins a chain of its own."""


class Demo(NamedTuple):
    """T frames, of which F have a whole observation: the first, those at keyframes, the last, and some in between."""

    task: str
    """``metaworld_vision:reach-v3``"""
    motion: Mapping[str, NDArray]
    """(T, ...) of every frame: ``gripper_pose`` (7,) float64, metres and quaternion xyzw; ``gripper_open`` () float32; where the simulator
    tells them ``joint_velocities`` and others"""
    frames: NDArray
    """(F,) int64, ascending: which frames have an observation"""
    observations: Mapping[str, NDArray]
    """(F, ...) the fields of ``TaskSpec.observation``. The time in ``obs`` depends on the chain: see ``Chain.observations``"""
    keyframes: NDArray
    """(k,) int64, ascending: frames whose poses are worth going to, the last one too"""
    actions: NDArray | None = None
    """(k, A) float32, what leads to each keyframe where the pose that was reached does not say it: in contact one aims beyond"""
    success: bool = True
    """the simulator said so at the end"""
    info: Mapping[str, str] = MappingProxyType({})
    """where it comes from: versions of the simulator, seed, variation ..."""


class Chain(NamedTuple):
    """n steps of a demonstration as if they were an episode: from a start frame to the next keyframe, and on to the last."""

    at: NDArray
    """(n + 1,) int64, where in ``Demo.observations`` the start and each keyframe are"""
    poses: NDArray
    """(n, 7) float64, of the gripper at each keyframe: metres and quaternion xyzw, as it was recorded"""
    opened: NDArray
    """(n,) float32, the gripper at each keyframe: 1 open, 0 closed"""
    actions: NDArray | None
    """(n, A) float32, what the expert did to get there, where the demonstration says it"""
    reward: NDArray
    """(n,) float32: 1 at the end of a demonstration that succeeded, else 0"""
    terminated: NDArray
    """(n,) bool: True at the end"""

    def observations(self, demo: Demo, horizon: int) -> dict[str, NDArray]:
        """(n + 1, ...) of every field, a copy. The last number of ``obs`` is the time left in an episode that began with this chain.

        Args:
            horizon: of the task, env steps.
        """
        seen = {name: values[self.at] for name, values in demo.observations.items()}
        seen["obs"][:, -1] = [time_left(t, horizon) for t in range(len(self.at))]
        return seen


def keyframes(motion: Mapping[str, NDArray], stopping_delta: float = poses.STOPPING_DELTA) -> NDArray[np.int64]:
    """(k,) frames worth going to, as C2F-ARM finds them: where the gripper opens or closes, where the arm stands still, and the last.

    Args:
        motion: (T, ...) ``gripper_open`` and ``joint_velocities``.
        stopping_delta: rad/s, or m/s; slower than that is standing still.

    Raises:
        DemoError: the motion lacks one of them.
    """
    for name in ("gripper_open", "joint_velocities"):
        if name not in motion:
            raise DemoError(f"keyframes are found by {name}, which the motion lacks; it has {', '.join(sorted(motion))}")
    return poses.keyframes(motion["gripper_open"], motion["joint_velocities"], stopping_delta)


def chains(demo: Demo, every_n: int = EVERY_N) -> list[Chain]:
    """The demonstration once from each observed frame whose number is a multiple of ``every_n``, with the keyframes behind it.

    Later keyframes are in many chains: goals are drawn more often than ways to them. As in C2F-ARM.
    """
    place = {frame: at for at, frame in enumerate(demo.frames.tolist())}
    starts = [frame for frame in place if frame % every_n == 0 and frame < demo.keyframes[-1]]
    return [_chain(demo, place, start) for start in starts]


def _chain(demo: Demo, place: Mapping[int, int], start: int) -> Chain:
    ahead = demo.keyframes > start
    goals, n = demo.keyframes[ahead], int(ahead.sum())
    end = np.arange(n) == n - 1
    return Chain(
        at=np.array([place[frame] for frame in (start, *goals.tolist())], np.int64),
        poses=demo.motion["gripper_pose"][goals],
        opened=demo.motion["gripper_open"][goals].astype(np.float32),
        actions=None if demo.actions is None else demo.actions[ahead],
        reward=(end & demo.success).astype(np.float32),
        terminated=end,
    )


def check(demo: Demo, spec: TaskSpec | None = None) -> None:
    """Whether it is what ``Demo`` says.

    Args:
        spec: what the observations and actions must be like; None: of any simulator.

    Raises:
        DemoError: says what is wrong.
    """
    problem = _of_frames(demo) or _of_arrays(demo) or (_of_spec(demo, spec) if spec is not None else "")
    if problem:
        raise DemoError(f"not a demonstration of {demo.task}: {problem}")


def _of_frames(demo: Demo) -> str:
    for name, wanted in (("gripper_pose", (7,)), ("gripper_open", ())):
        if name not in demo.motion or demo.motion[name].shape[1:] != wanted:
            return f"motion has no {name} of shape (T, ...{wanted})"
    total, frames, goals = len(demo.motion["gripper_pose"]), demo.frames, demo.keyframes
    for name, numbers in (("frames", frames), ("keyframes", goals)):
        ascending = numbers.ndim == 1 and len(numbers) and numbers.dtype == np.int64 and bool((np.diff(numbers) > 0).all())
        if not ascending or numbers[0] < 0 or numbers[-1] >= total:
            return f"{name} are not ascending numbers of its {total} frames"
    if not np.isin(goals, frames).all() or frames[0] != 0:
        return "the first frame or a keyframe has no observation"
    return "" if goals[-1] == total - 1 and goals[0] > 0 else "the last frame is not the last keyframe, or the first frame is one"


def _of_arrays(demo: Demo) -> str:
    for what, arrays, count in (
        ("motion", demo.motion, len(demo.motion["gripper_pose"])),
        ("observations", demo.observations, len(demo.frames)),
    ):
        for name, values in arrays.items():
            if values.ndim == 0 or len(values) != count:
                return f"{what} {name} has {len(values) if values.ndim else 'no'} rows instead of {count}"
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                return f"{what} {name} is not finite"
    if demo.actions is not None and (demo.actions.ndim != 2 or len(demo.actions) != len(demo.keyframes)):
        return f"it has {len(demo.keyframes)} keyframes, and actions of shape {demo.actions.shape}"
    return ""


def _of_spec(demo: Demo, spec: TaskSpec) -> str:
    for field in spec.observation:
        values = demo.observations.get(field.name)
        if values is None or values.shape[1:] != field.shape or values.dtype != field.dtype:
            found = "missing" if values is None else f"{values.dtype}{values.shape[1:]}"
            return f"the observed {field.name} is {found}, wanted is {field.dtype}{field.shape}"
    if demo.actions is not None and demo.actions.shape[1] != spec.action_dim:
        return f"its actions have {demo.actions.shape[1]} numbers, wanted are {spec.action_dim}"
    return ""

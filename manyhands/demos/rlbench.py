"""Demonstrations of RLBench as numpy files, one per demonstration: ``<task>.<number>.npz``; ``docs/demos.md`` lists the arrays."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo, check, keyframes
from core.errors import DemoError
from core.poses import action_dim
from core.types import Field, Keyframes, TaskSpec

KEYFRAMES = Keyframes((-0.3, -0.5, 0.6, 0.7, 0.5, 1.6), ("front",), rotation=True)
"""The workspace of RLBench's Panda, as C2F-ARM has it."""
HORIZON = 10
MOTION = ("gripper_pose", "gripper_open", "joint_positions", "joint_velocities", "gripper_joint_positions")
NEEDED = (*MOTION, "frames", "front_rgb", "front_depth_m", "front_intrinsics", "front_extrinsics")
WIDEST_FINGER_M = 0.04
NAME = re.compile(r"([a-z0-9_]+)\.(\d+)\.npz")


def spec(task: str, size: int = 128, horizon: int = HORIZON) -> TaskSpec:
    """Of ``rlbench:<task>`` as these demonstrations show it: one camera, and ``obs`` as in C2F-ARM, 11 numbers.

    These are ``gripper_open``, ``gripper_pose`` (7), the positions of the two fingers, 0 to 0.04 m, and the time left.
    """
    camera = (Field("front_rgb", (size, size, 3), "uint8"), Field("front_depth", (size, size), "float32", "m"))
    matrices = (Field("front_intrinsics", (3, 3), "float64"), Field("front_extrinsics", (4, 4), "float64"))
    gripper = (Field("gripper_pose", (7,), "float64", "m"), Field("gripper_open", ()))
    labels = (("simulator", "rlbench"), ("cameras", "front"), ("size", str(size)), ("horizon", str(horizon)))
    fields = (Field("obs", (11,)), *gripper, *camera, *matrices)
    return TaskSpec(f"rlbench:{task}", fields, action_dim(KEYFRAMES), horizon, labels, keyframes=KEYFRAMES)


def named(path: Path) -> tuple[str, int]:
    """``reach_target.3.npz`` -> (``reach_target``, 3).

    Raises:
        DemoError: it has another name.
    """
    match = NAME.fullmatch(path.name)
    if not match:
        raise DemoError(f"{path} is not named as a demonstration of RLBench. Allowed: TASK.NUMBER.npz, for example reach_target.0.npz")
    return match[1], int(match[2])


def read(path: Path) -> Demo:
    """The demonstration in a numpy file. Nothing in it is run: arrays of objects are refused.

    Raises:
        DemoError: it is damaged, lacks an array, has another name, or its keyframes are not where they are found.
    """
    task, number = named(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise DemoError(f"{path} cannot be read: {error}") from None
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise DemoError(f"{path} is no demonstration of RLBench: it lacks {', '.join(missing)}")
    try:
        demo = _demo(path, f"rlbench:{task}", number, arrays)
        check(demo, spec(task, demo.observations["front_rgb"].shape[1]))
    except (IndexError, ValueError, TypeError) as error:
        raise DemoError(f"{path} is no demonstration of RLBench: its arrays do not fit each other ({error})") from None
    if "keyframes" in arrays and not np.array_equal(arrays["keyframes"], demo.keyframes):
        raise DemoError(f"{path} has keyframes {arrays['keyframes'].tolist()}, but they are found at {demo.keyframes.tolist()}")
    return demo


def _demo(path: Path, task: str, number: int, arrays: dict[str, NDArray]) -> Demo:
    motion = {name: arrays[name] for name in MOTION}
    motion |= {name: arrays[name] for name in ("task_low_dim_state",) if name in arrays}
    frames = arrays["frames"].astype(np.int64)
    info = {"made_by": "manyhands demos import", "source": path.name, "simulator": "rlbench", "number": str(number)}
    told: dict[str, Any] = {"variation": arrays.get("variation"), "keyframes_replayed": arrays.get("keyframe_replay_success")}
    info |= {name: str(value) for name, value in told.items() if value is not None}
    if "near_far" in arrays:
        info["near_far_m"] = " ".join(map(str, arrays["near_far"].tolist()))
    return Demo(task, motion, frames, _observations(arrays, frames), keyframes(motion), None, True, info)


def _observations(arrays: dict[str, NDArray], frames: NDArray) -> dict[str, NDArray]:
    """(F, ...) each; the time in ``obs`` is that of a chain's begin."""
    F, pose = len(frames), arrays["gripper_pose"][frames]
    opened, fingers = arrays["gripper_open"][frames], np.clip(arrays["gripper_joint_positions"][frames], 0, WIDEST_FINGER_M)
    low = np.concatenate([opened[:, None], pose, fingers, np.ones((F, 1))], axis=1).astype(np.float32)
    return {
        "obs": low,
        "gripper_pose": pose,
        "gripper_open": opened.astype(np.float32),
        "front_rgb": arrays["front_rgb"],
        "front_depth": arrays["front_depth_m"],
        "front_intrinsics": np.broadcast_to(arrays["front_intrinsics"], (F, 3, 3)),
        "front_extrinsics": np.broadcast_to(arrays["front_extrinsics"], (F, 4, 4)),
    }

"""What a demonstration of RLBench is like here, wherever it comes from, and those that are numpy files: ``<task>.<number>.npz``.

``docs/demos.md`` lists the arrays. ``manyhands.demos.rlbench_tree`` reads RLBench's own folders.
"""

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo, check, keyframes
from core.errors import ConfigError, DemoError
from core.types import TaskSpec
from outpost.rlbench_options import CAMERAS
from outpost.rlbench_seen import MOTION, WIDEST_FINGER_M
from simulators import rlbench as simulator

NEEDED = (*MOTION, "frames", "front_rgb", "front_depth_m", "front_intrinsics", "front_extrinsics")
NAME = re.compile(r"([a-z0-9_]+)\.(\d+)\.npz")


def spec(task: str, size: int, cameras: Sequence[str] = CAMERAS[:1]) -> TaskSpec:
    """Of ``rlbench:<task>`` as a simulator with these cameras shows it, and so its demonstrations."""
    return simulator.spec(task, {"size": size, "cameras": ",".join(cameras)})


def checked(cameras: Sequence[str]) -> tuple[str, ...]:
    """The cameras, if RLBench has them.

    Raises:
        ConfigError: it has not, or one is there twice.
    """
    wrong = [name for name in cameras if name not in CAMERAS]
    if wrong or not cameras or len(set(cameras)) < len(cameras):
        raise ConfigError(f"--cameras is {','.join(cameras) or 'empty'}. Allowed: one or more of {', '.join(CAMERAS)}, each once")
    return tuple(cameras)


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
    told: dict[str, Any] = {"rlbench_variation": arrays.get("variation"), "keyframes_replayed": arrays.get("keyframe_replay_success")}
    info |= {name: str(value) for name, value in told.items() if value is not None}
    if "near_far" in arrays:
        info["near_far_m"] = " ".join(map(str, arrays["near_far"].tolist()))
    seen = {
        **of_gripper(arrays, frames),
        "front_rgb": arrays["front_rgb"],
        "front_depth": arrays["front_depth_m"],
        "front_intrinsics": np.broadcast_to(arrays["front_intrinsics"], (len(frames), 3, 3)),
        "front_extrinsics": np.broadcast_to(arrays["front_extrinsics"], (len(frames), 4, 4)),
    }
    return Demo(task, motion, frames, seen, keyframes(motion), None, True, info)


def of_gripper(motion: Mapping[str, NDArray], frames: NDArray) -> dict[str, NDArray]:
    """(F, ...) each of what is observed beside pictures; the time in ``obs`` is that of a chain's begin."""
    F, pose = len(frames), motion["gripper_pose"][frames]
    opened, fingers = motion["gripper_open"][frames], np.clip(motion["gripper_joint_positions"][frames], 0, WIDEST_FINGER_M)
    low = np.concatenate([opened[:, None], pose, fingers, np.ones((F, 1))], axis=1).astype(np.float32)
    return {"obs": low, "gripper_pose": pose, "gripper_open": opened.astype(np.float32)}

"""What RLBench observes, as the fields of ``outpost.rlbench_options.fields``: every shape is checked, every array is our own."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from outpost import Failed
from outpost.poses import time_left
from outpost.rlbench_options import Settings

WIDEST_FINGER_M = 0.04
MOTION = ("gripper_pose", "gripper_open", "joint_positions", "joint_velocities", "gripper_joint_positions")
"""what is kept of every frame of a demonstration"""


def observed(observation: Any, settings: Settings, t: int) -> dict[str, np.ndarray]:
    """The fields by name, of an ``rlbench.backend.observation.Observation``.

    Args:
        t: env steps so far.

    Raises:
        Failed: something is missing or of another shape: not the scene or the version that this is written for.
    """
    pose = _array(observation, "gripper_pose", (7,))
    opened = _array(observation, "gripper_open", ())
    fingers = np.clip(_array(observation, "gripper_joint_positions", (2,)), 0, WIDEST_FINGER_M)
    seen = {
        "obs": np.concatenate([[opened], pose, fingers, [time_left(t, settings.horizon)]]).astype(np.float32),
        "gripper_pose": pose,
        "gripper_open": opened.astype(np.float32),
    }
    for camera in settings.cameras:
        seen.update(_camera(observation, camera, settings.size))
    return seen


def motion(demo: Sequence[Any]) -> dict[str, np.ndarray]:
    """(T, ...) of every frame, float64 but ``gripper_open``, float32.

    Raises:
        Failed: as ``observed``.
    """
    shapes = {"gripper_pose": (7,), "gripper_open": (), "gripper_joint_positions": (2,)}
    told = {name: np.stack([_array(frame, name, shapes.get(name)) for frame in demo]) for name in MOTION}
    return dict(told, gripper_open=told["gripper_open"].astype(np.float32))


def stacked(seen: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """(F, ...) of each field."""
    return {name: np.stack([one[name] for one in seen]) for name in seen[0]}


def _camera(observation: Any, camera: str, size: int) -> dict[str, np.ndarray]:
    misc = observation.misc
    for name in ("intrinsics", "extrinsics"):
        if f"{camera}_camera_{name}" not in misc:
            raise Failed(f"RLBench's observation lacks {camera}_camera_{name}: this version or scene has no such camera")
    intrinsics = np.array(misc[f"{camera}_camera_intrinsics"], np.float64)
    extrinsics = np.array(misc[f"{camera}_camera_extrinsics"], np.float64)
    if extrinsics.size == 12:  # PyRep before 4.1 left out the last row
        extrinsics = np.vstack([extrinsics.reshape(3, 4), [0, 0, 0, 1]])
    for name, matrix, shape in (("intrinsics", intrinsics, (3, 3)), ("extrinsics", extrinsics, (4, 4))):
        if matrix.shape != shape:
            raise Failed(f"{camera}_camera_{name} of RLBench has shape {matrix.shape} instead of {shape}")
    return {
        f"{camera}_rgb": _array(observation, f"{camera}_rgb", (size, size, 3), np.uint8),
        f"{camera}_depth": _array(observation, f"{camera}_depth", (size, size), np.float32),
        f"{camera}_intrinsics": intrinsics,
        f"{camera}_extrinsics": extrinsics,
    }


def _array(observation: Any, name: str, shape: Any = None, dtype: Any = np.float64) -> np.ndarray:
    """A copy. Colours must come as what they are kept as: others would be cut off."""
    value = getattr(observation, name, None)
    if value is None:
        raise Failed(f"RLBench's observation lacks {name}")
    if dtype == np.uint8 and getattr(value, "dtype", None) != np.uint8:
        raise Failed(f"{name} of RLBench is {getattr(value, 'dtype', type(value))} instead of uint8")
    array = np.array(value, dtype)
    if shape is not None and array.shape != shape:
        raise Failed(f"{name} of RLBench has shape {array.shape} instead of {shape}")
    return array

"""Next-best poses as actions: what the numbers of an action of ``core.types.Keyframes`` mean, and which numbers a pose has."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.types import Keyframes
from outpost import poses
from outpost.poses import Target, target, time_left, upright

__all__ = ["Target", "action_dim", "action_of", "matrix", "target_of", "time_left", "upright"]


def action_dim(keyframes: Keyframes) -> int:
    """A: 4, 5, 8 or 9."""
    return 4 + 4 * keyframes.rotation + keyframes.collisions


def target_of(keyframes: Keyframes, action: NDArray) -> Target:
    """What an action (A,) asks for."""
    return target(action, keyframes.bounds, keyframes.rotation, keyframes.collisions)


def action_of(keyframes: Keyframes, pose: ArrayLike, opened: float, ignore_collisions: bool = False) -> NDArray[np.float32]:
    """The action (A,) that sends the gripper to ``pose`` (3,) or (7,), metres and quaternion xyzw, and then opens or closes it.

    Args:
        opened: above 0.5 open, as ``gripper_open`` says.
    """
    return poses.action_of(pose, opened, keyframes.bounds, keyframes.rotation, keyframes.collisions, ignore_collisions)


def matrix(quaternion: NDArray) -> NDArray[np.float64]:
    """(3, 3) rotation of a quaternion (4,) xyzw of length 1; its columns are the turned axes."""
    x, y, z, w = np.asarray(quaternion, np.float64).tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )

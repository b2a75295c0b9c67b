"""Next-best poses as actions: what the numbers of an action of ``core.types.Keyframes`` mean, and which numbers a pose has."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.types import Keyframes

_SHORTEST = 1e-3
"""A quaternion with a smaller norm says nothing about a direction."""


class Target(NamedTuple):
    """Where an action sends the gripper."""

    position: NDArray[np.float64]
    """(3,) metres, world"""
    quaternion: NDArray[np.float64] | None
    """(4,) xyzw, of length 1, w not negative; None where the gripper cannot be turned, or the action's numbers name no rotation"""
    open: bool
    """how the gripper is to be once it is there"""
    ignore_collisions: bool
    """always False where the simulator has no such choice"""
    inside: bool
    """within the workspace, and with a rotation where one is due"""


def action_dim(keyframes: Keyframes) -> int:
    """A: 4, 5, 8 or 9."""
    return 4 + 4 * keyframes.rotation + keyframes.collisions


def target_of(keyframes: Keyframes, action: NDArray) -> Target:
    """What an action (A,) asks for."""
    numbers = np.asarray(action, np.float64)
    low, high = np.array(keyframes.bounds).reshape(2, 3)
    position = low + (numbers[:3] + 1) / 2 * (high - low)
    quaternion = upright(numbers[3:7]) if keyframes.rotation else None
    rest = numbers[7:] if keyframes.rotation else numbers[3:]
    # A hair beyond 1 is the rounding of float32, not another place.
    inside = bool((np.abs(numbers[:3]) <= 1 + 1e-6).all()) and not (keyframes.rotation and quaternion is None)
    return Target(position, quaternion, bool(rest[0] > 0), bool(keyframes.collisions and rest[1] > 0), inside)


def action_of(keyframes: Keyframes, pose: ArrayLike, opened: float, ignore_collisions: bool = False) -> NDArray[np.float32]:
    """The action (A,) that sends the gripper to ``pose`` (3,) or (7,), metres and quaternion xyzw, and then opens or closes it.

    Args:
        opened: above 0.5 open, as ``gripper_open`` says.
    """
    pose, (low, high) = np.asarray(pose, np.float64), np.array(keyframes.bounds).reshape(2, 3)
    parts = [(pose[:3] - low) / (high - low) * 2 - 1]
    if keyframes.rotation:
        turned = upright(pose[3:7])
        assert turned is not None, "a pose with a rotation has a quaternion"
        parts.append(turned)
    parts.append(np.array([1.0 if opened > 0.5 else -1.0]))
    if keyframes.collisions:
        parts.append(np.array([1.0 if ignore_collisions else -1.0]))
    return np.concatenate(parts).astype(np.float32)


def upright(quaternion: NDArray) -> NDArray[np.float64] | None:
    """The quaternion (4,) xyzw of length 1 whose w is not negative; None where it has no length."""
    numbers = np.asarray(quaternion, np.float64)
    length = float(np.linalg.norm(numbers))
    if not length > _SHORTEST:
        return None
    return numbers / (length if numbers[3] >= 0 else -length)


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


def time_left(t: int, horizon: int) -> float:
    """What the last number of ``obs`` says: 1 at an episode's first observation, -1 where one env step is left, and never less.

    As in C2F-ARM, but counted alike in demonstrations and live: there a live observation is one step late.
    """
    return max(1 - 2 * t / max(1, horizon - 1), -1.0)

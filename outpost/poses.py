"""Next-best poses as numbers, and where the keyframes of a demonstration are: what both sides of the gateway need. Pure numpy.

``core.poses`` and ``core.demos`` say the same in terms of the cluster's types, with these functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Sequence

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SHORTEST = 1e-3
"""A quaternion with a smaller norm says nothing about a direction."""
PAUSE = 4
"""frames after a standstill in which no other one counts"""
STOPPING_DELTA = 0.1
"""rad/s, or m/s; slower than that is standing still"""


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


def target(action: ArrayLike, bounds: Sequence[float], rotation: bool = True, collisions: bool = False) -> Target:
    """What an action asks for: all in [-1, 1], position (3), where ``rotation`` a quaternion (4), gripper, where ``collisions`` one more.

    Args:
        bounds: (6,) metres, world: lower corner, upper corner of the workspace.
    """
    numbers = np.asarray(action, np.float64)
    low, high = np.array(bounds, np.float64).reshape(2, 3)
    position = low + (numbers[:3] + 1) / 2 * (high - low)
    quaternion = upright(numbers[3:7]) if rotation else None
    rest = numbers[7:] if rotation else numbers[3:]
    # A hair beyond 1 is the rounding of float32, not another place.
    inside = bool((np.abs(numbers[:3]) <= 1 + 1e-6).all()) and not (rotation and quaternion is None)
    return Target(position, quaternion, bool(rest[0] > 0), bool(collisions and rest[1] > 0), inside)


def action_of(
    pose: ArrayLike,
    opened: float,
    bounds: Sequence[float],
    rotation: bool = True,
    collisions: bool = False,
    ignore_collisions: bool = False,
) -> NDArray[np.float32]:
    """The action (A,) that sends the gripper to ``pose`` (3,) or (7,), metres and quaternion xyzw, and then opens or closes it: what
    ``outpost.poses.target`` reads.

    Args:
        opened: above 0.5 open, as ``gripper_open`` says.
    """
    numbers, (low, high) = np.asarray(pose, np.float64), np.array(bounds).reshape(2, 3)
    parts = [(numbers[:3] - low) / (high - low) * 2 - 1]
    if rotation:
        turned = upright(numbers[3:7])
        assert turned is not None, "a pose with a rotation has a quaternion"
        parts.append(turned)
    parts.append(np.array([1.0 if opened > 0.5 else -1.0]))
    if collisions:
        parts.append(np.array([1.0 if ignore_collisions else -1.0]))
    return np.concatenate(parts).astype(np.float32)


def upright(quaternion: ArrayLike) -> NDArray[np.float64] | None:
    """The quaternion (4,) xyzw of length 1 whose w is not negative; None where it has no length."""
    numbers = np.asarray(quaternion, np.float64)
    length = float(np.linalg.norm(numbers))
    if not length > _SHORTEST:
        return None
    return numbers / (length if numbers[3] >= 0 else -length)


def time_left(t: int, horizon: int) -> float:
    """What the last number of ``obs`` says: 1 at an episode's first observation, -1 where one env step is left, and never less.

    As in C2F-ARM, but counted alike in demonstrations and live: there a live observation is one step late.
    """
    return max(1 - 2 * t / max(1, horizon - 1), -1.0)


def slow(velocities: ArrayLike, stopping_delta: float = STOPPING_DELTA) -> NDArray[np.bool_]:
    """(...) whether an arm with joint velocities (..., joints) stands still."""
    return np.abs(np.asarray(velocities)).max(axis=-1) <= stopping_delta


def keyframes(opened: NDArray, velocities: NDArray, stopping_delta: float = STOPPING_DELTA) -> NDArray[np.int64]:
    """(k,) frames worth going to, as C2F-ARM finds them: where the gripper opens or closes, where the arm stands still, and the last.

    Its quirks are kept, as demonstrations were cut by them: what is before the first frame is the end of the demonstration, a standstill is
    not noticed within ``PAUSE`` frames of another, and of two adjacent keyframes at the end the first is left out.

    Args:
        opened: (T,) the gripper.
        velocities: (T, joints) rad/s, or m/s.
    """
    still, last, pause = slow(velocities, stopping_delta), len(opened) - 1, 0
    found = []
    for i in range(len(opened)):
        # Of i - 1 and i - 2 the negative ones are the last frames.
        rests = i < last - 1 and opened[i] == opened[i + 1] == opened[i - 1] == opened[i - 2]
        stopped = pause <= 0 and bool(still[i]) and rests
        pause = PAUSE if stopped else pause - 1
        if i and (opened[i] != opened[i - 1] or i == last or stopped):
            found.append(i)
    if len(found) > 1 and found[-1] - 1 == found[-2]:
        del found[-2]
    return np.array(found, np.int64)

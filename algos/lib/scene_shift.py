"""Augmentation of a scene and the pose that is to be reached in it: both are moved and turned about the vertical axis together.

As PerAct does (Shridhar et al. 2022, arXiv 2209.05451, section 3.4): up to 1/8 of the box along each axis, yaw in steps of 5 degrees up to
45. The scene turns about the pose, so that only the translation can carry the pose out of the box. For points in numpy, before they are
voxelised.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from algos.lib import rotations

ATTEMPTS = 100
"""draws before a scene stays as it is"""


class Shift(NamedTuple):
    translation: NDArray[np.float64]
    """(3,) metres"""
    yaw_degrees: float


def draw(
    position: NDArray,
    bounds: NDArray,
    rng: np.random.Generator,
    *,
    share: float = 0.125,
    yaw_degrees: float = 45.0,
    step_degrees: float = 5.0,
) -> Shift:
    """A shift that leaves the position (3,) within ``bounds`` (6,); none at all where no draw does.

    Args:
        share: largest translation, of the box's length on each axis.
        yaw_degrees: largest turn, of which multiples of ``step_degrees`` are drawn.
    """
    length, steps = bounds[3:] - bounds[:3], int(yaw_degrees / step_degrees)
    for _ in range(ATTEMPTS):
        translation = rng.uniform(-share, share, 3) * length
        yaw = float(rng.integers(-steps, steps + 1)) * step_degrees
        moved = position + translation
        if (moved >= bounds[:3]).all() and (moved < bounds[3:]).all():
            return Shift(translation, yaw)
    return Shift(np.zeros(3), 0.0)


def shifted_points(points: NDArray, position: NDArray, shift: Shift) -> NDArray[np.float32]:
    """Points (N, 3), turned about ``position`` (3,) and moved."""
    cos, sin = np.cos(np.radians(shift.yaw_degrees)), np.sin(np.radians(shift.yaw_degrees))
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return (points @ turn.T + (position - turn @ position + shift.translation)).astype(np.float32)


def shifted_pose(position: NDArray, quaternion: NDArray, shift: Shift) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pose, a position (3,) and a quaternion (4,), in the moved scene."""
    turn = rotations.quaternion(np.array([0.0, 0.0, shift.yaw_degrees]))
    return np.asarray(position) + shift.translation, rotations.product(turn, quaternion)

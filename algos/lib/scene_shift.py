"""Augmentation of a scene and the pose that is to be reached in it: both are moved and turned about the vertical axis together.

As PerAct does (Shridhar et al. 2022, arXiv 2209.05451, section 3.4): up to 1/8 of the box along each axis, yaw in steps of 5 degrees up to
45. All of a demonstration is moved alike, about the middle of its goals, so that its observations stay those of one scene. For points in
numpy, before they are voxelised.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from algos.lib import rotations

ATTEMPTS = 100
"""draws before a scene stays as it is"""


class Shift(NamedTuple):
    """Turned about ``pivot``, then moved."""

    translation: NDArray[np.float64]
    """(3,) metres"""
    yaw_degrees: float
    pivot: NDArray[np.float64]
    """(3,) metres"""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) of the turn."""
        cos, sin = np.cos(np.radians(self.yaw_degrees)), np.sin(np.radians(self.yaw_degrees))
        return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def draw(
    goals: NDArray,
    bounds: NDArray,
    rng: np.random.Generator,
    *,
    share: float = 0.125,
    yaw_degrees: float = 45.0,
    step_degrees: float = 5.0,
) -> Shift:
    """A shift that leaves all goals (n, 3) within ``bounds`` (6,); none at all where no draw does.

    Args:
        share: largest translation, of the box's length on each axis.
        yaw_degrees: largest turn, of which multiples of ``step_degrees`` are drawn.
    """
    length, steps, pivot = bounds[3:] - bounds[:3], int(yaw_degrees / step_degrees), goals.mean(0)
    for _ in range(ATTEMPTS):
        translation = rng.uniform(-share, share, 3) * length
        shift = Shift(translation, float(rng.integers(-steps, steps + 1)) * step_degrees, pivot)
        moved = shifted_points(goals, shift)
        if (moved >= bounds[:3]).all() and (moved < bounds[3:]).all():
            return shift
    return Shift(np.zeros(3), 0.0, pivot)


def shifted_points(points: NDArray, shift: Shift) -> NDArray:
    """Points (N, 3) of the moved scene, in their own precision."""
    turn = shift.matrix
    return (points @ turn.T + (shift.pivot - turn @ shift.pivot + shift.translation)).astype(points.dtype)


def shifted_pose(position: NDArray, quaternion: NDArray, shift: Shift) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pose, a position (3,) and a quaternion (4,), in the moved scene."""
    turn = rotations.quaternion(np.array([0.0, 0.0, shift.yaw_degrees]))
    return shifted_points(np.asarray(position, np.float64)[None], shift)[0], rotations.product(turn, quaternion)

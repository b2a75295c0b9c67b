"""Rotations as quaternions (x, y, z, w), as Euler angles, and as the bins in which a head of ``qattention`` chooses one.

Euler angles are about the fixed axes x, y, z in that order, degrees: R = Rz Ry Rx. A bin is as wide as 360 degrees / bins; bin b stands for
the angle -180 + b widths, and +180 is -180.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GIMBAL = 1e-6
"""of 1, by which the sine of the middle angle may be off a right angle before the two others can be told apart"""


def euler(quaternion: NDArray) -> NDArray[np.float64]:
    """Angles (..., 3) of quaternions (..., 4) of any length: x and z in [-180, 180], y in [-90, 90]. Where y is upright, z is 0."""
    q = np.asarray(quaternion, np.float64)
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    sine = np.clip(2 * (w * y - x * z), -1, 1)
    upright = np.abs(sine) > 1 - GIMBAL
    first = np.where(upright, 2 * np.arctan2(x, w), np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)))
    third = np.where(upright, 0.0, np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    first = np.where(upright, (first + np.pi) % (2 * np.pi) - np.pi, first)
    return np.degrees(np.stack([first, np.arcsin(sine), third], -1))


def quaternion(angles: NDArray) -> NDArray[np.float64]:
    """Quaternions (..., 4) with w >= 0 of Euler angles (..., 3)."""
    half = np.radians(np.asarray(angles, np.float64)) / 2
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(half), -1, 0), np.moveaxis(np.sin(half), -1, 0)
    x = sx * cy * cz - cx * sy * sz
    y = cx * sy * cz + sx * cy * sz
    z = cx * cy * sz - sx * sy * cz
    w = cx * cy * cz + sx * sy * sz
    return np.stack([x, y, z, w], -1) * np.where(w < 0, -1.0, 1.0)[..., None]


def product(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """The rotation (..., 4), w >= 0, that turns by b first and then by a."""
    ax, ay, az, aw = np.moveaxis(np.asarray(a, np.float64), -1, 0)
    bx, by, bz, bw = np.moveaxis(np.asarray(b, np.float64), -1, 0)
    x = aw * bx + ax * bw + ay * bz - az * by
    y = aw * by - ax * bz + ay * bw + az * bx
    z = aw * bz + ax * by - ay * bx + az * bw
    w = aw * bw - ax * bx - ay * by - az * bz
    return np.stack([x, y, z, w], -1) * np.where(w < 0, -1.0, 1.0)[..., None]


def to_bins(quaternions: NDArray, bins: int = 72) -> NDArray[np.int64]:
    """The nearest bin (..., 3) of each Euler angle of quaternions (..., 4)."""
    return np.round((euler(quaternions) + 180) * bins / 360).astype(np.int64) % bins


def from_bins(chosen: NDArray, bins: int = 72) -> NDArray[np.float64]:
    """The quaternions (..., 4), w >= 0, that bins (..., 3) stand for."""
    return quaternion(np.asarray(chosen) * (360 / bins) - 180)

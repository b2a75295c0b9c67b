"""Point clouds and voxel grids for actors: from depth images to a sparse grid, which ``dense`` spreads out for a network.

James et al. 2022, "Coarse-to-fine Q-attention" (arXiv 2106.12534), section 3.2. A voxel holds the mean of the points in it: place
(x, y, z) in metres and colour in [-1, 1]; points out of bounds vanish. A sparse grid is as exact as a dense one and some 25 times smaller,
and is what replay should keep. All points of all cameras count, at every depth: there is no crop of images.

Shapes: V voxels per axis, N points, n occupied voxels, M places for them in a record, B batch. ``bounds`` (6,): the box's least x, y, z
and its greatest, metres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = 6
"""means of a voxel: x, y, z, red, green, blue"""
CHANNELS = 10
"""of a dense grid: the means, the voxel's place on each axis / V, and whether it is occupied"""
LARGEST = 40
"""voxels per axis: their cube must be numbered by a uint16"""
TINY = 1e-12
"""metres, added to a voxel's side: a point on the upper bound must not depend on whether a division rounds up"""


class Sparse(NamedTuple):
    """The occupied voxels of one grid, in ascending order."""

    voxel: NDArray[np.uint16]
    """(n,) the voxel (i, j, k) as (i V + j) V + k"""
    value: NDArray[np.float32]
    """(n, 6) means of its points"""


def cloud(depth: NDArray, intrinsics: NDArray, extrinsics: NDArray) -> NDArray[np.float32]:
    """The points (H W, 3) in the world that the pixels of one camera show, row by row.

    Args:
        depth: (H, W) metres along the camera's axis.
        intrinsics: (3, 3); focal lengths may be negative, as where a simulator's camera looks along the other direction.
        extrinsics: (4, 4) from the camera's frame to the world's.
    """
    height, width = depth.shape
    rays = (extrinsics[:3, :3] @ np.linalg.inv(intrinsics)).astype(np.float32)  # a pixel (u, v, 1) -> what one metre of depth moves
    u, v = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    depth = np.asarray(depth, np.float32)
    points = np.empty((height, width, 3), np.float32)
    for axis in range(3):
        ray = (rays[axis, 0] * u + rays[axis, 2]) + rays[axis, 1] * v
        np.add(ray * depth, np.float32(extrinsics[axis, 3]), out=points[..., axis])
    return points.reshape(-1, 3)


def cells(points: NDArray, bounds: NDArray, voxels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the points (N, 3) are in bounds (m,), and the numbers of their voxels (m,).

    In float32, and as if the grid had one more shell of voxels around it: floor((p - (least - side)) / side) must be in [1, V]. Both
    decide what becomes of a point on a boundary. No number is in bounds that is none.
    """
    box = np.asarray(bounds, np.float32)
    side = (box[3:] - box[:3]) / np.float32(voxels)
    start, divisor = box[:3] - side, side + np.float32(TINY)
    inside, place = np.ones(len(points), bool), []
    for axis in range(3):  # one plane at a time: triples are no vectors
        cell = np.floor((points[:, axis] - start[axis]) / divisor[axis])
        inside &= (cell >= 1) & (cell <= voxels)
        place.append(cell)
    kept = np.flatnonzero(inside)
    i, j, k = (plane[kept].astype(np.int64) - 1 for plane in place)
    return kept, (i * voxels + j) * voxels + k


def voxelise(points: NDArray, colours: NDArray[np.uint8], bounds: NDArray, voxels: int) -> Sparse:
    """The grid of points (N, 3) with colours (N, 3), cameras one behind the other.

    Places are summed in float64 in the order of the points, colours as integers, and the means rounded to float32 once: the same bits as
    a loop over the points.
    """
    kept, cell = cells(np.asarray(points, np.float32), bounds, voxels)
    counts = np.bincount(cell, minlength=voxels**3)
    occupied = np.flatnonzero(counts)
    count, taken = counts[occupied].astype(np.float64), (points[kept], colours[kept])
    value = np.empty((len(occupied), FEATURES), np.float32)
    for axis in range(3):
        value[:, axis] = np.bincount(cell, taken[0][:, axis], voxels**3)[occupied] / count
        value[:, 3 + axis] = np.bincount(cell, taken[1][:, axis], voxels**3)[occupied] / count / 255 * 2 - 1
    return Sparse(occupied.astype(np.uint16), value)


def dense(grid: Sparse, voxels: int) -> NDArray[np.float32]:
    """A grid (V, V, V, 10), channels last as a network reads it."""
    out = np.zeros((voxels**3, CHANNELS), np.float32)
    out[grid.voxel, :FEATURES], out[grid.voxel, -1] = grid.value, 1.0
    axis, cube = np.arange(voxels, dtype=np.float32) / np.float32(voxels), out.reshape(voxels, voxels, voxels, CHANNELS)
    cube[..., 6], cube[..., 7], cube[..., 8] = axis[:, None, None], axis[:, None], axis
    return cube


def label(position: NDArray, bounds: NDArray, voxels: int) -> NDArray[np.int64]:
    """The voxel (..., 3) that a position (..., 3) is in, or the nearest one."""
    box = np.asarray(bounds, np.float64)
    side = (box[..., 3:] - box[..., :3]) / voxels
    return np.clip(np.floor((position - box[..., :3]) / (side + TINY)).astype(np.int64), 0, voxels - 1)


def centre(index: NDArray, bounds: NDArray, voxels: int, *, corner: bool = False) -> NDArray[np.float64]:
    """The middle (..., 3) of voxels (..., 3), metres; ``corner``: their lower corner, which the authors' code takes in demonstrations."""
    box = np.asarray(bounds, np.float64)
    side = (box[..., 3:] - box[..., :3]) / voxels
    return box[..., :3] + side * (index if corner else np.asarray(index) + 0.5)


def around(position: NDArray, reach: float) -> NDArray[np.float64]:
    """Bounds (..., 6) of the next depth's grid: a cube that reaches so many metres to every side of a position (..., 3)."""
    return np.concatenate([np.asarray(position) - reach, np.asarray(position) + reach], -1)


def flat(index: NDArray, voxels: int) -> NDArray[np.int64]:
    """The number (...,) of voxels (..., 3)."""
    return np.asarray(index, np.int64) @ np.array([voxels * voxels, voxels, 1])


def unflat(number: NDArray, voxels: int) -> NDArray[np.int64]:
    """The voxels (..., 3) of numbers (...,)."""
    return np.stack(np.unravel_index(number, (voxels, voxels, voxels)), -1)

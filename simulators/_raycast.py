"""A table with boxes and balls as cameras see it: colours and depths by exact intersections, in numpy, about a millisecond a picture."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LIGHT = np.array([0.4, 0.3, 0.866])
"""where the light comes from"""
AMBIENT = 0.45
WALL_M = 3.0
"""depth of whatever is behind the table"""
TABLE_M = 1.0
"""half the length of a side of the table"""


class Ball(NamedTuple):
    """A coloured sphere."""

    centre: NDArray[np.float64]
    """(3,) metres"""
    radius: float
    colour: tuple[int, int, int]


class Box(NamedTuple):
    """A coloured box."""

    centre: NDArray[np.float64]
    """(3,) metres"""
    half: tuple[float, float, float]
    """metres, half the lengths of its sides"""
    axes: NDArray[np.float64]
    """(3, 3) rotation; columns are the directions of its sides"""
    colour: tuple[int, int, int]


class Camera:
    """A pinhole that stands still. As in CoppeliaSim its focal lengths are negative: x is to the left, y up, z ahead.

    Args:
        eye, at: (3,) metres, where it stands and what is in the middle of its picture.
        up: (3,) what is to be up in it.
        size: pixels of a side.
        field_deg: angle of view.
    """

    def __init__(self, eye: ArrayLike, at: ArrayLike, up: ArrayLike, size: int, field_deg: float = 38.0) -> None:
        self.eye, self.size = np.asarray(eye, np.float64), size
        ahead = np.asarray(at, np.float64) - self.eye
        ahead /= np.linalg.norm(ahead)
        left = np.cross(np.asarray(up, np.float64), ahead)
        left /= np.linalg.norm(left)
        self.extrinsics = np.eye(4)
        self.extrinsics[:3] = np.stack([left, np.cross(ahead, left), ahead, self.eye], 1)
        focal = size / 2 / np.tan(np.radians(field_deg) / 2)
        self.intrinsics = np.array([[-focal, 0, size / 2], [0, -focal, size / 2], [0, 0, 1.0]])
        row, column = np.mgrid[:size, :size].astype(np.float64)
        pixels = np.stack([column, row, np.ones_like(row)], -1)
        self.rays = pixels @ np.linalg.inv(self.intrinsics).T @ self.extrinsics[:3, :3].T
        """(size, size, 3) world; times a depth, from the eye, they are the point that a pixel shows"""
        self.empty = self._table()

    def picture(self, things: list[Ball | Box]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Colours (size, size, 3) and depths (size, size) in metres along the camera's axis."""
        colours, depths = self.empty[0].copy(), self.empty[1].copy()
        for thing in things:
            window = self._window(thing)
            if window is None:
                continue
            rays = self.rays[window]
            near, normal = _ball(self.eye, rays, thing) if isinstance(thing, Ball) else _box(self.eye, rays, thing)
            seen = near < depths[window]
            bright = AMBIENT + (1 - AMBIENT) * np.maximum(normal @ LIGHT, 0)
            painted = (bright[..., None] * thing.colour).astype(np.uint8)
            depths[window] = np.where(seen, near, depths[window])
            colours[window] = np.where(seen[..., None], painted, colours[window])
        return colours, depths

    def _table(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The picture without any thing: a table of two browns, and grey behind it."""
        with np.errstate(divide="ignore"):
            depth = -self.eye[2] / self.rays[..., 2]
        point = self.eye[:2] + np.where(np.isfinite(depth), depth, 0)[..., None] * self.rays[..., :2]
        table = (depth > 0) & (depth < WALL_M) & (np.abs(point) < TABLE_M).all(-1)
        odd = (np.floor(point / 0.1).sum(-1) % 2).astype(bool)
        colours = np.where(odd[..., None], (120, 96, 72), (132, 108, 84))
        return np.where(table[..., None], colours, (90, 96, 104)).astype(np.uint8), np.where(table, depth, WALL_M).astype(np.float32)

    def _window(self, thing: Ball | Box) -> tuple[slice, slice] | None:
        """The pixels among which a thing is; None where it is out of sight."""
        radius = thing.radius if isinstance(thing, Ball) else float(np.linalg.norm(thing.half))
        x, y, z = (thing.centre - self.eye) @ self.extrinsics[:3, :3]
        if z <= radius:
            return None  # so near to the eye, or behind it: no thing of this table is
        focal = self.intrinsics[0, 0]
        column, row = focal * x / z + self.size / 2, focal * y / z + self.size / 2
        # The picture of a ball is longest toward the corners, by less than this.
        reach = 1.4 * abs(focal) * radius / (z - radius) + 2
        rows = slice(max(0, int(row - reach)), max(0, int(row + reach)))
        columns = slice(max(0, int(column - reach)), max(0, int(column + reach)))
        return rows, columns


def _ball(eye: NDArray, rays: NDArray, ball: Ball) -> tuple[NDArray, NDArray]:
    """Depths (h, w), infinite where a ray misses, and normals (h, w, 3)."""
    away = eye - ball.centre
    a, b = (rays * rays).sum(-1), rays @ away
    root = b * b - a * (away @ away - ball.radius**2)
    near = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    with np.errstate(invalid="ignore"):
        normal = (away + np.where(root > 0, near, 0)[..., None] * rays) / ball.radius
    return near, normal


def _box(eye: NDArray, rays: NDArray, box: Box) -> tuple[NDArray, NDArray]:
    """Depths (h, w), infinite where a ray misses, and normals (h, w, 3)."""
    half, origin = np.array(box.half), (eye - box.centre) @ box.axes
    local = rays @ box.axes
    local = np.where(np.abs(local) < 1e-12, 1e-12, local)  # parallel to a side: far away instead of nowhere
    one, two = (-half - origin) / local, (half - origin) / local
    enter, leave = np.minimum(one, two), np.maximum(one, two)
    side = enter.argmax(-1)
    near = np.take_along_axis(enter, side[..., None], -1)[..., 0]
    hit = (near < leave.min(-1)) & (near > 0)
    sign = -np.sign(np.take_along_axis(local, side[..., None], -1))
    return np.where(hit, near, np.inf), sign * box.axes.T[side]

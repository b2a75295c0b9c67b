"""A camera: colours and depths by exact intersections with the table and the balls."""

from __future__ import annotations

import math

import numpy as np
import rlbench_double

from pyrep.backend._sim_cffi import TABLE_M, Ball, world
from pyrep.const import RenderMode
from pyrep.errors import ObjectAlreadyRemovedError

_PLACES = {
    "cam_front": ((1.35, 0.0, 1.58), 40.0),
    "cam_over_shoulder_left": ((-0.3, -0.6, 1.7), 40.0),
    "cam_over_shoulder_right": ((-0.3, 0.6, 1.7), 40.0),
    "cam_overhead": ((0.1, 0.0, 2.1), 40.0),
    "cam_wrist": (None, 60.0),
}
_AT = np.array([0.2, 0.0, 0.9])
_WALL_M = 3.0


class VisionSensor(rlbench_double.Strict):
    def __init__(self, name_or_handle):
        world.check()
        if name_or_handle.replace("_mask", "") not in _PLACES:
            raise RuntimeError(f"Handle {name_or_handle} does not exist.")
        self._name = name_or_handle
        self._eye, self._angle = _PLACES[name_or_handle.replace("_mask", "")]
        self.resolution = [128, 128]
        self._explicit, self._mode, self._picture = 0, RenderMode.OPENGL3, None

    def _there(self):
        world.check()
        if self._name in world.removed:
            raise ObjectAlreadyRemovedError(f"{self._name} was removed")

    def remove(self):
        self._there()
        world.removed.add(self._name)

    def still_exists(self):
        world.check()
        return self._name not in world.removed

    def set_explicit_handling(self, value):
        self._there()
        self._explicit = value

    def get_explicit_handling(self):
        return self._explicit

    def set_resolution(self, resolution):
        self._there()
        width, height = resolution
        if not (isinstance(width, int) and isinstance(height, int)):
            raise TypeError("an integer is required")
        self.resolution = [width, height]

    def get_resolution(self):
        return list(self.resolution)

    def set_render_mode(self, render_mode):
        self._there()
        self._mode = RenderMode(render_mode)

    def get_perspective_angle(self):
        return self._angle

    def get_near_clipping_plane(self):
        return 0.01

    def get_far_clipping_plane(self):
        return 3.5

    def handle_explicitly(self):
        self._there()
        if not self.get_explicit_handling():
            raise RuntimeError("The explicit_handling is disabled. Call set_explicit_handling(value=1) to enable explicit_handling first.")
        kind = "mask" if self._name.endswith("_mask") else "picture" if self._mode is RenderMode.OPENGL else "slow_picture"
        rlbench_double.done[kind] += 1
        self._picture = self._draw()

    def capture_rgb(self):
        self._there()
        return self._picture[0].copy()

    def capture_depth(self, in_meters=False):
        self._there()
        depth = self._picture[1].copy()
        if not in_meters:
            near, far = self.get_near_clipping_plane(), self.get_far_clipping_plane()
            depth = (depth - near) / (far - near)
        return depth.astype(np.float32)

    def pointcloud_from_depth(self, depth):
        rlbench_double.done["point_cloud"] += 1
        matrix, (rows, columns) = self.get_matrix(), np.mgrid[: depth.shape[0], : depth.shape[1]].astype(float)
        seen = np.stack([columns * depth, rows * depth, depth], -1) @ np.linalg.inv(self.get_intrinsic_matrix()).T
        return seen @ matrix[:3, :3].T + matrix[:3, 3]

    def get_intrinsic_matrix(self):
        size = np.array(self.get_resolution())
        focal = -size / (2 * np.tan(math.radians(self.get_perspective_angle()) / 2))
        return np.array([[focal[0], 0.0, size[0] / 2], [0.0, focal[1], size[1] / 2], [0.0, 0.0, 1.0]])

    def get_matrix(self, relative_to=None):
        self._there()
        eye = world.tip[:3] + [0.0, 0.0, 0.1] if self._eye is None else np.array(self._eye)
        ahead = np.array([0.0, 0.0, -1.0]) if self._eye is None else _AT - eye
        ahead = ahead / np.linalg.norm(ahead)
        left = np.cross([1.0, 0.0, 0.0] if abs(ahead[2]) > 0.99 else [0.0, 0.0, 1.0], ahead)
        left /= np.linalg.norm(left)
        matrix = np.eye(4)
        matrix[:3] = np.stack([left, np.cross(ahead, left), ahead, eye], 1)
        return matrix

    def _draw(self):
        """Colours (h, w, 3) float32, 0 to 1, and depths (h, w) in metres."""
        matrix, (width, height) = self.get_matrix(), self.resolution
        row, column = np.mgrid[:height, :width].astype(float)
        rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(self.get_intrinsic_matrix()).T @ matrix[:3, :3].T
        eye = matrix[:3, 3]
        with np.errstate(divide="ignore"):
            table = (TABLE_M - eye[2]) / rays[..., 2]
        on_table = (table > 0) & (table < _WALL_M)
        depth = np.where(on_table, table, _WALL_M)
        colours = np.where(on_table[..., None], (0.5, 0.4, 0.3), (0.4, 0.4, 0.45))
        hand = Ball("hand", world.tip[:3] + [0, 0, 0.05], 0.03, (0.9, 0.9, 0.9))
        for ball in [*world.balls.values(), hand]:
            away = eye - ball.centre
            a, b = (rays * rays).sum(-1), rays @ away
            root = b * b - a * (away @ away - ball.radius**2)
            near = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
            seen = (near > 0.01) & (near < depth)
            depth = np.where(seen, near, depth)
            colours = np.where(seen[..., None], ball.colour, colours)
        return colours.astype(np.float32), depth

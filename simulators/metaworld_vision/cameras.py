"""Where the cameras stand, and the matrices that turn their pixels into points of the world.

Meta-World's own cameras show most goals with a handful of pixels at 128 x 128; ``front`` and its like are ours and stand closer.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pose(NamedTuple):
    """Of a camera that stands still."""

    position: tuple[float, float, float]
    """metres, world"""
    target: tuple[float, float, float]
    """a point in the middle of the image"""
    fovy_deg: float
    """opening angle of the image's height"""


OWN = {
    "front": Pose((0.65, 0.25, 0.85), (0.0, 0.65, 0.11), 41.0),
    "left": Pose((-0.65, 0.25, 0.85), (0.0, 0.65, 0.11), 41.0),
    "above": Pose((0.0, 0.62, 1.3), (0.0, 0.7, 0.0), 42.0),
}


class View(NamedTuple):
    """A camera at one moment."""

    position: NDArray[np.float64]
    """(3,) metres, world"""
    axes: NDArray[np.float64]
    """(3, 3), columns in the world: the image's right, its down, forward"""
    fovy_deg: float

    def intrinsics(self, size: int) -> NDArray[np.float64]:
        """(3, 3), of an image of ``size`` rows and columns; the middle of the first pixel is (0, 0)."""
        focal, middle = 0.5 * size / np.tan(np.deg2rad(self.fovy_deg) / 2), (size - 1) / 2
        return np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]], np.float64)

    def extrinsics(self) -> NDArray[np.float64]:
        """(4, 4), camera to world."""
        made = np.eye(4)
        made[:3, :3], made[:3, 3] = self.axes, self.position
        return made


def view(name: str, model: Any, data: Any) -> View:
    """Where a camera of ours or of the model is now."""
    if name in OWN:
        pose = OWN[name]
        position, forward = np.array(pose.position), np.subtract(pose.target, pose.position)
        forward /= np.linalg.norm(forward)
        # Straight down there is no level line: the robot's forward is up.
        level = (0.0, 0.0, 1.0) if abs(forward[2]) < 0.99 else (0.0, 1.0, 0.0)
        right = np.cross(forward, level)
        right /= np.linalg.norm(right)
        return View(position, np.stack([right, np.cross(forward, right), forward], axis=1), pose.fovy_deg)
    camera = model.camera(name).id
    x, y, z = data.cam_xmat[camera].reshape(3, 3).T  # MuJoCo's look along -z, with y up
    return View(data.cam_xpos[camera].copy(), np.stack([x, -y, -z], axis=1), float(model.cam_fovy[camera]))

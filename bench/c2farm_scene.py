"""Made-up scenes for ``bench/c2farm_update.py``: boxes on a table, ray-cast into depth and colour as one camera would see them."""

from typing import NamedTuple

import numpy as np

PIXELS, REACH, VOXELS, BINS = 128, 0.15, 16, 72
"""of an image's side; metres from the middle of the second depth's grid to its sides; voxels per axis; rotation bins per angle"""
CROP = 64
"""pixels of a side that the authors' code looks at in its second depth, around where the first one points"""
BOUNDS = np.array([-0.3, -0.5, 0.6, 0.7, 0.5, 1.6])
"""metres, of the first depth's grid"""
TABLE, FAR = 0.752, 3.5
"""metres: height of the table's top, on no border of voxels, where rounding would decide; how far the camera sees"""
LOW_DIM = 11
INTRINSICS = np.array([[-175.8, 0.0, 64.0], [0.0, -175.8, 64.0], [0.0, 0.0, 1.0]])
"""with negative focal lengths: the camera's x is to its left and its y up"""
BOXES = 5


class Scenes(NamedTuple):
    """B states, what was done in them, and where that led."""

    depth: np.ndarray
    """(2, B, 128, 128) metres; before and after"""
    colour: np.ndarray
    """(2, B, 128, 128, 3) uint8"""
    low_dim: np.ndarray
    """(2, B, 11)"""
    position: np.ndarray
    """(2, B, 3) metres, where the gripper goes next"""
    rotation: np.ndarray
    """(B, 3) bins"""
    gripper: np.ndarray
    """(B,) 0 or 1"""
    terminal: np.ndarray
    """(B,) two in five"""
    reward: np.ndarray
    """(B,) 1 where a success ended it"""
    probability: np.ndarray
    """(B,) of the rows under replay's priorities"""


def camera() -> np.ndarray:
    """(4, 4) from its frame to the world's: in front of the table, looking down onto its middle."""
    place, aim = np.array([1.35, 0.0, 1.58]), np.array([0.2, 0.0, 0.8])
    forward = (aim - place) / np.linalg.norm(aim - place)
    left = np.cross([0.0, 0.0, 1.0], forward)
    left /= np.linalg.norm(left)
    extrinsics = np.eye(4)
    extrinsics[:3] = np.stack([left, np.cross(forward, left), forward, place], -1)
    return extrinsics


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (128, 128), colour (128, 128, 3) and the top of one box (3,)."""
    v, u = np.mgrid[:PIXELS, :PIXELS].reshape(2, -1)
    extrinsics = camera()
    rays = (extrinsics[:3, :3] @ np.linalg.inv(INTRINSICS) @ np.stack([u, v, np.ones_like(u)])).T  # one metre along the camera's axis
    start = extrinsics[:3, 3]
    best, colour = np.full(len(rays), FAR), np.full((len(rays), 3), 60, np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        table = (TABLE - start[2]) / rays[:, 2]
        hit = start + table[:, None] * rays
        on = (table > 0) & (table < best) & (abs(hit[:, 0] - 0.2) < 0.55) & (abs(hit[:, 1]) < 0.7)
        best[on], colour[on] = table[on], (150, 110, 70)
        for _ in range(BOXES):
            half = rng.uniform(0.02, 0.07, 3)
            middle = np.array([rng.uniform(-0.05, 0.45), rng.uniform(-0.3, 0.3), TABLE + half[2]])
            sides = np.sort(np.stack([(middle - half - start) / rays, (middle + half - start) / rays]), 0)
            enter, leave = sides[0].max(1), sides[1].min(1)
            on = (enter < leave) & (enter > 0) & (enter < best)
            best[on], colour[on] = enter[on], rng.integers(40, 255, 3)
    colour = np.clip(colour + rng.normal(0, 5, colour.shape), 0, 255).astype(np.uint8)
    shape = (PIXELS, PIXELS)
    return best.reshape(shape).astype(np.float32), colour.reshape(*shape, 3), middle + np.array([0.0, 0.0, half[2] - 0.005])


def make_scenes(batch: int) -> Scenes:
    rng = np.random.default_rng(0)
    depth, colour, position = (np.stack(part) for part in zip(*(scene(rng) for _ in range(2 * batch)), strict=True))
    terminal = np.arange(batch) % 5 < 2
    return Scenes(
        depth.reshape(2, batch, PIXELS, PIXELS),
        colour.reshape(2, batch, PIXELS, PIXELS, 3),
        rng.standard_normal((2, batch, LOW_DIM), np.float32),
        position.reshape(2, batch, 3) + rng.uniform(-0.02, 0.02, (2, batch, 3)),
        rng.integers(0, BINS, (batch, 3)),
        rng.integers(0, 2, batch),
        terminal,
        (terminal & (rng.random(batch) < 0.7)).astype(np.float32),
        rng.uniform(0.1, 2.0, batch).astype(np.float32),
    )


def pixel(position: np.ndarray) -> np.ndarray:
    """(row, column) at which the camera sees a position (3,)."""
    seen = np.linalg.inv(camera()) @ [*position, 1.0]
    u, v, _ = INTRINSICS @ (seen[:3] / seen[2])
    return np.array([int(v), int(u)])


def crop(image: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The part of an image (128, 128, ...) that the authors' code looks at: their sampling goes to 127/128 of a pixel's number."""
    first = np.clip(middle - CROP // 2, 0, PIXELS - CROP)
    rows, columns = (np.round((start + np.arange(CROP)) * (PIXELS - 1) / PIXELS).astype(int) for start in first)
    return image[rows][:, columns]

"""Between what is seen and done by next-best poses and the columns of replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, NamedTuple

import numpy as np

from outpost.policies.grids import Column, columns, pack
from outpost.policies.next_best_pose import Choice, Space
from outpost.policies.voxels import Sparse, cloud, flat

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Looked(NamedTuple):
    """What one observation came to."""

    choice: Choice
    grids: list[Sparse]
    """of each depth"""
    rgb: NDArray[np.uint8] | None = None
    """(H, W, 3) of the first camera, where images are kept"""


class LiveRows:
    """Rows of one kind of simulator.

    Args:
        room: voxels of an observation that a row has room for.
        pixels: (H, W, 3) of the first camera.
        image: the first camera's image is kept too.
    """

    def __init__(self, space: Space, room: int, pixels: tuple[int, ...], *, image: bool) -> None:
        self.space, self.room, self.pixels, self.image = space, room, pixels, image
        self.keyframes = space.keyframes

    def encoded(self) -> tuple[Column, ...]:
        """Grids, and the middles (L - 1, 3) of the cubes that all depths but the first saw."""
        middles = Column("centre", (self.space.depths - 1, 3), "float32", "metres")
        images = (Column("context_rgb", self.pixels, "uint8"),) if self.image else ()
        return (*columns(self.room, self.space.depths), middles, *images)

    def fields(self) -> tuple[Column, ...]:
        """What was chosen: a voxel's number of each depth, and of each head."""
        heads = [Column("rotation", (3,), "uint8")] * self.keyframes.rotation + [Column("grip", (), "uint8")]
        heads += [Column("collide", (), "uint8")] * self.keyframes.collisions
        return (Column("voxel", (self.space.depths,), "uint16"), *heads)

    def cloud(self, shown: Mapping[str, NDArray], i: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Points and colours (n, 3) that all cameras of observation ``i`` show."""
        told = [[shown[f"{name}_{part}"][i] for part in ("depth", "intrinsics", "extrinsics")] for name in self.keyframes.cameras]
        colours = [shown[f"{name}_rgb"][i].reshape(-1, 3) for name in self.keyframes.cameras]
        return np.concatenate([cloud(*parts) for parts in told]), np.concatenate(colours)

    def rgb(self, shown: Mapping[str, NDArray], i: int) -> NDArray[np.uint8] | None:
        """(H, W, 3) where images are kept."""
        return shown[f"{self.keyframes.cameras[0]}_rgb"][i] if self.image else None

    def encoding(self, looked: Looked) -> dict[str, NDArray]:
        """The columns of ``encoded``."""
        images = {} if looked.rgb is None else {"context_rgb": looked.rgb}
        return {**pack(looked.grids, self.room), "centre": looked.choice.centre, **images}

    def labels(self, choice: Choice) -> dict[str, NDArray]:
        """The columns of ``fields``."""
        told = {"rotation": choice.rotation, "grip": np.array(choice.grip), "collide": np.array(choice.collide)}
        return {"voxel": flat(choice.translation, self.space.voxels), **{field.name: told[field.name] for field in self.fields()[1:]}}

"""A next-best pose as what the heads of the networks choose: a voxel per depth, bins of rotation, gripper, whether to ignore collisions.

James et al. 2022, "Coarse-to-fine Q-attention" (arXiv 2106.12534), section 3.4: depth 0 sees the whole workspace, each further depth a
cube around the voxel that the one before it chose.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from algos.lib.rotations import from_bins, to_bins
from algos.lib.voxels import around, centre, label
from core.poses import Target, action_of
from core.types import Keyframes


class Choice(NamedTuple):
    """One pose, L depths."""

    translation: NDArray[np.int64]
    """(L, 3) voxel of each depth"""
    centre: NDArray[np.float32]
    """(L - 1, 3) metres, of the cubes that the depths after the first see"""
    rotation: NDArray[np.int64]
    """(3,) bins; 0 where the gripper cannot be turned"""
    grip: int
    """1 open"""
    collide: int
    """1 where collisions are ignored"""


class Space:
    """The workspace at each depth.

    Args:
        voxels: V per axis.
        reach: metres, half the side of the cube of each depth after the first.
        bins: of each Euler angle.
        corner: a demonstration's cube lies around the lower corner of the voxel before, as in the authors' code; else around its middle.
    """

    def __init__(self, keyframes: Keyframes, voxels: int, reach: tuple[float, ...], bins: int, *, corner: bool = False) -> None:
        self.keyframes, self.voxels, self.reach, self.bins, self.corner = keyframes, voxels, reach, bins, corner
        self.depths = 1 + len(reach)
        """L"""

    def bounds(self, depth: int, middle: NDArray) -> NDArray[np.float64]:
        """(6,) of what a depth sees; ``middle`` (3,) means nothing at depth 0."""
        return around(np.asarray(middle, np.float64), self.reach[depth - 1]) if depth else np.array(self.keyframes.bounds)

    def next_centre(self, index: NDArray, bounds: NDArray) -> NDArray[np.float32]:
        """Of the cube that follows when the voxel ``index`` (3,) of ``bounds`` is chosen."""
        return centre(index, bounds, self.voxels).astype(np.float32)

    def choice(self, target: Target, jitter: NDArray | None = None) -> Choice:
        """What would have led to a pose.

        Args:
            jitter: (L - 1, 3) metres by which the cubes lie beside the voxels chosen before: the augmentation of crops.
        """
        centres, found = np.zeros((self.depths - 1, 3), np.float32), np.zeros((self.depths, 3), np.int64)
        bounds = self.bounds(0, np.zeros(3))
        for depth in range(self.depths):
            found[depth] = label(target.position, bounds, self.voxels)
            if depth + 1 < self.depths:
                middle = centre(found[depth], bounds, self.voxels, corner=self.corner)
                centres[depth] = middle if jitter is None else middle + jitter[depth]
                bounds = self.bounds(depth + 1, centres[depth])
        turned = np.zeros(3, np.int64) if target.quaternion is None else to_bins(target.quaternion, self.bins)
        return Choice(found, centres, turned, int(target.open), int(target.ignore_collisions))

    def jitter(self, share: float) -> NDArray[np.float64]:
        """(L - 1, 1) metres by which a cube may lie beside the voxel before it: ``share`` of its reach, as long as that voxel is in it."""
        halves = [(self.bounds(0, np.zeros(3))[3:] - self.bounds(0, np.zeros(3))[:3]).max() / 2, *self.reach]
        room = [reach - half / self.voxels for reach, half in zip(self.reach, halves, strict=False)]
        most = [share * reach if self.corner else min(share * reach, max(0.0, left)) for reach, left in zip(self.reach, room, strict=True)]
        return np.array(most).reshape(-1, 1)

    def position(self, choice: Choice) -> NDArray[np.float64]:
        """(3,) metres, the middle of the last depth's voxel."""
        last = self.depths - 1
        return centre(choice.translation[last], self.bounds(last, choice.centre[last - 1] if last else np.zeros(3)), self.voxels)

    def action(self, choice: Choice) -> NDArray[np.float32]:
        """(A,) in [-1, 1]; a cube may reach out of the workspace: what lies there is brought to its border."""
        pose = np.concatenate([self.position(choice), from_bins(choice.rotation, self.bins)])
        pose[:3] = np.clip(pose[:3], self.keyframes.bounds[:3], self.keyframes.bounds[3:])
        return action_of(self.keyframes, pose, choice.grip, bool(choice.collide))

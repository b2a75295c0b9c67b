"""A demonstrated pose as what the heads of the networks would have chosen; ``outpost.policies.next_best_pose`` has the way back, to act.

James et al. 2022, "Coarse-to-fine Q-attention" (arXiv 2106.12534), section 3.4.
"""

import numpy as np
from numpy.typing import NDArray

from core.poses import Target
from core.types import Keyframes
from outpost.policies import next_best_pose
from outpost.policies.next_best_pose import Choice
from outpost.policies.rotations import to_bins
from outpost.policies.voxels import centre, label

__all__ = ["Choice", "Space"]


class Space(next_best_pose.Space):
    """The workspace at each depth.

    Args:
        corner: a demonstration's cube lies around the lower corner of the voxel before, as in the authors' code; else around its middle.
    """

    def __init__(self, keyframes: Keyframes, voxels: int, reach: tuple[float, ...], bins: int, *, corner: bool = False) -> None:
        super().__init__(keyframes, voxels, reach, bins)
        self.corner = corner

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

"""A next-best pose as what the heads of the networks choose: a voxel per depth, bins of rotation, gripper, whether to ignore collisions.

James et al. 2022, "Coarse-to-fine Q-attention" (arXiv 2106.12534), section 3.4: depth 0 sees the whole workspace, each further depth a
cube around the voxel that the one before it chose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Sequence

import numpy as np

from outpost.policies.rotations import from_bins
from outpost.policies.voxels import around, centre
from outpost.poses import action_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Keyframes(Protocol):
    """What ``core.types.Keyframes`` tells of a simulator, where core is not."""

    @property
    def bounds(self) -> Sequence[float]: ...

    @property
    def cameras(self) -> Sequence[str]: ...

    @property
    def rotation(self) -> bool: ...

    @property
    def collisions(self) -> bool: ...


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
    """

    def __init__(self, keyframes: Keyframes, voxels: int, reach: Sequence[float], bins: int) -> None:
        self.keyframes, self.voxels, self.reach, self.bins = keyframes, voxels, reach, bins
        self.depths = 1 + len(reach)
        """L"""

    def bounds(self, depth: int, middle: NDArray) -> NDArray[np.float64]:
        """(6,) of what a depth sees; ``middle`` (3,) means nothing at depth 0."""
        return around(np.asarray(middle, np.float64), self.reach[depth - 1]) if depth else np.array(self.keyframes.bounds)

    def next_centre(self, index: NDArray, bounds: NDArray) -> NDArray[np.float32]:
        """Of the cube that follows when the voxel ``index`` (3,) of ``bounds`` is chosen."""
        return centre(index, bounds, self.voxels).astype(np.float32)

    def position(self, choice: Choice) -> NDArray[np.float64]:
        """(3,) metres, the middle of the last depth's voxel."""
        last = self.depths - 1
        return centre(choice.translation[last], self.bounds(last, choice.centre[last - 1] if last else np.zeros(3)), self.voxels)

    def action(self, choice: Choice) -> NDArray[np.float32]:
        """(A,) in [-1, 1]; a cube may reach out of the workspace: what lies there is brought to its border."""
        own = self.keyframes
        pose = np.concatenate([self.position(choice), from_bins(choice.rotation, self.bins)])
        pose[:3] = np.clip(pose[:3], own.bounds[:3], own.bounds[3:])
        return action_of(pose, choice.grip, own.bounds, own.rotation, own.collisions, bool(choice.collide))

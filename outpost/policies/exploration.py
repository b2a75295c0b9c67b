"""Exploration of C2F-ARM: now and then an action is disturbed, as the authors' code has it, but never uses it.

A disturbed action has round(N(0, 1)) added to each axis of its voxels and to its rotation's bins; its gripper, and whether collisions are
ignored, are drawn anew with a chance of 1 in 5.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Sequence

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANEW = 0.2
BINARY = 2
"""choices of a head that is drawn anew, not shifted"""


def noise_dim(depths: int, heads: int) -> int:
    """D, standard normal numbers per action: whether, three for each depth, two for each head."""
    return 1 + 3 * depths + 2 * heads


def disturbs(noise: NDArray[np.float32], chance: float) -> NDArray[np.bool_]:
    """(N,) which actions are disturbed; ``noise`` is (N, D)."""
    return noise[:, 0] < below(chance)


def below(chance: float) -> float:
    """What a standard normal number is below of with this chance."""
    return float("inf") if chance >= 1 else -float("inf") if chance <= 0 else NormalDist().inv_cdf(chance)


def moved(voxel: NDArray[np.int64], depth: int, voxels: int, noise: NDArray[np.float32]) -> NDArray[np.int64]:
    """Voxels (N, 3) of a depth, disturbed."""
    return np.clip(voxel + np.round(noise[:, 1 + 3 * depth : 4 + 3 * depth]).astype(np.int64), 0, voxels - 1)


def turned(choice: NDArray[np.int64], heads: Sequence[int], noise: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choices (N, H) of the heads, disturbed."""
    shift, anew = np.split(noise[:, -2 * len(heads) :], 2, 1)
    out = (choice + np.round(shift).astype(np.int64)) % np.array(heads)
    for h in np.flatnonzero(np.array(heads) == BINARY):
        out[:, h] = np.where(anew[:, h] < below(ANEW), shift[:, h] > 0, choice[:, h])
    return out

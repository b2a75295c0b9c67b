"""Dense voxel grids in torch, from the sparse ones that ``outpost.policies.voxels`` makes of point clouds, also where no torch is."""

import torch
from torch import Tensor

from outpost.policies.voxels import (
    CHANNELS,
    FEATURES,
    LARGEST,
    TINY,
    Sparse,
    around,
    cells,
    centre,
    cloud,
    flat,
    label,
    unflat,
    voxelise,
)

__all__ = [
    "CHANNELS",
    "FEATURES",
    "LARGEST",
    "TINY",
    "Sparse",
    "around",
    "cells",
    "centre",
    "cloud",
    "dense",
    "flat",
    "label",
    "unflat",
    "voxelise",
]


def dense(index: Tensor, value: Tensor, count: Tensor, voxels: int) -> Tensor:
    """Grids (B, V, V, V, 10), channels last as ``qattention`` reads them. On any device, and without waiting for it.

    Args:
        index: (B, M) uint16 or another integer, of which the first ``count`` are occupied voxels.
        value: (B, M, 6) their means; float16 will do.
        count: (B,) integer; 0 is an empty grid.
    """
    (B, M), cube = index.shape, voxels**3
    if M == 0:
        return _with_places(value.new_zeros((B, cube, FEATURES + 1), dtype=torch.float32), voxels)
    last = (count.to(torch.int64) - 1).clamp(min=0)[:, None]
    slot = torch.minimum(torch.arange(M, device=index.device), last)  # places behind the last repeat it: the same is written again
    known = (count > 0).to(torch.float32)[:, None, None]
    told = value.float().gather(1, slot[..., None].expand(-1, -1, FEATURES))
    told = torch.cat([told, torch.ones_like(told[..., :1])], -1) * known
    where = index.to(torch.int64).gather(1, slot) * (known[..., 0] > 0)  # what an empty grid's places hold may be anything
    grid = told.new_zeros(B, cube, FEATURES + 1)
    return _with_places(grid.scatter_(1, where[..., None].expand(-1, -1, FEATURES + 1), told), voxels)


def _with_places(grid: Tensor, voxels: int) -> Tensor:
    """(B, V^3, 7), means and occupancy, -> (B, V, V, V, 10)"""
    axis = torch.arange(voxels, dtype=torch.float32, device=grid.device) / voxels
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).expand(len(grid), -1, -1, -1, -1)
    grid = grid.unflatten(1, (voxels, voxels, voxels))
    return torch.cat([grid[..., :FEATURES], places, grid[..., FEATURES:]], -1)

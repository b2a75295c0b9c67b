"""Dense voxel grids in torch from records of replay, which ``outpost.policies.grids`` makes: what stands for an observation's images."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from algos.lib.voxels import FEATURES, Sparse, dense
from outpost.policies.grids import columns, pack, stacked

__all__ = ["columns", "pack", "stacked", "together", "unpack"]


def unpack(record: Mapping[str, Tensor], depth: int, voxels: int) -> Tensor:
    """Grids (B, V, V, V, 10) of one depth from records (B, ...)."""
    count = record["voxel_count"].to(torch.int64)
    first, room = count[:, :depth].sum(1), record["voxel_index"].shape[1]
    place = (first[:, None] + torch.arange(room, device=first.device)).clamp(max=room - 1)
    index = record["voxel_index"].to(torch.int64).gather(1, place)
    value = record["voxel_value"].gather(1, place[..., None].expand(-1, -1, FEATURES))
    return dense(index, value, count[:, depth], voxels)


def together(grids: Sequence[Sparse], voxels: int) -> Tensor:
    """Grids (B, V, V, V, 10) of as many sparse ones."""
    room = max(1, *(len(grid.voxel) for grid in grids))
    index, value = np.zeros((len(grids), room), np.int64), np.zeros((len(grids), room, FEATURES), np.float32)
    for i, grid in enumerate(grids):
        index[i, : len(grid.voxel)], value[i, : len(grid.voxel)] = grid.voxel, grid.value
    count = torch.tensor([len(grid.voxel) for grid in grids])
    return dense(torch.from_numpy(index), torch.from_numpy(value), count, voxels)

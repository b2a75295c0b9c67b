"""Sparse voxel grids of all depths in one record of replay, and back: what stands for an observation's images."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib.voxels import FEATURES, Sparse, dense
from core.types import Field

MOST = np.iinfo(np.uint16).max


def columns(room: int, depths: int) -> tuple[Field, ...]:
    """Of ``room`` voxels, those of depth 0 first.

    ``voxel_missing`` counts those that found no room: at 0 a record is exact.
    """
    return (
        Field("voxel_value", (room, FEATURES), "float32", "metres, colours in [-1, 1]"),
        Field("voxel_index", (room,), "uint16"),
        Field("voxel_count", (depths,), "uint16"),
        Field("voxel_missing", (), "uint16"),
    )


def pack(grids: Sequence[Sparse], room: int) -> dict[str, NDArray]:
    """The record of one observation. Where there is no room for all, the voxels of depth 0 at the far end of the x axis are left out: the
    finer depths are where hands go."""
    fine = sum(len(grid.voxel) for grid in grids[1:])
    kept = [len(grid.voxel) for grid in grids]
    kept[0] = max(0, min(kept[0], room - fine))
    for depth in range(1, len(grids)):
        kept[depth] = min(kept[depth], room - sum(kept[:depth]))
    record = {field.name: np.zeros(field.shape, field.dtype) for field in columns(room, len(grids))}
    at = 0
    for grid, count in zip(grids, kept, strict=True):
        record["voxel_index"][at : at + count], record["voxel_value"][at : at + count] = grid.voxel[:count], grid.value[:count]
        at += count
    record["voxel_count"][:] = kept
    record["voxel_missing"][...] = min(sum(len(grid.voxel) for grid in grids) - at, MOST)
    return record


def stacked(records: Sequence[Mapping[str, NDArray]]) -> dict[str, NDArray]:
    """Records of N observations, (N, ...)."""
    return {name: np.stack([record[name] for record in records]) for name in records[0]}


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

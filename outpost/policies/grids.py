"""Sparse voxel grids of all depths in one record of replay: what stands for an observation's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence

import numpy as np

from outpost.policies.voxels import FEATURES, Sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = np.iinfo(np.uint16).max


class Column(NamedTuple):
    """One named array of a replay row; the numbers of ``core.types.Field``, in its order."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    unit: str = ""


def columns(room: int, depths: int) -> tuple[Column, ...]:
    """Of ``room`` voxels, those of depth 0 first.

    ``voxel_missing`` counts those that found no room: at 0 a record is exact.
    """
    return (
        Column("voxel_value", (room, FEATURES), "float32", "metres, colours in [-1, 1]"),
        Column("voxel_index", (room,), "uint16"),
        Column("voxel_count", (depths,), "uint16"),
        Column("voxel_missing", (), "uint16"),
    )


def pack(grids: Sequence[Sparse], room: int) -> dict[str, NDArray]:
    """The record of one observation. Where there is no room for all, the voxels of depth 0 at the far end of the x axis are left out: the
    finer depths are where hands go."""
    fine = sum(len(grid.voxel) for grid in grids[1:])
    kept = [len(grid.voxel) for grid in grids]
    kept[0] = max(0, min(kept[0], room - fine))
    for depth in range(1, len(grids)):
        kept[depth] = min(kept[depth], room - sum(kept[:depth]))
    record = {column.name: np.zeros(column.shape, column.dtype) for column in columns(room, len(grids))}
    at = 0
    for grid, count in zip(grids, kept):
        record["voxel_index"][at : at + count], record["voxel_value"][at : at + count] = grid.voxel[:count], grid.value[:count]
        at += count
    record["voxel_count"][:] = kept
    record["voxel_missing"][...] = min(sum(len(grid.voxel) for grid in grids) - at, MOST)
    return record


def stacked(records: Sequence[Mapping[str, NDArray]]) -> dict[str, NDArray]:
    """Records of N observations, (N, ...)."""
    return {name: np.stack([record[name] for record in records]) for name in records[0]}

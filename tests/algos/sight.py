"""How the tests of C2F-ARM look into rows: points that a camera shows, grids that are kept, dense ones of exact bits."""

import numpy as np
import torch

from algos.lib import grids
from algos.lib.voxels import cloud, dense


def bounds_of(algorithm, columns, step: int, depth: int):
    return algorithm.space.bounds(depth, columns["centre"][step, depth - 1] if depth else np.zeros(3))


def points_of(observations, at: int):
    camera = [observations[f"front_{part}"][at] for part in ("depth", "intrinsics", "extrinsics")]
    return cloud(*camera), observations["front_rgb"][at].reshape(-1, 3)


def grid_of(columns, step: int, depth: int, voxels: int):
    record = {name: torch.from_numpy(value[step : step + 1]) for name, value in columns.items() if name.startswith("voxel_")}
    return grids.unpack(record, depth, voxels)


def spread(sparse, voxels: int):
    return dense(torch.from_numpy(sparse.voxel)[None], torch.from_numpy(sparse.value)[None], torch.tensor([len(sparse.voxel)]), voxels)

"""Statistics of a LeRobot data set: of each feature of each episode, and of all episodes together."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Stats = dict[str, NDArray]
"""min, max, mean, std, count and quantiles"""


def of_feature(values: NDArray) -> Stats:
    """Of (n, C) or (n, H, W) numbers for each of the last axis, of (n,) numbers one (1,), of pictures (n, H, W, 3) (3, 1, 1), 0 to 1.

    ``count`` is n in every case.
    """
    picture = values.ndim == 4
    flat = (values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values[:, None]).astype(np.float64) / (255 if picture else 1)
    found = {"min": flat.min(axis=0), "max": flat.max(axis=0), "mean": flat.mean(axis=0), "std": flat.std(axis=0)}
    found |= dict(zip(QUANTILES, np.quantile(flat, list(QUANTILES.values()), axis=0), strict=True))
    return {name: each.reshape(3, 1, 1) if picture else each for name, each in found.items()} | {"count": np.array([len(values)])}


def together(episodes: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Of all: exact, but for quantiles, which are the episodes' means by their lengths, as LeRobot has them."""
    return {name: _together([episode[name] for episode in episodes]) for name in episodes[0]}


def _together(parts: Sequence[Stats]) -> Stats:
    count = np.array([part["count"][0] for part in parts])
    share = count / count.sum()

    def mean(values: Sequence[NDArray]) -> NDArray:
        return np.tensordot(share, np.stack(values), axes=1)

    middle = mean([part["mean"] for part in parts])
    spread = np.sqrt(mean([part["std"] ** 2 + (part["mean"] - middle) ** 2 for part in parts]))
    ends = {"min": np.min([part["min"] for part in parts], axis=0), "max": np.max([part["max"] for part in parts], axis=0)}
    quantiles = {name: mean([part[name] for part in parts]) for name in QUANTILES}
    return {**ends, "mean": middle, "std": spread, "count": np.array([count.sum()]), **quantiles}

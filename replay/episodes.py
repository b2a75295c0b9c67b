"""Which rows belong to which episode: what the ring asks when an episode is withdrawn. A rare event, hence a plain scan."""

import numpy as np
from numpy.typing import NDArray

from core.rows import STEP


def episode_key(writer: int, episode: int) -> int:
    """One number for an episode: both parts are int32."""
    return int(writer) << 32 | int(episode)


def _keys(rows: NDArray, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows["writer"][slots].astype(np.int64) << 32 | rows["episode"][slots].astype(np.int64)


def rows_of(rows: NDArray, kinds: NDArray[np.uint8], slots: NDArray[np.int64], keys: list[int]) -> NDArray[np.int64]:
    """Positions within ``slots`` of the STEP rows of these episodes. ``rows``, ``kinds``: of one task."""
    wanted = np.isin(_keys(rows, slots), np.array(keys, np.int64))
    return np.flatnonzero(wanted & (kinds[slots] == STEP))


def open_episodes(rows: NDArray, slots: list[NDArray[np.int64]], writer: int | None) -> list[int]:
    """Keys of the episodes, of one writer or of all, that have STEP rows but no end.

    Args:
        rows: (K, ...) records
        slots: for each task those of its STEP rows
    """
    started, ended = [], []
    for records, steps in zip(rows, slots, strict=True):
        mine = steps if writer is None else steps[records["writer"][steps] == writer]
        keys = _keys(records, mine)
        started.append(keys)
        ended.append(keys[records["terminated"][mine] | records["truncated"][mine]])
    return np.setdiff1d(np.concatenate(started), np.concatenate(ended)).tolist()

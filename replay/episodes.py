"""Which rows belong to which episode: what the ring asks when an episode is withdrawn. A rare event, hence a plain scan."""

import numpy as np
from numpy.typing import NDArray

from core.rows import STEP


def episode_key(writer: int, episode: int) -> int:
    """One number for an episode: both parts are int32."""
    return int(writer) << 32 | int(episode)


def _keys(rows: NDArray, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows["writer"][slots].astype(np.int64) << 32 | rows["episode"][slots].astype(np.int64)


def rows_of(rows: NDArray, slots: NDArray[np.int64], keys: list[int]) -> NDArray[np.int64]:
    """Positions within ``slots`` of the STEP rows of these episodes. ``rows``: the records of one task."""
    wanted = np.isin(_keys(rows, slots), np.array(keys, np.int64))
    return np.flatnonzero(wanted & (rows["kind"][slots] == STEP))


def open_episodes(rows: NDArray, slots: list[NDArray[np.int64]], writer: int | None) -> list[int]:
    """Keys of the episodes, of one writer or of all, that have STEP rows but no end. ``rows``: (K, ...) records; slots per task."""
    started, ended = [], []
    for records, whole in zip(rows, slots, strict=True):
        places = whole[records["kind"][whole] == STEP]
        mine = places if writer is None else places[records["writer"][places] == writer]
        keys = _keys(records, mine)
        started.append(keys)
        ended.append(keys[records["terminated"][mine] | records["truncated"][mine]])
    return np.setdiff1d(np.concatenate(started), np.concatenate(ended)).tolist()

"""Demonstrations as replay rows, in a ring of their own beside that of the run: it is filled once and nothing of it is ever overwritten."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.rows import CLOSING, encoded_columns, extra_columns, opening_rows
from core.types import Chunk
from replay.check import ChunkCheck, ChunkError
from replay.ingest import ring_file
from replay.memory import SHM
from replay.ring import Ring

Chain = Mapping[str, NDArray]
"""n transitions from keyframe to keyframe: ``core.abilities.Encoding.encode_demo``"""


def demo_name(run_id: str) -> str:
    """What the demonstrations' ring of a run is called, where the run's own is called ``run_id``."""
    return f"{run_id}-demos"


def demo_file(run_id: str, directory: Path | str = SHM) -> Path:
    """Where the demonstrations' ring of a run lies."""
    return ring_file(demo_name(run_id), directory)


def demos_beside(ring: Path | str) -> Path:
    """The same, from where the run's own ring lies."""
    ring = Path(ring)
    return ring.with_name(f"{ring.stem}-demos{ring.suffix}")


def rows_of(chain: Chain, dtype: np.dtype) -> NDArray:
    """The rows (n + 1,) of a chain: its transitions and the closing row.

    Args:
        chain: ``obs`` and what encodes it (n + 1, ...), ``action``, ``reward``, ``terminated`` and the algorithm's own columns (n, ...);
            perhaps ``truncated`` and ``success``, which else are False and what ``terminated`` is.

    Raises:
        ConfigError: a column is missing, not one of the rows', or of another shape.
    """
    if opening_rows(dtype):
        raise ConfigError("demonstrations cannot be kept in rows that leave out a repeated frame; fix: a simulator without one")
    n, observed = len(chain["action"]), ("obs", *encoded_columns(dtype))
    needed = (*observed, "action", "reward", *extra_columns(dtype), "terminated")
    if odd := {*needed} ^ {*chain} - {"truncated", "success"}:
        raise ConfigError(f"a demonstration needs the columns {', '.join(needed)}; missing or not known: {', '.join(sorted(odd))}")
    rows = np.zeros(n + 1, dtype)
    for name, value in {"success": chain["terminated"], **chain}.items():
        want = (n + (name in observed), *dtype[name].shape)
        if np.shape(value) != want:
            raise ConfigError(f"column {name!r} of a demonstration has shape {np.shape(value)}; a chain of {n} transitions needs {want}")
        rows[name][: want[0]] = value
    rows["t"], rows["kind"][-1] = np.arange(n + 1), CLOSING
    return rows


def demo_ring(
    run_id: str,
    dtype: np.dtype,
    chains_by_task: Sequence[Sequence[Chain]],
    *,
    window: int,
    directory: Path | str = SHM,
    owner: int | None = None,
) -> Ring:
    """Makes the ring of these demonstrations, as large as the task with the most of them needs. The same chains give the same rows.

    Args:
        chains_by_task: of each of the K tasks, also none.
        window: of the run's own ring.
        owner: pid whose life is the life of the run, see ``memory.sweep``.

    Raises:
        ConfigError: a chain does not fit the rows, or the ring does not fit into memory.
    """
    tasks = [[rows_of(chain, dtype) for chain in chains] for chains in chains_by_task]
    capacity = max(window + 1, *(sum(map(len, task)) for task in tasks))
    ring = Ring.create(
        demo_name(run_id), dtype, tasks=len(tasks), capacity=capacity, writers=1, window=window, directory=directory, owner=owner
    )
    try:
        _fill(ring, tasks)
    except ChunkError as error:
        ring.unlink()
        ring.close()
        raise ConfigError(f"a demonstration is not what replay can keep: {error}") from error
    return ring


def _fill(ring: Ring, tasks: Sequence[Sequence[NDArray]]) -> None:
    check, sequence = ChunkCheck(ring.layout), 0
    for task, chains in enumerate(tasks):
        for rows in chains:
            rows["episode"] = sequence
            chunk = Chunk(0, 0, sequence, task, rows)
            check(chunk)
            ring.insert(chunk)
            sequence += 1

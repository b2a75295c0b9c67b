"""Rows on disk: immutable segment files that the checkpoints of a run share, so that each checkpoint writes only what is new."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError

FOLDER = "segments"
SEGMENT_BYTES = 64 * 2**20
"""Largest segment: what a restore holds in memory at once, and the grain in which overwritten rows leave the disk."""

Segment = dict[str, Any]
"""file, task, start, stop (row numbers), bytes, sha256"""


def write_segment(folder: Path, task: int, start: int, rows: NDArray[np.uint8]) -> Segment:
    """Writes rows (n, row bytes) that begin at row ``start``, durably: a name that exists is complete."""
    data = rows.data.cast("B")
    digest = hashlib.sha256(data).hexdigest()
    name = f"t{task:04d}-{start:012d}-{start + len(rows):012d}-{digest[:12]}.rows"
    target = folder / FOLDER / name
    if not (target.exists() and target.stat().st_size == len(data)):
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    return {"file": name, "task": task, "start": start, "stop": start + len(rows), "bytes": len(data), "sha256": digest}


def sync_folder(folder: Path) -> None:
    """Makes the names of new files durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_segment(folder: Path, segment: Mapping[str, Any], row_bytes: int) -> NDArray[np.uint8]:
    """Rows (n, row bytes) of a segment. Raises CheckpointError, naming the file, where a byte is not as it was written."""
    path = folder / FOLDER / segment["file"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"replay segment {path} is missing; restore it, or resume from an older checkpoint") from None
    if len(data) != segment["bytes"] or len(data) != (segment["stop"] - segment["start"]) * row_bytes:
        raise CheckpointError(f"replay segment {path} has {len(data)} bytes instead of {segment['bytes']}; resume from an older checkpoint")
    if hashlib.sha256(data).hexdigest() != segment["sha256"]:
        raise CheckpointError(f"replay segment {path} is damaged (sha256 differs); resume from an older checkpoint")
    return np.frombuffer(data, np.uint8).reshape(-1, row_bytes)


def pieces(start: int, stop: int, row_bytes: int) -> list[tuple[int, int]]:
    """Row ranges of at most SEGMENT_BYTES each."""
    step = max(1, SEGMENT_BYTES // row_bytes)
    return [(at, min(at + step, stop)) for at in range(start, stop, step)]


def collect_garbage(folder: Path, keep: Iterable[Segment]) -> list[Path]:
    """Deletes segments that are not in ``keep``, and leftovers of interrupted writes. Returns what was deleted."""
    names = {segment["file"] for segment in keep}
    deleted = []
    for path in sorted((folder / FOLDER).glob("t*")):
        if path.name not in names:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                deleted.append(path)
    return deleted

"""From segment files back into a ring: the same row numbers in the same slots, every byte verified."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CheckpointError
from replay.control import State
from replay.ring import Ring
from replay.segments import read_segment


def restore(ring: Ring, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Empties the ring and fills it as the manifest says. The ring stays empty where this raises CheckpointError."""
    ring.clear()
    reached = list(manifest["low"])
    for segment in sorted(manifest["segments"], key=lambda s: (s["task"], s["start"])):
        rows, task = read_segment(folder, segment, ring.layout.row_bytes), segment["task"]
        if segment["start"] > reached[task]:
            break
        skip = max(0, reached[task] - segment["start"])
        if skip < len(rows):
            ring.copy_in(task, segment["start"] + skip, rows[skip:])
            reached[task] = segment["stop"]
    for task, (got, want) in enumerate(zip(reached, manifest["rows"], strict=True)):
        if got != max(want, manifest["low"][task]):
            raise CheckpointError(f"the replay manifest names no segment for rows {got} to {want} of task {task}")
    for task, first, stop in manifest["marks"]:
        rows = np.arange(max(first, manifest["low"][task]), stop)
        ring.mark(task, rows % ring.layout.capacity)
    ring.adopt(_state(ring, manifest), manifest["reserved"], manifest["discarded"])


def _state(ring: Ring, manifest: Mapping[str, Any]) -> State:
    """The saved counters; the number of actors may have changed since."""
    parts = {name: np.array(manifest[name], np.int64) for name in State._fields}
    for name in ("incarnation", "sequence"):
        table = np.zeros(ring.layout.writers, np.int64)
        kept = min(len(table), len(parts[name]))
        table[:kept] = parts[name][:kept]
        parts[name] = table
    return State(**parts)

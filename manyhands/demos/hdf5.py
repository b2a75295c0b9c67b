"""Demonstrations as one HDF5 file, laid out as robomimic's data sets are. The only file that knows h5py."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.errors import MissingExtra
from manyhands.demos.export import Rows

NAME = "demos.hdf5"
PACKED_FROM = 4096
"""bytes of an array; what is smaller is not worth packing"""


def write(folder: Path, demos: Iterable[Rows], about: Mapping[str, str]) -> int:
    """Writes ``demos.hdf5`` with a group ``data/demo_0`` and so on for each; returns the number of rows.

    Raises:
        MissingExtra: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra("demos export --format hdf5 needs h5py: pip install 'manyhands[hdf5]'") from None
    total, tasks = 0, {}
    with h5py.File(folder / NAME, "w") as file:
        data = file.create_group("data")
        for number, rows in enumerate(demos):
            _demo(data.create_group(f"demo_{number}"), rows)
            total += len(rows.frames)
            tasks[rows.task] = rows.words
        data.attrs.update({**about, "total": total})
        # robomimic reads the first of these; nothing here can make the simulator again.
        data.attrs["env_args"] = json.dumps({"env_name": " ".join(tasks), "env_kwargs": {}})
        data.attrs["tasks"] = json.dumps(tasks)
    return total


def _demo(group: Any, rows: Rows) -> None:
    arrays = {f"obs/{name}": values for name, values in rows.observations.items()}
    arrays |= {"actions": rows.action, "rewards": rows.reward, "dones": rows.done.astype("int64"), "frames": rows.frames}
    arrays |= {} if rows.expert is None else {"expert_actions": rows.expert}
    for name, values in arrays.items():
        large = values.nbytes >= PACKED_FROM
        chunks = (1, *values.shape[1:]) if large and values.ndim > 1 else None
        group.create_dataset(name, data=values, chunks=chunks, compression="gzip" if chunks else None, shuffle=bool(chunks))
    told = {"num_samples": len(rows.frames), "task": rows.task, "language": rows.words, "success": rows.success, "source": rows.source}
    group.attrs.update({**told, "info": json.dumps(dict(rows.info))})

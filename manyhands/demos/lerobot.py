"""Demonstrations as a LeRobotDataset v3.0, pictures in the parquet files. The only file that knows pyarrow; LeRobot is not needed.

meta/info.json, meta/stats.json, meta/tasks.parquet    what there is, its statistics, tasks in words
meta/episodes/chunk-000/file-000.parquet               where each episode is, and its statistics
data/chunk-000/file-000.parquet                        the rows; a further file from 100 MB on
meta/manyhands.json                                    where each episode comes from; LeRobot does not look at it
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import MissingExtra
from manyhands.demos import png
from manyhands.demos.export import NUMBERS, Rows
from manyhands.demos.lerobot_stats import Stats, of_feature, together

CHUNK_FILES, FILE_MB = 1000, 100
NUMBERED = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
COUNTED = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
"""columns of every such data set"""


def write(folder: Path, demos: Iterable[Rows], about: Mapping[str, str], fps: int = 10) -> int:
    """Writes the folders; returns the number of rows.

    Args:
        fps: rows per second of the data set's clock. It has no other times than row / fps.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtra("demos export --format lerobot needs pyarrow: pip install 'manyhands[lerobot]'") from None
    writer = _Writer(folder, fps)
    try:
        for rows in demos:
            writer.add(rows)
    finally:
        writer.close()
    writer.finish(about)
    return writer.total


class _Writer:
    """Takes one demonstration after the other."""

    def __init__(self, folder: Path, fps: int) -> None:
        self.folder, self.fps = folder, fps
        self.total, self.file, self.bytes = 0, -1, 0
        self.tasks: dict[str, int] = {}
        self.episodes: list[dict[str, Any]] = []
        self.stats: list[dict[str, Stats]] = []
        self.told: list[dict[str, Any]] = []
        self.features: dict[str, dict[str, Any]] = {}
        self.parquet: Any = None

    def add(self, rows: Rows) -> None:
        columns, n = self._columns(rows), len(rows.frames)
        self.features = self.features or features(columns)
        table = _table(columns, self.features)
        self._room(table.nbytes, table.schema)
        self.parquet.write_table(table)
        found = {name: of_feature(values) for name, values in columns.items()}
        place = {"data/chunk_index": self.file // CHUNK_FILES, "data/file_index": self.file % CHUNK_FILES}
        ends = {"dataset_from_index": self.total, "dataset_to_index": self.total + n}
        saved = {f"stats/{name}/{kind}": values.tolist() for name, stats in found.items() for kind, values in stats.items()}
        about = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        number = {"episode_index": len(self.episodes), "tasks": [rows.words], "length": n}
        self.episodes.append({**number, **place, **ends, **saved, **about})
        self.stats.append(found)
        self.told.append({"source": rows.source, "task": rows.task, "success": rows.success, **rows.info})
        self.total += n

    def close(self) -> None:
        if self.parquet is not None:
            self.parquet.close()
            self.parquet = None

    def finish(self, about: Mapping[str, str]) -> None:
        """The folder ``meta``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta, path = self.folder / "meta", self.folder / "meta/episodes" / NUMBERED.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.episodes), path)
        pq.write_table(_tasks(list(self.tasks)), meta / "tasks.parquet")
        stats = {name: {kind: values.tolist() for kind, values in each.items()} for name, each in together(self.stats).items()}
        trees = {"info": self._info(), "stats": stats, "manyhands": {**about, "episodes": self.told}}
        for name, tree in trees.items():
            (meta / f"{name}.json").write_text(json.dumps(tree, indent=4) + "\n")

    def _columns(self, rows: Rows) -> dict[str, NDArray]:
        """(n, ...) by the names of features."""
        n, own = len(rows.frames), {"action": rows.action.astype(np.float32), "next.reward": rows.reward, "next.done": rows.done}
        own |= {"source_frame": rows.frames} | ({} if rows.expert is None else {"expert_action": rows.expert})
        at = np.arange(n)
        counted = (
            at / self.fps,
            at,
            np.full(n, len(self.episodes)),
            self.total + at,
            np.full(n, self.tasks.setdefault(rows.words, len(self.tasks))),
        )
        numbers = {name: values.astype(COUNTED[name]) for name, values in zip(COUNTED, counted, strict=True)}
        return {**{_named(name): values for name, values in rows.observations.items()}, **own, **numbers}

    def _room(self, size: int, schema: Any) -> None:
        """A further file where this one is full."""
        import pyarrow.parquet as pq

        if self.parquet is None or self.bytes + size > FILE_MB << 20:
            self.close()
            self.file, self.bytes = self.file + 1, 0
            path = self.folder / "data" / NUMBERED.format(chunk_index=self.file // CHUNK_FILES, file_index=self.file % CHUNK_FILES)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.parquet = pq.ParquetWriter(path, schema)
        self.bytes += size

    def _info(self) -> dict[str, Any]:
        counts = {"total_episodes": len(self.episodes), "total_frames": self.total, "total_tasks": len(self.tasks)}
        sizes = {"chunks_size": CHUNK_FILES, "data_files_size_in_mb": FILE_MB, "video_files_size_in_mb": 200}
        places = {"data_path": "data/" + NUMBERED, "video_path": None}
        start = {"codebase_version": "v3.0", "robot_type": None, **counts, **sizes, "fps": self.fps}
        return {**start, "splits": {"train": f"0:{len(self.episodes)}"}, **places, "features": self.features}


def features(columns: Mapping[str, NDArray]) -> dict[str, dict[str, Any]]:
    """What ``info.json`` says of each column; a single number has the shape [1]."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in columns.items():
        picture = values.ndim == 4
        names = ["height", "width", "channels"] if picture else list(NUMBERS) if name == "action" else None
        shape = list(values.shape[1:]) or [1]
        found[name] = {"dtype": "image" if picture else values.dtype.name, "shape": shape, "names": names}
    return found


def _named(field: str) -> str:
    """``front_rgb`` is ``observation.images.front``, ``state`` is ``observation.state``."""
    camera = field.removesuffix("_rgb")
    return f"observation.{field}" if camera == field else f"observation.images.{camera}"


def _table(columns: Mapping[str, NDArray], features: Mapping[str, Mapping[str, Any]]) -> Any:
    """A pyarrow table, with the types as Hugging Face's ``datasets`` names them."""
    import pyarrow as pa

    made = [_column(name, values) for name, values in columns.items()]
    told = json.dumps({"info": {"features": {name: _type(feature) for name, feature in features.items()}}})
    return pa.Table.from_arrays([each for _, each in made], schema=pa.schema([each for each, _ in made], {"huggingface": told}))


def _type(feature: Mapping[str, Any]) -> dict[str, Any]:
    if feature["dtype"] == "image":
        return {"_type": "Image"}
    if len(feature["shape"]) == 2:
        return {"shape": feature["shape"], "dtype": feature["dtype"], "_type": "Array2D"}
    value, (length,) = {"dtype": feature["dtype"], "_type": "Value"}, feature["shape"]
    return value if length == 1 else {"feature": value, "length": length, "_type": "List"}


def _column(name: str, values: NDArray) -> tuple[Any, Any]:
    """A pyarrow field and its array."""
    import pyarrow as pa

    if values.ndim == 4:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return pa.field(name, kind), pa.array([{"bytes": png.packed(each), "path": None} for each in values], kind)
    flat, about = pa.array(np.ascontiguousarray(values).reshape(-1)), None
    if values.ndim == 2 and values.shape[1] > 1:
        flat = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    elif values.ndim == 3:
        for length in reversed(values.shape[1:]):
            flat = pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, length, dtype=np.int32)), flat)
        about = {
            "ARROW:extension:name": "datasets.features.features.Array2DExtensionType",
            "ARROW:extension:metadata": json.dumps([list(values.shape[1:]), values.dtype.name]),
        }
    return pa.field(name, flat.type, metadata=about), flat


def _tasks(words: list[str]) -> Any:
    """A pyarrow table that pandas reads with the words as its index."""
    import pyarrow as pa

    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    told = {"index_columns": ["task"], "column_indexes": [], "columns": [number, index], "pandas_version": "2.2.0"}
    columns = [pa.array(range(len(words)), pa.int64()), pa.array(words, pa.string())]
    return pa.Table.from_arrays(columns, names=["task_index", "task"]).replace_schema_metadata({"pandas": json.dumps(told)})

"""Metrics of a run: ``metrics.jsonl`` is the truth, TensorBoard a view of it. Everything above logs through here.

A row is ``{"step": env steps, "time": unix seconds, "learner/critic_loss": 0.3, ...}``. A value is a number, or a list with one entry per
seed or task. JSON has no NaN: a value that is not finite is written as null and its name listed under ``nonfinite``, so that a diverging
run is seen as such and the file stays readable by everyone.
"""

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ManyhandsError

RESERVED = ("step", "time", "nonfinite")


class Metrics:
    """Writes the metrics of one run; a run that is continued appends.

    Args:
        folder: the run's folder; ``metrics.jsonl`` and ``tensorboard/`` are made in it.
        tensorboard: also write TensorBoard files, where the package tensorboardX is installed.
    """

    def __init__(self, folder: Path | str, tensorboard: bool = True) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "metrics.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tensorboard = tensorboard
        self._board: Any = None
        self._purge_step: int | None = None
        _drop_torn_line(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        if tensorboard:  # its import takes half a second, which the start of a run can hide and its first row cannot
            threading.Thread(target=_import_board, daemon=True, name="tensorboardX").start()

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one row and hands it to the operating system: a killed process loses nothing that was logged.

        Args:
            step: env steps of the run.
            values: name -> number, array or tensor of numbers. Names are like ``learner/critic_loss``.
        """
        row: dict[str, Any] = {"step": int(step), "time": round(time.time(), 3)}
        arrays = {name: to_numpy(value) for name, value in values.items()}
        for name, array in arrays.items():
            if name in RESERVED:
                raise ValueError(f"{name!r} cannot be the name of a metric")
            row[name] = _jsonable(array.tolist())
        nonfinite = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if nonfinite:
            row["nonfinite"] = nonfinite
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        self._log_board(row["step"], row["time"], arrays)

    def rewind(self, step: int) -> None:
        """Drops every row after ``step``, so that a run resumed from the checkpoint of that step logs none twice."""
        self.close()
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        fresh = self.path.with_suffix(".tmp")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        # TensorBoard hides what earlier files hold from this step on.
        self._purge_step = step + 1

    def close(self) -> None:
        """Closes the files. May be called twice."""
        self._file.close()
        if self._board:
            self._board.close()
        self._board = None

    def _log_board(self, step: int, wall_time: float, arrays: Mapping[str, np.ndarray]) -> None:
        if self._tensorboard and self._board is None:
            self._board = _open_board(self.folder / "tensorboard", self._purge_step)
            self._tensorboard = self._board is not None
        if self._board is None:
            return
        for name, array in arrays.items():
            for at, value in enumerate(array.ravel().tolist()):
                if math.isfinite(value):
                    self._board.add_scalar(name if array.size == 1 else f"{name}/{at}", value, step, walltime=wall_time)


class Averages:
    """Collects metrics over a logging interval and gives their means.

    Tensors stay where they are until ``flush``: adding never waits for the device.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Adds one observation of each named metric: a number, array or tensor, of the same kind and shape each time."""
        for name, value in values.items():
            # The sum with 0.0 is a new array: the caller may reuse the one it passed.
            plain = value.detach().float() if hasattr(value, "detach") else np.asarray(value, dtype=float)
            self._sums[name] = self._sums.get(name, 0.0) + plain
            self._counts[name] = self._counts.get(name, 0) + 1

    def flush(self) -> dict[str, Any]:
        """The mean of each metric since the last flush, a float or an array; names that were not added are absent."""
        means = {name: to_numpy(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return {name: float(mean) if np.ndim(mean) == 0 else mean for name, mean in means.items()}


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """All rows of a ``metrics.jsonl``, in the order they were written; none if there is no such file.

    The last line may be torn, by a kill or because it is being written right now: it is left out.

    Raises:
        ManyhandsError: another line is not a row.
    """
    path = Path(path)
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    rows = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end is nothing, or torn
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise ManyhandsError(f"line {number} of {path} is not a row of metrics. Remove that line to read the rest") from None
    return rows


def to_numpy(value: Any) -> np.ndarray:
    """A number, array or tensor (of any device) as an array of numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drop_torn_line(path: Path) -> None:
    """Cuts off what follows the last line end: the next row must begin on a line of its own."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _open_board(folder: Path, purge_step: int | None) -> Any:
    """A TensorBoard writer, or None where tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=purge_step, flush_secs=10)


def _import_board() -> None:
    with suppress(ImportError):
        import_module("tensorboardX")

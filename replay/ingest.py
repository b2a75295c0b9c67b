"""The single writer of a ring: takes chunks from actors, stores each once, acknowledges it, and saves the ring without stopping."""

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError, ConfigError
from core.types import Chunk
from replay import segments
from replay.check import ChunkCheck, ChunkError
from replay.control import State
from replay.episodes import episode_key
from replay.journal import Wanted
from replay.journaled import JournaledRing, Replayed
from replay.layout import Layout, describe
from replay.memory import SHM
from replay.restore import restore
from replay.ring import Ring, Run
from replay.segments import Segment

SCHEMA = 2


class Snapshot(NamedTuple):
    """A consistent copy of what the last saved state lacks, taken between two inserts."""

    manifest: dict[str, Any]
    """complete but for the new segments"""
    fresh: list[tuple[int, int, NDArray[np.uint8]]]
    """(task, first row, rows (n, row bytes)): slices of the staging buffer"""
    staging: NDArray[np.uint8]


def ring_file(run_id: str, directory: Path | str = SHM) -> Path:
    """Where the ring of a run lies."""
    return Path(directory) / f"manyhands-{run_id}.ring"


class Ingest:
    """Owns the ring of a run. May be called from several threads."""

    def __init__(  # noqa: PLR0913 - a ring's sizes, and where they lie
        self,
        run_id: str,
        dtype: np.dtype,
        tasks: int,
        capacity: int,
        writers: int,
        window: int,
        directory: Path | str = SHM,
        spilled: bool = False,
        owner: int | None = None,
        journal: Wanted | None = None,
    ) -> None:
        """Makes the ring, or goes on with the one of this run: this process may be the successor of one that was killed.

        Args:
            tasks: K
            capacity: rows per task
            writers: W, actors
            window: ``replay.windows.rows_read``
            spilled: ``directory`` is on a disk, and rows are not to be held in memory.
            owner: pid whose life is the life of the run, see ``memory.sweep``.
            journal: what acknowledged rows outlive beside this process, and where that is written down; None: nothing.

        Raises:
            ConfigError: it does not fit, or this run's ring has other sizes.
        """
        want = Layout(run_id, tasks, capacity, writers, window, describe(dtype), spilled)
        self.path = ring_file(run_id, directory)
        attached = self.path.exists()
        if attached:
            self.ring = Ring.attach(self.path, readonly=False, owner=owner)
            if odd := self.ring.layout.differences(want):
                self.ring.close()
                raise ConfigError(f"{self.path} is a ring of other sizes ({'; '.join(odd)}); fix: another run id, or remove it")
        else:
            sizes = {"tasks": tasks, "capacity": capacity, "writers": writers, "window": window}
            self.ring = Ring.create(run_id, dtype, **sizes, directory=directory, spilled=spilled, owner=owner)
        self._layout = self.ring.layout
        self._front = JournaledRing(self.ring, journal, attached=attached)
        self._check = ChunkCheck(self._layout)
        self._lock = threading.Lock()
        self._files = threading.Lock()
        """Held while segments are written or deleted: a file that no manifest names yet is not garbage."""
        self._invalid = 0
        self._staged: Snapshot | None = None
        self._forget()

    def _forget(self) -> None:
        """Nothing is known to be on disk: the next save is a full one."""
        self._segments: list[Segment] = []
        self._saved = [0] * self._layout.tasks
        self._marks: list[Run] = []
        self._spare: NDArray[np.uint8] | None = None

    def insert(self, chunk: Chunk) -> int:
        """Stores a chunk once. Returns the last sequence stored without gap for (writer, incarnation), -1 for none: the acknowledgement.

        Raises:
            ChunkError: the chunk is invalid; it is counted, and its sequence is still expected.
            StaleWriterError: a newer incarnation of the writer has taken over.
            JournalError: the journal cannot be written; the chunk is still expected.
        """
        try:
            self._check(chunk)
        except ChunkError:
            self._invalid += 1
            raise
        with self._lock:
            acknowledged = self._front.insert(chunk)
        self._front.settle()
        return acknowledged

    def discard_episode(self, writer: int, episode: int) -> int:
        """Withdraws an episode from the draw, also what of it arrives later. Returns the number of transitions withdrawn now."""
        return self._withdraw(lambda: [episode_key(writer, episode)])

    def discard_open(self, writer: int | None = None) -> int:
        """Withdraws the episodes that have no end, of one writer or of all: their actors are gone."""
        return self._withdraw(lambda: self.ring.open_keys(writer))

    def take_over(self, writer: int, incarnation: int) -> int:
        """For a writer that has died: nothing of it is accepted any more, and its open episodes are withdrawn."""
        with self._lock:
            self._front.fence(writer, incarnation)
        return self.discard_open(writer)

    def _withdraw(self, keys: Callable[[], list[int]]) -> int:
        with self._lock:
            runs = self._front.discard(keys())
            self._marks += runs
        self._front.settle()
        return sum(stop - first for _, first, stop in runs)

    def incarnations(self) -> list[int]:
        """Newest incarnation seen of each writer. An actor that is started must use a larger one: also after ``load``."""
        return self.ring.state().incarnation.tolist()

    def progress(self) -> list[tuple[int, int]]:
        """Of each writer: the newest incarnation, the sequence that it must send next."""
        state = self.ring.state()
        return list(zip(state.incarnation.tolist(), state.sequence.tolist(), strict=True))

    def counts(self) -> dict[str, Any]:
        """Per task: rows and transitions since the start of the run, transitions drawable now. Then the ring's bytes, invalid chunks."""
        state = self.ring.state()
        return {
            "rows": state.rows.tolist(),
            "transitions": state.transitions.tolist(),
            "live": state.live.tolist(),
            "bytes": self._layout.total_bytes,
            "invalid": self._invalid,
        }

    def save(self, folder: Path) -> dict[str, Any]:
        """Saves what is new since the last save, and returns the manifest. Inserts go on while files are written."""
        return self.write(self.snapshot(), folder)

    def snapshot(self) -> Snapshot:
        """Copies the rows that are not yet on disk: milliseconds, under the insert lock."""
        with self._lock:
            journal = self._front.cut()
            state = self.ring.state()
            lows = [self.ring.low(k) for k in range(self._layout.tasks)]
            ranges = [(k, max(self._saved[k], low), int(state.rows[k])) for k, low in enumerate(lows)]
            parts = [(k, a, b) for k, first, stop in ranges for a, b in segments.pieces(first, stop, self._layout.row_bytes)]
            need = sum(b - a for _, a, b in parts)
            staging, self._spare = self._spare, None
            if staging is None or len(staging) < need:
                staging = np.empty((need, self._layout.row_bytes), np.uint8)
            fresh, at = [], 0
            for k, a, b in parts:
                piece = staging[at : at + b - a]
                self.ring.copy_out(k, a, piece)
                fresh.append((k, a, piece))
                at += b - a
            self._marks = [(k, a, b) for k, a, b in self._marks if b > lows[k]]
            return Snapshot(self._manifest(state, lows) | ({} if journal is None else {"journal": journal}), fresh, staging)

    def _manifest(self, state: State, lows: list[int]) -> dict[str, Any]:
        layout = self._layout
        return {
            "schema": SCHEMA,
            "descr": layout.descr,
            "tasks": layout.tasks,
            "capacity": layout.capacity,
            "window": layout.window,
            **{name: part.tolist() for name, part in state._asdict().items()},
            "low": lows,
            "reserved": self.ring.control.reserved.tolist(),
            "marks": [list(run) for run in self._marks],
            "discarded": self.ring.control.logged(),
            "invalid": self._invalid,
            "segments": [s for s in self._segments if s["stop"] > lows[s["task"]]],
        }

    def write(self, snapshot: Snapshot, folder: Path) -> dict[str, Any]:
        """Writes a snapshot; may run in a thread beside inserts. Returns the JSON-able manifest, valid once this has returned.

        What fails here (a full disk) changes nothing: the next snapshot begins where the last complete save ended.
        """
        (folder / segments.FOLDER).mkdir(parents=True, exist_ok=True)
        manifest = {**snapshot.manifest, "segments": list(snapshot.manifest["segments"])}
        with self._files:
            for task, first, rows in snapshot.fresh:
                manifest["segments"].append(segments.write_segment(folder, task, first, rows))
            segments.sync_folder(folder / segments.FOLDER)
            if "journal" in manifest:
                self._front.secure(manifest["journal"])
            with self._lock:
                self._spare = snapshot.staging
                self._advance(manifest)
        return manifest

    def _advance(self, manifest: dict[str, Any]) -> None:
        """Notes what is on disk now."""
        before = self._saved
        if any(now < then for now, then in zip(manifest["rows"], before, strict=True)):
            return  # written later than a newer snapshot
        self._segments, self._saved = manifest["segments"], list(manifest["rows"])
        # A mark on rows that this save wrote is in the rows themselves.
        written = {tuple(m) for m in manifest["marks"] if m[1] >= before[m[0]]}
        self._marks = [m for m in self._marks if m not in written]

    def load(self, folder: Path, manifest: Mapping[str, Any], journal: bool = True) -> Replayed | None:
        """Restores exactly what was saved: row numbers, slots, counters, the table of duplicates, discarded episodes. Then, unless not
        ``journal``, makes again what was written down since. Returns what that was, None where nothing could have been.

        No sampler may draw meanwhile. After an error another manifest may be tried.

        Raises:
            CheckpointError: other sizes, or a segment is missing or damaged.
        """
        if manifest.get("schema") != SCHEMA:
            raise CheckpointError(f"the replay manifest has schema {manifest.get('schema')}, this version reads {SCHEMA}")
        for name in ("descr", "tasks", "capacity", "window"):
            if manifest[name] != getattr(self._layout, name):
                shown = "other columns" if name == "descr" else f"{name} {manifest[name]}, this run {getattr(self._layout, name)}"
                raise CheckpointError(f"the saved replay has {shown}; fix: resume with the sizes and the algorithm it was saved with")
        with self._lock:
            self._forget()
            restore(self.ring, folder, manifest)
            self._segments, self._saved = list(manifest["segments"]), list(manifest["rows"])
            self._marks = [(k, a, b) for k, a, b in manifest["marks"]]
            self._invalid = manifest["invalid"]
            replayed = self._front.replay(folder, manifest["journal"]) if journal and "journal" in manifest else None
            self._marks += replayed.marks if replayed is not None else []
            self._front.begin(follows=replayed is not None)
        return None if replayed is None else replayed._replace(marks=[])

    def stage(self) -> list[int]:
        """``snapshot``, kept here for ``write_staged``: its rows never travel. Returns the transitions stored per task at that moment."""
        self._staged = self.snapshot()
        return self._staged.manifest["transitions"]

    def write_staged(self, folder: Path) -> dict[str, Any] | None:
        """``write`` of what ``stage`` copied; None where that was in a process that has died since."""
        staged, self._staged = self._staged, None
        return None if staged is None else self.write(staged, folder)

    def ring_path(self) -> Path:
        return self.path

    def collect_garbage(self, folder: Path, manifests: Iterable[Mapping[str, Any]]) -> list[Path]:
        """Deletes segments that neither the kept manifests nor the last save name. Returns what was deleted."""
        keep = [segment for manifest in manifests for segment in manifest["segments"]]
        with self._files:
            return segments.collect_garbage(folder, [*keep, *self._segments])

    def close(self, *, unlink: bool = False) -> None:
        """Detaches; ``unlink`` at the end of the run, when nobody will need the ring again."""
        if unlink:
            self.ring.unlink()
        self._front.close()
        self.ring.close()

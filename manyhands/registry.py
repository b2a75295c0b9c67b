"""The list of all runs under one folder, in SQLite: what ``manyhands runs`` shows and what a run is found by."""

import contextlib
import fcntl
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ConfigError, unknown

STATUSES = ("running", "finished", "stopped", "failed", "killed")
SCHEMA = 1
COLUMNS = {
    "id": "TEXT PRIMARY KEY", "preset": "TEXT NOT NULL", "seed": "TEXT NOT NULL", "status": "TEXT NOT NULL",
    "steps": "INTEGER NOT NULL", "updates": "INTEGER NOT NULL", "success_any": "REAL", "success_last": "REAL", "path": "TEXT NOT NULL",
    "host": "TEXT NOT NULL", "pid": "INTEGER NOT NULL", "process_start": "REAL", "created": "REAL NOT NULL", "updated": "REAL NOT NULL",
    "reason": "TEXT NOT NULL",
}  # fmt: skip


class Run(NamedTuple):
    """One row."""

    id: str
    """``reach-sac-s0-3f2a``"""
    preset: str
    seed: str
    """``0``, or ``0-4`` where one run trains several"""
    status: str
    """one of ``STATUSES``; ``killed`` where it says running and its process is gone"""
    steps: int
    """env steps"""
    updates: int
    success_any: float | None
    """0 to 1; None before the first evaluation"""
    success_last: float | None
    path: Path
    """the run's folder"""
    host: str
    pid: int
    process_start: float | None
    """seconds; tells a process from a later one of the same number"""
    created: float
    """unix seconds"""
    updated: float
    """unix seconds"""
    reason: str
    """why it ended, in words"""


class Registry:
    """Opens ``<root>/registry.sqlite``, which is made with the first run. Any number of processes may use it.

    Paths are kept relative to the root, so the whole folder may be moved. The root must be on a file system with working locks.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.file = self.root / "registry.sqlite"

    def create(self, preset: str, seed: int | str, *, path: Path | str | None = None) -> str:
        """Enters a run of this process with status ``running`` and makes its folder.

        Args:
            preset: the name it was started by.
            seed: the seed, or a range as text.
            path: the run's folder; ``<root>/<id>`` by default.

        Returns:
            The new id.
        """
        self._prepare()
        while True:
            run = f"{preset}-s{seed}-{secrets.token_hex(2)}"
            now, folder = time.time(), self._relative(path or self.root / run)
            row = dict.fromkeys(COLUMNS) | {"id": run, "preset": preset, "seed": str(seed), "steps": 0, "updates": 0}
            row |= {"path": folder, "created": now, "updated": now} | _this_process()
            with contextlib.suppress(sqlite3.IntegrityError), self._transaction() as database:
                database.execute(f"INSERT INTO runs VALUES ({', '.join(':' + name for name in COLUMNS)})", row)
                (self.root / folder).mkdir(parents=True, exist_ok=True)
                return run

    def update(self, run: str, **fields: Any) -> None:
        """Sets columns of a run, by its full id.

        Raises:
            ConfigError: there is no such run, column or status.
        """
        for name in fields:
            if name not in COLUMNS or name in ("id", "created"):
                raise unknown("column of a run", name, COLUMNS)
        if fields.get("status", "running") not in STATUSES:
            raise unknown("status", fields["status"], STATUSES)
        if "path" in fields:
            fields["path"] = self._relative(fields["path"])
        fields["updated"] = time.time()
        assignments = ", ".join(f"{name} = :{name}" for name in fields)
        with self._transaction() as database:
            if not database.execute(f"UPDATE runs SET {assignments} WHERE id = :id", {**fields, "id": run}).rowcount:
                raise unknown("run", run, (row.id for row in self.list()))

    def claim(self, run: str, *, force: bool = False) -> Run:
        """Makes this process the one that continues a run, with status ``running``.

        Args:
            run: id, or what ``get`` takes for one.
            force: also if it looks as if it were running; for a host that is gone and cannot say so.

        Raises:
            ConfigError: a living process, or a process on another host that did not say it ended, has the run.
        """
        with self._transaction() as database:
            row = self._row(database.execute("SELECT * FROM runs WHERE id = ?", [self.get(run).id]).fetchone())
            if row.status == "running" and (row.host, row.pid) != (socket.gethostname(), os.getpid()) and not force:
                raise ConfigError(
                    f"the run {row.id} is running already, as process {row.pid} on {row.host}. Stop it first, or pass --force if that host "
                    "is gone"
                )
            mine = _this_process()
            assignments = ", ".join(f"{name} = :{name}" for name in mine)
            database.execute(f"UPDATE runs SET {assignments}, updated = :now WHERE id = :id", {**mine, "now": time.time(), "id": row.id})
        return self.get(row.id)

    def owner(self, run: str) -> tuple[str, int]:
        """Host and process that have claimed a run last, by its full id."""
        row = self.get(run)
        return row.host, row.pid

    def get(self, run: str) -> Run:
        """The run with this id, or the only one whose id begins with it or ends in ``-`` and it.

        Raises:
            ConfigError: none or several; the message lists the closest.
        """
        runs = {row.id: row for row in self.list()}
        if run in runs:
            return runs[run]
        matches = [name for name in runs if run and (name.startswith(run) or name.endswith(f"-{run}"))]
        if len(matches) == 1:
            return runs[matches[0]]
        if matches:
            raise ConfigError(f"{run!r} could be any of {', '.join(matches[:8])}. Give more of the id")
        if not runs:
            raise ConfigError(f"there are no runs in {self.root}. Start one: manyhands train reach-sac")
        close = get_close_matches(run, runs, n=3, cutoff=0.4) or list(runs)[:3]
        raise ConfigError(f"unknown run {run!r}. Closest: {', '.join(close)}. All: manyhands runs")

    def list(self) -> list[Run]:
        """All runs, the newest first."""
        if not self.file.exists():
            return []
        with self._connection() as database:
            return [self._row(row) for row in database.execute("SELECT * FROM runs ORDER BY created DESC, id")]

    def _row(self, row: sqlite3.Row) -> Run:
        run = Run(**dict(row))
        gone = run.host == socket.gethostname() and process_start(run.pid) != run.process_start
        return run._replace(path=self.root / run.path, status="killed" if gone and run.status == "running" else run.status)

    def _relative(self, path: Path | str) -> str:
        path, root = Path(path).absolute(), self.root.absolute()
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _prepare(self) -> None:
        """Makes the file. Under a lock: SQLite cannot wait for a switch of the journal mode by another process."""
        if self.file.exists():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "registry.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.file.exists():
                return
            fresh = self.file.with_suffix(".tmp")
            fresh.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(fresh)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute(f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
                database.execute(f"PRAGMA user_version = {SCHEMA}")
                database.commit()
            fresh.rename(self.file)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self.file.exists():
            raise ConfigError(f"there are no runs in {self.root}. Start one: manyhands train reach-sac")
        with contextlib.closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("PRAGMA user_version").fetchone()[0]
            if found != SCHEMA:
                raise ConfigError(f"{self.file} has schema {found}, this version reads {SCHEMA}. Use the version of manyhands that made it")
            yield database

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that holds the write lock; everything is undone when the block raises."""
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


def process_start(pid: int) -> float | None:
    """When a process began, in seconds since a fixed point of this boot; None if it is not alive."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _process_start_elsewhere(pid)
    try:
        # The name, second and in brackets, may hold anything.
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _process_start_elsewhere(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time(), 2)
    except psutil.Error:
        return None


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"status": "running", "host": socket.gethostname(), "pid": pid, "process_start": process_start(pid), "reason": ""}

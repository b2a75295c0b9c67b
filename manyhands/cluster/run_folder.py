"""A run as it lies on shared storage: whether it is over, how far it was saved, what it last said of itself."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from manyhands.registry import Registry
from manyhands.registry import Run as Row

NOTE = "keeper.json"
TAIL_BYTES = 65_536
METRICS = {
    "steps_per_s": "actor/steps_per_s", "alive": "actor/alive", "pending": "actor/pending", "actor_restarts": "actor/restarts",
    "lost_simulators": "actor/lost_simulators", "lag": "lag/versions", "bytes_per_s": "replay/bytes_per_s",
}  # fmt: skip
"""in a status -> in metrics.jsonl"""


class RunFolder:
    """See the module.

    Args:
        root: folder of the runs.
        run: full id.

    Raises:
        ConfigError: the run is not there: this machine does not see the storage.
    """

    def __init__(self, root: Path | str, run: str) -> None:
        self.registry, self.run = Registry(root), run
        try:
            self.path = self.registry.get(run).path
        except ConfigError:
            host = os.uname().nodename
            why = "the folder must be on storage that every learner node sees at the same path"
            raise ConfigError(f"{root} on {host} has no run {run}: {why}; fix: --runs") from None

    def row(self) -> Row:
        return self.registry.get(self.run)

    def over(self) -> bool:
        """Whether there is nothing to go on with: it finished, or was stopped and saved because someone asked for that."""
        return self.row().status in ("finished", "stopped")

    def progress(self) -> int:
        """Env steps of the newest checkpoint; -1 before the first."""
        return max(Checkpoints(self.path / "checkpoints").steps(), default=-1)

    def end(self, status: str, reason: str) -> None:
        """Says in the registry how it ended, where its driver could not."""
        if not self.over():
            self.registry.update(self.run, status=status, reason=reason)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Leaves what its Keeper knows for the next Keeper, on another node."""
        unfinished = self.path / f"{NOTE}.part"
        unfinished.write_text(json.dumps(facts))
        os.replace(unfinished, self.path / NOTE)

    def noted(self) -> dict[str, Any]:
        path = self.path / NOTE
        return json.loads(path.read_text()) if path.exists() else {}

    def log(self, name: str) -> Path:
        """``driver``, ``learner``, ``ingest``, ``evaluator``, ``actor-0`` ...

        Raises:
            ConfigError: there is none of this name.
        """
        path = self.path / "logs" / f"{name}.log"
        if path.parent.resolve() != (self.path / "logs").resolve() or not path.exists():
            there = ", ".join(sorted(found.stem for found in (self.path / "logs").glob("*.log"))) or "none yet"
            raise ConfigError(f"{self.run} has no log {name!r}. Allowed: {there}")
        return path

    def tail(self, name: str, lines: int) -> str:
        """The end of a log, at most so many lines."""
        return "\n".join(_tail(self.log(name))[-lines:])

    def status(self) -> dict[str, Any]:
        """The registry's row and the last row of metrics that has the run's speed."""
        row = self.row()
        facts = {name: getattr(row, name) for name in ("status", "reason", "steps", "updates", "success_any", "success_last", "preset")}
        found = {"run": self.run, "root": str(self.registry.root), "saved": self.progress(), **facts, **dict.fromkeys(METRICS)}
        return {**found, **_speeds(self.path / "metrics.jsonl")}


def _speeds(path: Path) -> dict[str, Any]:
    for line in reversed(_tail(path) if path.exists() else []):
        try:
            row = json.loads(line)
        except ValueError:  # cut off at either end
            continue
        if METRICS["steps_per_s"] in row:
            return {name: row.get(metric) for name, metric in METRICS.items()}
    return {}


def _tail(path: Path) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()

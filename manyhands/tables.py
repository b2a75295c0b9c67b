"""``presets``, ``runs`` and ``show``: what there is, as tables."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from core.checkpoint import Checkpoints
from core.metrics import read_metrics
from manyhands import presets, result
from manyhands.balance import Shares, sentence
from manyhands.outcome import of_run, outcome_table
from manyhands.registry import Registry


def print_presets() -> None:
    table = Table(box=None, show_header=False)
    for name in presets.names():
        table.add_row(f"[bold]{name}[/bold]", presets.summary(name))
    console = Console()
    console.print(table)
    console.print("next: manyhands train PRESET --dry-run")


def print_runs(root: Path) -> None:
    console = Console()
    rows = Registry(root).list()
    if not rows:
        console.print(f"no runs in {root} yet.\nnext: manyhands train reach-sac")
        return
    table = Table(box=None)
    for column in ("run", "status", "steps", "updates", "success any", "last", "age"):
        table.add_column(column, no_wrap=column == "run")
    for row in rows:
        table.add_row(
            row.id, row.status, f"{row.steps:,}", f"{row.updates:,}", _share(row.success_any), _share(row.success_last), _age(row.created)
        )
    console.print(table)


def print_run(name: str, root: Path) -> None:
    console = Console()
    row = Registry(root).get(name)
    table = Table(box=None, show_header=False)
    facts = {
        "run": row.id,
        "status": f"{row.status} {row.reason}".strip(),
        "folder": str(row.path),
        "steps, updates": f"{row.steps:,}, {row.updates:,}",
        "success any, last": f"{_share(row.success_any)}, {_share(row.success_last)} (latest evaluation)",
        "checkpoints": ", ".join(f"{s:,}" for s in Checkpoints(row.path / "checkpoints").steps()) or "none yet",
    }
    for key, value in facts.items():
        table.add_row(key, value)
    console.print(table)
    path = row.path / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    _print_evaluations(console, rows)
    _print_tasks(console, row.path)
    path = row.path / "config.json"
    config = json.loads(path.read_text()) if path.exists() else None
    if config is not None:
        console.print(_settings(config))
        _print_bound(console, rows, config)
    verb = {"running": "show", "finished": "eval"}.get(row.status, "resume")
    console.print(f"next: manyhands {verb} {row.id}")


def _print_evaluations(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    rows = [r for r in rows if "eval/success_any" in r]
    if not rows:
        return
    table = Table(title="evaluations", title_justify="left")
    for column in ("env steps", "success any", "worst task", "last", "return"):
        table.add_column(column)
    for r in rows[-12:]:
        shares = (_share(r.get(f"eval/{name}")) for name in ("success_any", "success_any_min", "success_last"))
        table.add_row(f"{r['step']:,}", *shares, f"{r['eval/return']:.0f}")
    console.print(table)


def _print_tasks(console: Console, folder: Path) -> None:
    """Task by task, where there are several: the last evaluation of a run that has ended."""
    found = result.read(folder)
    if found is not None and len(found["tasks"]) > 1:
        title = f"last evaluation, at {found['evaluated_at_step']:,} steps, weights version {found['version']}"
        console.print(outcome_table(title, of_run(found["tasks"])))


def _print_bound(console: Console, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
    """What the run is bound by, from its last row that tells."""
    told = [shares for shares in map(Shares.read, rows) if shares is not None]
    if told:
        strict = config.get("backend") == "inline" or bool(config.get("lockstep"))
        console.print(f"{sentence(told[-1], strict)}", soft_wrap=True)


def _settings(config: dict) -> Table:
    table = Table(title="settings", title_justify="left", box=None, show_header=False)
    for key, value in config.items():
        shown = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(key, shown)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _age(created: float) -> str:
    seconds = time.time() - created
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

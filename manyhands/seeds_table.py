"""Several seeds as tables: while they go, from the registry and their metrics; and what they came to together, from their results."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from core.errors import ManyhandsError
from manyhands.balance import Shares, bound_by
from manyhands.outcome import task_table
from manyhands.registry import Registry, Run
from protocols.statistics import estimate, mean, wilson_interval

RESULT = "result.json"
FINISHED = ("steps", "target")
"""reasons of a run that came to its end"""
MIN_SEEDS = 3
"""for an interval over seeds"""
FEW_SEEDS = 5
LINES_EVERY_S = 30.0
TAIL_BYTES = 65536


# ---- while they go --------------------------------------------------------------------------------------------------------


class SeedsView:
    """One live table on a terminal; elsewhere lines, where something has changed, now and then."""

    def __init__(self, console: Console, seeds: Sequence[int], total_steps: int, registry: Registry, *, strict: bool) -> None:
        self.console, self.seeds, self.total_steps, self.registry, self.strict = console, seeds, total_steps, registry, strict
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._told: dict[int, tuple[str, ...]] = {}
        self._told_at = float("-inf")

    def __enter__(self) -> "SeedsView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, runs: Mapping[int, Run]) -> None:
        """Redraws; ``runs``: those that were begun, by seed."""
        if self._live is None and time.monotonic() - self._told_at < LINES_EVERY_S:
            return
        self._told_at = time.monotonic()
        rows = {row.id: row for row in self.registry.list()}
        lines = {seed: self._line(seed, rows.get(runs[seed].id) if seed in runs else None) for seed in self.seeds}
        if self._live is not None:
            self._live.update(_live_table(list(lines.values())), refresh=True)
            return
        for seed, line in lines.items():
            if seed in runs and line != self._told.get(seed):
                _, run, status, steps, rate, success, bound = line
                said = f"seed {seed} {run}: {status}, steps {steps}, {rate} steps/s, success any {success}, bound by {bound}"
                self.console.print(said, soft_wrap=True, highlight=False)
        self._told = lines

    def _line(self, seed: int, row: Run | None) -> tuple[str, ...]:
        if row is None:
            return (str(seed), "", "waiting", "", "", "", "")
        latest = last_metrics(row.path / "metrics.jsonl")
        success = "-" if row.success_any is None else f"{row.success_any:.0%}"
        rate = f"{latest['actor/steps_per_s']:,.0f}" if row.status == "running" and "actor/steps_per_s" in latest else "-"
        return (str(seed), row.id, row.status, f"{row.steps:,}/{self.total_steps:,}", rate, success, _bound_by(latest, row, self.strict))


def _bound_by(latest: Mapping[str, Any], row: Run, strict: bool) -> str:
    if row.status != "running":
        return "-"
    if not row.updates:
        return "warm-up"
    shares = Shares.read(latest)
    return "-" if shares is None else bound_by(shares, strict)


def _live_table(lines: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
    for name in ("seed", "run", "status", "steps", "steps/s", "success any", "bound by"):
        left = name in ("run", "status", "bound by")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def last_metrics(path: Path) -> dict[str, Any]:
    """The newest row with rates; empty where there is none. Reads the end of the file only."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return {}
    for line in reversed(lines[:-1]):  # what follows the last line end is nothing, or torn
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut where the reading began
        if "actor/steps_per_s" in row:
            return row
    return {}


# ---- what they came to ----------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What the last evaluation of one seed was."""

    seed: int
    tasks: dict[str, dict[str, list]]
    """task -> ``success_any``, ``success_last``, ``return``: a value per episode"""


def read_result(seed: int, folder: Path) -> Result | str:
    """A run's result; else, in words, why there is none."""
    try:
        data = json.loads((folder / RESULT).read_text())
        if data["reason"] not in FINISHED:
            return f"not finished ({data['reason'] or 'no reason told'})"
        tasks = {task: told for task, told in (data["tasks"] or {}).items() if told["success_any"]}
        return Result(seed, tasks) if tasks else "no evaluation"
    except FileNotFoundError:
        return "no result"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManyhandsError(f"{folder / RESULT} is damaged ({type(error).__name__}: {error}); remove it to read the others") from None


def print_summary(console: Console, folders: Mapping[int, Path], not_begun: Sequence[int] = ()) -> None:
    """The table of all seeds, and under it those that are not in it."""
    found: list[Result] = []
    left_out = []
    for seed, folder in folders.items():
        read = read_result(seed, folder)
        if isinstance(read, Result) and found and set(read.tasks) != set(found[0].tasks):
            read = "other tasks than the first"
        if isinstance(read, Result):
            found.append(read)
        else:
            left_out.append(f"seed {seed}: {read}")
    left_out += [f"seed {seed}: not begun" for seed in not_begun]
    if found:
        console.print(summary_table(found, left_out))
    elif left_out:
        console.print(f"no summary of the seeds: {'; '.join(left_out)}", highlight=False)


def summary_table(results: Sequence[Result], left_out: Sequence[str] = ()) -> Table:
    """One line per task, the last one their mean."""
    tasks, S = list(results[0].tasks), len(results)
    caption = "\n".join([*_legend(S), *(f"not in it: {line}" for line in left_out)])
    title = f"{S} {'seed' if S == 1 else 'seeds'}, their last evaluation"
    table = task_table(title, caption, ("n", "any", "95 %", "last", "95 %", "return"))
    for task in tasks:
        episodes = [len(result.tasks[task]["success_any"]) for result in results]
        n = f"{S} x {episodes[0]}" if len(set(episodes)) == 1 else str(sum(episodes))
        shown = [part for name in ("success_any", "success_last") for part in _task_cells(results, task, name)]
        table.add_row(task.removeprefix("metaworld:"), n, *shown, f"{scores(results, [task], 'return').mean():.1f}")
    if len(tasks) > 1:
        table.add_section()
        shown = [part for name in ("success_any", "success_last") for part in _mean_cells(scores(results, tasks, name))]
        table.add_row("mean over tasks", f"{S} x {len(tasks)} tasks", *shown, f"{scores(results, tasks, 'return').mean():.1f}")
    return table


def scores(results: Sequence[Result], tasks: Sequence[str], name: str) -> NDArray[np.float64]:
    """(S, K): mean over its episodes, of each seed in each task."""
    return np.array([[np.mean(result.tasks[task][name]) for task in tasks] for result in results], np.float64)


def _task_cells(results: Sequence[Result], task: str, name: str) -> tuple[str, str]:
    matrix = scores(results, [task], name)
    if len(results) >= MIN_SEEDS:
        return _mean_cells(matrix)
    episodes = [bool(success) for result in results for success in result.tasks[task][name]]
    return f"{matrix.mean():.1%}", _range(*wilson_interval(sum(episodes), len(episodes)))


def _mean_cells(matrix: NDArray[np.float64]) -> tuple[str, str]:
    if len(matrix) < MIN_SEEDS:
        return f"{matrix.mean():.1%}", "-"
    found = estimate(mean, matrix, rng=np.random.default_rng(0))
    return f"{float(found.value):.1%}", _range(float(found.low), float(found.high))


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _legend(S: int) -> list[str]:
    lines = ["any: success at some step; last: at the last step; n: seeds x episodes"]
    if S >= MIN_SEEDS:
        lines.append("95 %: bootstrap over seeds, each task's drawn anew: where the mean over other seeds might lie")
    else:
        lines.append("95 %: Wilson, over all episodes: says nothing about other seeds, for which it takes 3 and more")
    if S < FEW_SEEDS:
        lines.append(f"fewer than {FEW_SEEDS} seeds say little about the method, whatever the interval")
    return lines

"""The tables that evaluations end with: per task both kinds of success, their intervals; of adaptation, after how many episodes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from protocols.rows import Results, Row
from protocols.statistics import wilson_interval

SHOWN = ("reward", "reward_version", "success_rule", "horizon", "goals", "goal_visible", "actions")
"""settings that the title tells, where a simulator has them"""
LEGEND = "any: success at some step; last: at the last step; 95 %: interval over n episodes; first: steps until the first success, median"

ADAPTATION = """\
columns: after so many adaptation episodes; 0 is the zero-shot control, gain is over it
any: success at some step; last: at the last step; 95 %: interval over trials"""


def outcome_table(title: str, results: Results, notes: Sequence[str] = ()) -> Table:
    """Rows of one phase: of an adaptive method, ``results.adapted()`` or ``results.zero_shot()``."""
    shown = _settings_shown(results)
    caption = "\n".join([LEGEND, *notes])
    columns = ("n", "any", "95 %", "last", "95 %", "return", "first")
    table = task_table(f"{title}\n{shown}" if shown else title, caption, columns)
    for task, s in results.summaries().items():
        first = "never" if math.isnan(s.first_success) else f"{s.first_success:.0f}"
        successes = (f"{s.success_any:.0%}", _range(s.any_interval), f"{s.success_last:.0%}", _range(s.last_interval))
        table.add_row(task.removeprefix("metaworld:"), str(s.n), *successes, f"{s.episode_return:.0f}", first)
    if len(results.tasks) > 1:
        table.add_section()
        any_, last = (float(np.mean(list(results.means(name).values()))) for name in ("success_any", "success_last"))
        table.add_row("mean over tasks", str(len(results.rows)), f"{any_:.1%}", "", f"{last:.1%}")
    return table


def adaptation_table(title: str, results: Results, notes: Sequence[str] = ()) -> Table:
    """Rows of whole trials: what each task came to after how many adaptation episodes, and the gain over none."""
    shown, looks = _settings_shown(results), results.looks
    returns = [float(np.mean(list(_nth(results, n).means("episode_return").values()))) for n in range(looks[-1])]
    if returns:
        notes = [*notes, f"return of the adaptation episodes: first {returns[0]:.1f}, last {returns[-1]:.1f}, mean {np.mean(returns):.1f}"]
    demos, columns = results.settings.get(results.tasks[0], {}).get("demos", 0), [str(n) for n in looks]
    if demos:
        columns.insert(1, f"0+{demos}")
        notes = [f"0+{demos}: after {demos} demonstration{'s' * (demos > 1)}, remembered from there on", *notes]
    table = task_table(f"{title}\n{shown}" if shown else title, "\n".join([ADAPTATION, *notes]), ["", *columns, "gain"])
    several = len(results.tasks) > 1
    for task in results.tasks:
        _block(table, task.removeprefix("metaworld:"), results.of(task), intervals=not several)
    if several:
        _block(table, "mean over tasks", results, intervals=True)
    return table


def _block(table: Table, name: str, results: Results, *, intervals: bool) -> None:
    """The lines of one task, or of their mean; intervals are over trials."""
    first, *later = (results.after(n) for n in results.looks)
    at_looks = [first, *([results.shown()] if results.shown().rows else []), *later]
    for label, measure in (("any", "success_any"), ("last", "success_last")):
        shares = [float(np.mean(list(part.means(measure).values()))) for part in at_looks]
        table.add_row(name, label, *(f"{share:.0%}" for share in shares), f"{100 * (shares[-1] - shares[0]):+.0f}")
        name = ""
        if intervals:
            trials = len(at_looks[0].rows) // results.settings[results.tasks[0]].get("evaluation", 1)
            table.add_row("", "95 %", *(_range(wilson_interval(round(share * trials), trials)) for share in shares))
    returns = [float(np.mean(list(part.means("episode_return").values()))) for part in at_looks]
    digits = 1 if max(map(abs, returns)) < 100 else 0  # 80 columns
    table.add_row("", "return", *(f"{value:.{digits}f}" for value in returns), f"{returns[-1] - returns[0]:+.{digits}f}")
    table.add_section()


def _nth(results: Results, n: int) -> Results:
    """The adaptation episodes that follow n others of their trials."""
    return results.exploration().select(lambda row: row.adapted_episodes == n)


def _settings_shown(results: Results) -> str:
    told = results.settings.get(results.tasks[0], {})
    return ", ".join(f"{key.replace('_', ' ')} {told[key]}" for key in SHOWN if key in told)


def task_table(title: str, caption: str, columns: Sequence[str]) -> Table:
    """An empty one, with a line per task to come; it fits 80 columns."""
    look: dict[str, Any] = {"box": SIMPLE, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", **look)
    table.add_column("task", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def of_run(tasks: Mapping[str, Mapping[str, Sequence[Any]]]) -> Results:
    """The tasks of a run's ``result.json`` as results, for the table; what that file does not tell is left at its default."""
    rows = [
        Row(name, variation, 0, -1, bool(any_), bool(last), first, 0, returned)
        for name, told in tasks.items()
        for variation, (any_, last, first, returned) in enumerate(
            zip(told["success_any"], told["success_last"], told["first_success"], told["return"], strict=True)
        )
    ]
    return Results(tuple(rows), {})


def together(parts: Sequence[Results]) -> Results:
    """Results of different tasks as one, in their order."""
    settings = {task: told for part in parts for task, told in part.settings.items()}
    return Results(tuple(row for part in parts for row in part.rows), settings, sum(part.lost for part in parts))


def _range(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.0f}-{100 * interval[1]:.0f}"

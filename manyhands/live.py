"""The live view of a training run: a table on a terminal, one line every half minute elsewhere. It only shows; it never stops training."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple, Self, TypeGuard

from rich.box import ROUNDED
from rich.console import Console, Group
from rich.errors import ConsoleError
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

LINE_INTERVAL_S = 30.0
"""Seconds between two lines where there is no terminal."""
REDRAW_INTERVAL_S = 0.25
"""Seconds between two drawings of the table; calls in between cost nothing."""
SLOW = 0.1
"""Updates per second below which it is seconds per update that is shown."""
WIDEST = 100
"""Columns of the table at most: longer lines are hard to read."""


class Snapshot(NamedTuple):
    """What there is to say about a run at one moment. A number that is not known yet is None or NaN."""

    run: str
    """id of the run"""
    task: str
    steps: int
    """env steps done"""
    total_steps: int | None
    """env steps at which the run ends; None if it does not"""
    steps_per_s: float | None = None
    updates: int = 0
    updates_per_s: float | None = None
    success_any: float | None = None
    """0 to 1, of the latest training episodes: succeeded at some step"""
    success_last: float | None = None
    """0 to 1: succeeded at the last step"""
    episode_return: float | None = None
    replay_fill: float | None = None
    """0 to 1"""
    replay_rows: int = 0
    policy_lag: float | None = None
    """weights versions between acting and learning"""
    bound_by: str = "warm-up"
    """what it waits for: simulator, learner, compiling, warm-up ..."""
    restarts: int = 0
    """simulators lost and started again"""
    eta_s: float | None = None
    """seconds to the end"""
    target: str = ""
    """when the run ends early, in words"""
    evaluation: str = ""
    """the latest evaluation, in words"""
    advice: str = ""
    """what would make it faster"""
    waiting: str = ""
    """for which tasks' data updates wait, in words"""


class History:
    """A bounded curve of the whole run: when it is full, neighbours are averaged and each point stands for twice as much."""

    def __init__(self, size: int = 32) -> None:
        self.points: list[float] = []
        self._size = size
        self._per_point = 1
        self._pending: list[float] = []

    def add(self, value: float | None) -> None:
        """Adds a value; one that is not known is left out."""
        if not _known(value):
            return
        self._pending.append(value)
        if len(self._pending) < self._per_point:
            return
        self.points.append(sum(self._pending) / len(self._pending))
        self._pending.clear()
        if len(self.points) == self._size:
            self.points = [(a + b) / 2 for a, b in zip(self.points[::2], self.points[1::2], strict=True)]
            self._per_point *= 2

    def sparkline(self, levels: str) -> str:
        """One character per point for values from 0 to 1, low to high in ``levels``."""
        top = len(levels) - 1
        return "".join(levels[round(min(1.0, max(0.0, point)) * top)] for point in self.points)


class LiveView:
    """Shows snapshots of one run.

    On a terminal the table is redrawn in place and stays on screen after ``close``. No signal handler and no thread: the size of the
    terminal is asked for at each drawing. If the terminal goes away, the view falls silent and training goes on.

    Args:
        console: where to.
        clock: monotonic seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._start = clock()
        self._drawn = -math.inf
        self._silent = False
        self._last: Snapshot | None = None
        self._shown: Snapshot | None = None
        self._history = History()
        self._live: Live | None = None
        self._tall = console.is_terminal and not console.is_dumb_terminal
        self._unicode = (console.encoding or "").lower().startswith("utf")
        # rich ends the process when a pipe closes (``manyhands train | head``); a run outlives its reader.
        console.on_broken_pipe = self._fall_silent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, snapshot: Snapshot) -> None:
        """Takes the newest state; draws it if it is time to."""
        fresh_evaluation = bool(snapshot.evaluation) and (self._last is None or snapshot.evaluation != self._last.evaluation)
        self._last = snapshot
        interval = REDRAW_INTERVAL_S if self._tall else LINE_INTERVAL_S
        if self._clock() - self._drawn < interval and not fresh_evaluation:
            return
        self._drawn = self._clock()
        self._history.add(snapshot.success_any)
        self._show(snapshot)

    def say(self, text: str) -> None:
        """One line that stays."""
        if not self._silent:
            try:
                self.console.print(self._printable(text), markup=False, highlight=False, soft_wrap=True)
            except (OSError, ValueError, ConsoleError):
                self._fall_silent()

    def close(self) -> None:
        """Draws the last state and leaves it on screen. May be called twice."""
        if self._last is not None and self._last is not self._shown:
            self._show(self._last)
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except (OSError, ValueError, ConsoleError):
                self._fall_silent()

    def _show(self, snapshot: Snapshot) -> None:
        if self._silent:
            return
        self._shown = snapshot
        try:
            if self._tall:
                self._draw(snapshot)
            else:
                self.console.print(self._printable(line(snapshot)), markup=False, highlight=False, soft_wrap=True)
        except (OSError, ValueError, ConsoleError):
            # The terminal hung up, its stream was closed, or it cannot show a character.
            self._fall_silent()

    def _draw(self, snapshot: Snapshot) -> None:
        table = panel(snapshot, self._history, self._clock() - self._start, min(self.console.width, WIDEST), self._unicode)
        if self._live is None:
            self._live = Live(table, console=self.console, auto_refresh=False, transient=False)
            self._live.start(refresh=True)
        else:
            self._live.update(table, refresh=True)

    def _printable(self, text: str) -> str:
        encoding = self.console.encoding or "ascii"
        return text.encode(encoding, "replace").decode(encoding)

    def _fall_silent(self) -> None:
        self._silent = True
        self.console.quiet = True


def panel(snapshot: Snapshot, history: History, elapsed_s: float, width: int, unicode: bool = True) -> Panel:
    """The table: always the same number of lines, so that redrawing it in place does not flicker.

    Args:
        snapshot: what to show.
        history: of ``success_any``.
        elapsed_s: seconds since this process began training.
        width: columns.
        unicode: whether the terminal can show blocks; plain characters otherwise.
    """
    dot, levels = (" · ", "▁▂▃▄▅▆▇█") if unicode else (" | ", "_.-=+*#@")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=10)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_row("steps", _steps_row(snapshot, width - 18, unicode))
    speed = [f"{_rate(snapshot.steps_per_s)} steps/s", _pace(snapshot.updates_per_s)]
    grid.add_row("speed", Text.assemble(dot.join(speed), dot, "bound by ", (snapshot.bound_by, "bold yellow")))
    success = Text.assemble(("any ", ""), (_percent(snapshot.success_any), "bold green"), f"  last {_percent(snapshot.success_last)}   ")
    success.append(history.sparkline(levels), style="green")
    grid.add_row("success", success)
    grid.add_row("return", f"{_number(snapshot.episode_return)}{dot}{snapshot.updates:,} updates")
    lag = f"policy lag {_number(snapshot.policy_lag)}"
    restarts = (f"restarts {snapshot.restarts}", "bold red" if snapshot.restarts else "")
    grid.add_row("replay", Text.assemble(f"{_percent(snapshot.replay_fill)} full, {snapshot.replay_rows:,} rows{dot}{lag}{dot}", restarts))
    grid.add_row("evaluation", Text(snapshot.evaluation or "none yet"))
    grid.add_row("target", Text(snapshot.target or "-"))
    grid.add_row("advice", Text(snapshot.waiting or snapshot.advice or "-"))
    title = Text.assemble((snapshot.run, "bold"), dot, snapshot.task)
    title.truncate(max(8, width - 20), overflow="ellipsis")
    elapsed = f"{_duration(elapsed_s)} elapsed"
    return Panel(Group(grid), title=title, title_align="left", subtitle=elapsed, subtitle_align="right", width=width, box=ROUNDED)


def line(snapshot: Snapshot) -> str:
    """The same in one line, for logs."""
    s = snapshot
    share = f" ({_percent(s.steps / s.total_steps)})" if s.total_steps else ""
    parts = [
        f"{time.strftime('%H:%M:%S')} {s.run}",
        f"step {s.steps:,}{f'/{s.total_steps:,}' if s.total_steps else ''}{share}",
        f"{_rate(s.steps_per_s)} steps/s",
        _pace(s.updates_per_s),
        f"success any {_percent(s.success_any)} last {_percent(s.success_last)}",
        f"return {_number(s.episode_return)}",
        f"replay {_percent(s.replay_fill)}",
        f"lag {_number(s.policy_lag)}",
        f"bound by {s.bound_by}",
        *([s.waiting] if s.waiting else []),
        f"ETA {_duration(s.eta_s)}",
        *([f"restarts {s.restarts}"] if s.restarts else []),
        *([f"evaluation: {s.evaluation}"] if s.evaluation else []),
    ]
    return " | ".join(parts)


def _steps_row(snapshot: Snapshot, width: int, unicode: bool) -> Text:
    if not snapshot.total_steps:
        return Text(f"{snapshot.steps:,}")
    share = min(1.0, snapshot.steps / snapshot.total_steps)
    counts, rest = f"{snapshot.steps:,} / {snapshot.total_steps:,}  ", f"  {_percent(share)}  ETA {_duration(snapshot.eta_s)}"
    bar = max(6, min(40, width - len(counts) - len(rest)))
    full = round(share * bar)
    done, left = ("━", "━") if unicode else ("#", ".")
    return Text.assemble(counts, (done * full, "cyan"), (left * (bar - full), "bright_black"), rest)


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _percent(share: float | None) -> str:
    return f"{100 * share:.0f}%" if _known(share) else "-"


def _rate(value: float | None) -> str:
    if not _known(value):
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _pace(updates_per_s: float | None) -> str:
    """Where updates take long, how long: 12 s/update."""
    if _known(updates_per_s) and 0 < updates_per_s < SLOW:
        return f"{1 / updates_per_s:,.0f} s/update"
    return f"{_rate(updates_per_s)} updates/s"


def _number(value: float | None) -> str:
    return f"{value:,.1f}" if _known(value) else "-"


def _duration(seconds: float | None) -> str:
    """1:02:03, with days in front where there are any."""
    if not _known(seconds):
        return "-"
    minutes, rest = divmod(max(0, int(seconds)), 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{f'{days} d ' if days else ''}{hours}:{minutes % 60:02}:{rest:02}"

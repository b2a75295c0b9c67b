"""Which tasks have too little in replay for the learner, which draws as much of each: the loop asks before every update."""

from collections.abc import Sequence
from typing import NamedTuple

from manyhands.config import ReplayConfig

SHARE_OF_CAPACITY = 4
"""the first update waits for at most capacity / this many transitions of a task: closing rows and the guard band take room too"""


class Short(NamedTuple):
    """A task that has too little."""

    task: int
    live: int
    """transitions that can be drawn"""
    wanted: int


def wanted(replay: ReplayConfig, tasks: int, updates: int) -> int:
    """Transitions that every task must hold: its share of ``min_size`` before the first update, later any."""
    if updates:
        return 1
    return max(1, min(replay.min_size // tasks, replay.capacity // SHARE_OF_CAPACITY))


def short_tasks(live: Sequence[int], replay: ReplayConfig, updates: int, shown: Sequence[int] = ()) -> list[Short]:
    """Those of the K tasks that updates have to wait for. Nobody waits for a task with demonstrations: there is something to learn from.

    Args:
        live: (K,) transitions of each that can be drawn; losses and a resume withdraw some.
        updates: done so far.
        shown: (K,) transitions of each task's demonstrations, where the run has any.
    """
    least = wanted(replay, len(live), updates)
    demos = shown or [0] * len(live)
    return [Short(task, int(count), least) for task, count in enumerate(live) if count < least and not demos[task]]


def in_words(short: Sequence[Short], names: Sequence[str]) -> str:
    """``waiting for data of pick-place-v3 (12 of 400)``; the shortest three."""
    if not short:
        return ""
    shown = [f"{names[s.task]} ({s.live:,} of {s.wanted:,})" for s in sorted(short, key=lambda s: s.live)[:3]]
    rest = f" and {len(short) - 3} more" if len(short) > 3 else ""
    return f"waiting for data of {', '.join(shown)}{rest}"

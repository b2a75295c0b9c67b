"""Meta-World's own count of successes, under its own name: for comparison with published tables. Computed from our rows.

``metaworld.evaluation.evaluation`` (3.1.1) steps one environment per (task, goal), ends episodes at success, and takes of every task
*name* the first ``episodes`` episodes to end, whichever goal they have. A goal that is solved soon is played again, and fills the quota:
with 4 goals per task of which 1 is solved, it reports 1.0 for that task. What is reported here is that number without playing again.

Assumption: policy and simulator are deterministic, so that a goal played again has the same outcome. The rows hold the first success
and the horizon, which give the length that an episode has where success ends it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.errors import ConfigError
from protocols.rows import Results


class Ending(NamedTuple):
    """One episode in a vector of environments that all step together."""

    task: str
    time: int
    """env steps of the vector since its start"""
    environment: int
    """its place in the vector: of those that end together the lower counts first"""
    success: bool


class Official(NamedTuple):
    """What Meta-World would report."""

    success: float
    """mean over tasks"""
    by_task: dict[str, float]


def first_to_end(endings: Sequence[Ending], episodes: int) -> Official:
    """Meta-World's count over a record of episodes that is long enough.

    Raises:
        ConfigError: a task has fewer than ``episodes`` episodes.
    """
    by_task: dict[str, list[bool]] = {}
    for ending in sorted(endings, key=lambda e: (e.time, e.environment)):
        by_task.setdefault(ending.task, []).append(ending.success)
    short = [task for task, ends in by_task.items() if len(ends) < episodes]
    if short or not by_task or episodes < 1:
        raise ConfigError(f"the official count takes {episodes} episodes of every task; too few of {', '.join(short) or 'any'}")
    shares = {task: sum(ends[:episodes]) / episodes for task, ends in by_task.items()}
    return Official(float(np.mean(list(shares.values()))), shares)


def replay(tasks: Sequence[str], first_successes: Sequence[Sequence[int]], horizons: Sequence[int], episodes: int) -> list[Ending]:
    """The endings of a vector of environments of which number i plays the episodes ``first_successes[i]`` over and over.

    Args:
        first_successes: env steps until the first success, per environment and episode; -1: never.
        horizons: env steps, per environment.
    """
    endings = []
    for i, (task, firsts, horizon) in enumerate(zip(tasks, first_successes, horizons, strict=True)):
        played = np.resize(np.asarray(firsts, int), episodes)  # one environment alone may fill the quota
        times = np.cumsum(np.where(played < 0, horizon, played))
        endings += [Ending(task, int(time), i, bool(first >= 0)) for time, first in zip(times, played, strict=True)]
    return endings


def official_success(results: Results, *, episodes: int = 3, goals_at_once: int | None = None) -> Official:
    """Meta-World's number for the policy that made these rows, all of one phase: ``results.adapted()`` or ``results.zero_shot()``.

    The rows are those of a plan ``per_goal``: consecutive variations play one goal, and simulators of a task share their goals.

    Args:
        episodes: per task name; Meta-World takes 3 for meta-learning and 50 for multi-task.
        goals_at_once: environments per task in one vector, 4 of ML10's test tasks; the mean over such vectors is reported. None: all.

    Raises:
        ConfigError: actions were sampled, or the tasks differ in their number of goals, or it is no multiple of ``goals_at_once``.
    """
    outcomes: dict[str, dict[int, list[int]]] = {task: {} for task in results.tasks}
    for row in sorted(results.rows, key=lambda row: row.variation):
        told = results.settings[row.task]
        goal = row.variation // (told["adaptation"] + len(told.get("looks", [0])) * told["evaluation"])
        outcomes[row.task].setdefault(goal, []).append(row.first_success)
    counts = {len(goals) for goals in outcomes.values()}
    at_once = goals_at_once or max(counts, default=0)
    if len(counts) != 1 or max(counts) % at_once:
        raise ConfigError(
            f"the official count: {sorted(counts)} goals per task. Allowed: one number, a multiple of {at_once} (goals_at_once)"
        )
    _refuse_sampled(results)
    parts = []
    for start in range(0, max(counts), at_once):
        vector = [(task, firsts) for task, goals in outcomes.items() for firsts in list(goals.values())[start : start + at_once]]
        tasks, firsts = [task for task, _ in vector], [firsts for _, firsts in vector]
        horizons = [int(results.settings[task]["horizon"]) for task in tasks]
        parts.append(first_to_end(replay(tasks, firsts, horizons, episodes), episodes))
    by_task = {task: float(np.mean([part.by_task[task] for part in parts])) for task in results.tasks}
    return Official(float(np.mean([part.success for part in parts])), by_task)


def _refuse_sampled(results: Results) -> None:
    if len(results.exploration().rows):
        raise ConfigError("the official count is of looks: adaptation episodes explore. Take adapted() or zero_shot()")
    for task in results.tasks:
        if results.settings[task].get("actions") == "sampled":
            raise ConfigError(f"the official count of {task}: actions were sampled, so a goal played again may end otherwise")

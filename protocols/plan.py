"""What an evaluation will play: for every simulator a range of variations, each of which counts exactly once. The evaluator's order."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from protocols.schedule import Schedule

SINGLE = Schedule()
"""each episode is a trial of its own, and nothing is carried between episodes"""


class Plan(NamedTuple):
    """Slot i plays and counts the variations first[i] <= v < first[i] + episodes[i], in trials of consecutive variations."""

    first: NDArray[np.int64]
    """(N,)"""
    episodes: NDArray[np.int64]
    """(N,) multiples of ``trial``"""
    schedule: Schedule = SINGLE
    """of every trial"""

    @property
    def trial(self) -> int:
        """Consecutive episodes with one goal that belong together. Without adaptation every episode is a trial of its own."""
        return self.schedule.trial

    def check(self, size: int) -> None:
        """Raises:
        ConfigError: not a plan for ``size`` simulators, or a slot would play part of a trial, or nothing is to be played.
        """
        first, episodes = np.asarray(self.first), np.asarray(self.episodes)
        if not (first.shape == episodes.shape == (size,)):
            raise ConfigError(f"the evaluation's plan is for {first.shape} and {episodes.shape} simulators; there are {size}")
        if (first < 0).any() or (episodes < 0).any() or (episodes % self.trial).any() or not episodes.any():
            raise ConfigError(f"the plan has {episodes.tolist()} episodes. Allowed: multiples of a trial of {self.trial}, not all 0")


def shares(total: int, parts: int) -> NDArray[np.int64]:
    """(parts,) whole numbers that add up to ``total`` and differ by at most 1."""
    return np.full(parts, total // parts, np.int64) + (np.arange(parts) < total % parts)


def from_zero(size: int, episodes: int) -> Plan:
    """Every simulator plays its variations 0, 1, 2 ...: for simulators whose own seeds draw the goals, as in training."""
    return Plan(np.zeros(size, np.int64), shares(episodes, size))


def each_from_zero(tasks: Sequence[Hashable], trials: int, schedule: Schedule = SINGLE) -> Plan:
    """``from_zero`` for each of several tasks: ``trials`` of every one, spread over its simulators.

    With adaptation it presumes that the simulators keep a goal for ``schedule.repeat`` variations.

    Args:
        tasks: (N,) the task of each simulator: a name or an index.
        trials: of every task; without adaptation a trial is one episode.
    """
    quota = np.zeros(len(tasks), np.int64)
    for task in dict.fromkeys(tasks):
        slots = [i for i, other in enumerate(tasks) if other == task]
        quota[slots] = shares(trials, len(slots))
    return Plan(np.zeros(len(tasks), np.int64), quota * schedule.trial, schedule)


def per_goal(tasks: Sequence[Hashable], goals: int | Mapping[Any, int], schedule: Schedule = SINGLE) -> Plan:
    """Every goal of every task, ``schedule.repeat`` episodes each, spread over the task's simulators.

    It presumes that the simulators of a task share their goals and are told to play them in turn, each for as many consecutive
    variations as a goal has episodes: variation v plays goal v // schedule.repeat. A trial is never split.

    Args:
        tasks: (N,) the task of each simulator: a name or an index.
        goals: number of goals, of all tasks or by task.
    """
    first, episodes = np.zeros((2, len(tasks)), np.int64)
    for task in dict.fromkeys(tasks):
        slots = [i for i, name in enumerate(tasks) if name == task]
        wanted = goals if isinstance(goals, int) else goals[task]
        trials = shares(wanted * schedule.repeat // schedule.trial, len(slots))
        episodes[slots] = trials * schedule.trial
        first[slots] = (np.cumsum(trials) - trials) * schedule.trial
    plan = Plan(first, episodes, schedule)
    plan.check(len(tasks))
    return plan

"""What an evaluation found: one row per episode, with the settings it depends on; written as JSON lines, read by reports and statistics."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from protocols.statistics import wilson_interval

OF_ONE_RUN = ("run", "seed", "checkpoint", "version")
"""settings in which results to be averaged may differ; every other must be equal"""


class Row(NamedTuple):
    """One whole episode."""

    task: str
    variation: int
    adapted_episodes: int
    """adaptation episodes of the same trial that came before; 0: zero-shot"""
    simulator_seed: int
    """-1: not told"""
    success_any: bool
    """the criterion held at some step"""
    success_last: bool
    """it held at the last step"""
    first_success: int
    """env steps until the first success; -1: never"""
    length: int
    """env steps"""
    episode_return: float
    look: bool = True
    """it shows what was known by then, and taught nothing; False: an adaptation episode, with exploration"""
    demos: int = 0
    """demonstrations that the policy remembered"""


class Summary(NamedTuple):
    """The episodes of one task. Intervals are Wilson's, 95 %: they tell of this policy's episodes, not of other seeds."""

    n: int
    success_any: float
    any_interval: tuple[float, float]
    success_last: float
    last_interval: tuple[float, float]
    episode_return: float
    first_success: float
    """env steps, median over the episodes that succeed; nan: none does"""


@dataclass(frozen=True)
class Results:
    """The rows of one evaluation of one policy.

    Args:
        settings: task -> all that its rows depend on: reward version, horizon, goals ..., run, weights version, seed, actions.
        lost: episodes that a lost simulator cost; they were repeated and are not among the rows. Not written to files.
    """

    rows: tuple[Row, ...]
    settings: Mapping[str, Mapping[str, Any]]
    lost: int = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of their first rows."""
        return tuple(dict.fromkeys(row.task for row in self.rows))

    def select(self, keep: Callable[[Row], bool]) -> "Results":
        return Results(tuple(row for row in self.rows if keep(row)), self.settings, self.lost)

    def of(self, task: str) -> "Results":
        return self.select(lambda row: row.task == task)

    def zero_shot(self) -> "Results":
        """The control of an adaptive method: the looks before any adaptation. Without adaptation: all."""
        return self.after(0)

    def adapted(self) -> "Results":
        """What counts for the method: the looks after all adaptation. Without adaptation: all."""
        return self.select(lambda row: row.look and row.adapted_episodes >= self._adaptation(row.task))

    def after(self, episodes: int) -> "Results":
        """The looks after exactly so many adaptation episodes: a point of the curve of adaptation. After 0: without demonstrations."""
        return self.select(lambda row: row.look and row.adapted_episodes == episodes and (episodes > 0 or not row.demos))

    def shown(self) -> "Results":
        """The looks after demonstrations and no adaptation episode; none where nothing was shown."""
        return self.select(lambda row: row.look and row.adapted_episodes == 0 and row.demos > 0)

    def exploration(self) -> "Results":
        """The adaptation episodes themselves: what it cost to learn (online regret). Without adaptation: none."""
        return self.select(lambda row: not row.look)

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many adaptation episodes there are looks, ascending."""
        return tuple(sorted({row.adapted_episodes for row in self.rows if row.look}))

    def column(self, name: str) -> NDArray:
        """(E,) one field of all rows."""
        return np.array([getattr(row, name) for row in self.rows])

    def means(self, measure: str = "success_any") -> dict[str, float]:
        """Task -> mean of a field.

        Raises:
            ConfigError: rows before and after adaptation are mixed.
        """
        self._refuse_mixture()
        return {task: float(self.of(task).column(measure).mean()) for task in self.tasks}

    def gain(self, measure: str = "success_any") -> dict[str, float]:
        """Task -> what adaptation brought: after it, less the zero-shot control of the same trials."""
        before = self.zero_shot().means(measure)
        return {task: after - before[task] for task, after in self.adapted().means(measure).items()}

    def summaries(self) -> dict[str, Summary]:
        """Task -> summary. Of an adaptive method, of ``adapted()`` or ``zero_shot()``.

        Raises:
            ConfigError: rows before and after adaptation are mixed.
        """
        self._refuse_mixture()
        return {task: _summary(self.of(task)) for task in self.tasks}

    def write(self, path: Path) -> None:
        """One JSON object per line and row, each with the settings of its task; the file is there whole or not at all."""
        lines = [json.dumps(row._asdict() | {"settings": dict(self.settings[row.task])}) for row in self.rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_text("".join(f"{line}\n" for line in lines))
        os.replace(unfinished, path)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What ``write`` wrote.

        Raises:
            ConfigError: not such a file, or rows of one task differ in their settings.
        """
        rows, settings = [], {}
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                entry = json.loads(line)
                told = entry.pop("settings")
                row = Row(**entry)
            except (ValueError, KeyError, TypeError, AttributeError) as problem:
                raise ConfigError(f"{path}, line {number} is not a row of results: {problem}") from problem
            if settings.setdefault(row.task, told) != told:
                raise ConfigError(f"{path}, line {number}: {row.task} has other settings than before. One file holds one evaluation")
            rows.append(row)
        return cls(tuple(rows), settings)

    def _adaptation(self, task: str) -> int:
        return self.settings[task].get("adaptation", 0)

    def _refuse_mixture(self) -> None:
        for task in self.tasks:
            kinds = {(row.adapted_episodes if row.look else -1, row.demos) for row in self.rows if row.task == task}
            if len(kinds) > 1:
                allowed = "adapted(), zero_shot(), after(n) or exploration()"
                raise ConfigError(f"{task}: episodes before, during and after adaptation are mixed. Take {allowed}")


def score_matrix(results: Sequence[Results], measure: str = "success_any") -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The tasks, and the mean of a field (S, K) over seeds' results and tasks; nan where a seed lacks a task.

    Raises:
        ConfigError: none are given, or two differ in a setting that makes them incomparable, such as the reward version.
    """
    if not results:
        raise ConfigError("a score matrix of no results. Allowed: one per seed, at least one")
    tasks = tuple(dict.fromkeys(task for one in results for task in one.tasks))
    for task in tasks:
        told = [_comparable(one.settings[task]) for one in results if task in one.tasks]
        for other in told[1:]:
            differing = sorted(key for key in told[0].keys() | other.keys() if told[0].get(key) != other.get(key))
            if differing:
                raise ConfigError(f"results of {task} differ in {', '.join(differing)}; they cannot be put together")
    means = [one.means(measure) for one in results]
    return tasks, np.array([[of_seed.get(task, np.nan) for task in tasks] for of_seed in means])


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in OF_ONE_RUN}


def _summary(results: Results) -> Summary:
    success_any, success_last = results.column("success_any"), results.column("success_last")
    first, n = results.column("first_success"), len(results.rows)
    return Summary(
        n,
        float(success_any.mean()),
        wilson_interval(int(success_any.sum()), n),
        float(success_last.mean()),
        wilson_interval(int(success_last.sum()), n),
        float(results.column("episode_return").mean()),
        float(np.median(first[first >= 0])) if (first >= 0).any() else float("nan"),
    )

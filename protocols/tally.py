"""The evaluator's accounts: which episodes of the plan are still missing, and what happens in those under way."""

import numpy as np
from numpy.typing import NDArray

from core.contracts import SimulatorStep
from core.errors import SimulatorError
from protocols.plan import Plan
from protocols.rows import Row

ATTEMPTS = 5
"""at one trial; one that fails so often is a fault of the simulator, not bad luck"""


class Tally:
    """Per slot: the trials that are missing, and sums over the open episode. A trial counts once it was played whole, or not at all.

    Args:
        tasks: (N,) names, for the rows.
        seeds: (N,) of the simulators, for the rows.
    """

    def __init__(self, plan: Plan, tasks: list[str], seeds: list[int]) -> None:
        N = len(tasks)
        self.plan, self.tasks, self.seeds, self.lost = plan, tasks, seeds, 0
        self._missing = [set(range(count // plan.trial)) for count in plan.episodes.tolist()]
        self._done: list[dict[int, list[Row]]] = [{} for _ in range(N)]
        self._target, self._attempts = np.full(N, -1), np.zeros(N, int)
        self._variation, self._until = np.zeros((2, N), np.int64)
        self._open: list[list[Row]] = [[] for _ in tasks]
        self._t, self._returns, self._any, self._first = np.zeros(N, int), np.zeros(N), np.zeros(N, bool), np.full(N, -1)

    def complete(self) -> bool:
        return not any(self._missing)

    def rows(self) -> tuple[Row, ...]:
        """By slot, then by variation."""
        return tuple(row for done in self._done for trial in sorted(done) for row in done[trial])

    def targets(self) -> NDArray[np.int64]:
        """(N,) the variations to reset to: of every slot the first of its next run of missing trials. A slot that misses none idles.

        Raises:
            SimulatorError: not retryable; a slot's first missing trial was attempted too often.
        """
        plan, start = self.plan, self.plan.first.copy()
        for i, missing in enumerate(self._missing):
            target = end = min(missing, default=0)
            while end in missing:
                end += 1
            self._attempts[i] = self._attempts[i] + 1 if target == self._target[i] else 1
            if missing and self._attempts[i] > ATTEMPTS:
                where = f"{self.tasks[i]}, simulator {i}, variation {start[i] + target * plan.trial}"
                raise SimulatorError(f"{where}: lost in each of {ATTEMPTS} attempts; the evaluation cannot be whole", retryable=False)
            self._target[i], self._until[i] = target, start[i] + end * plan.trial
            start[i] += target * plan.trial
        return start

    def begin(self, variations: NDArray[np.int64]) -> None:
        """All slots have been reset, to ``variations``: these may be later ones than ``targets`` said."""
        self._variation[:] = variations
        self._clear(np.ones(len(self.tasks), bool))
        self._open = [[] for _ in self.tasks]

    def playing(self) -> bool:
        """Whether a slot is still within the run that it was sent to play."""
        return bool((self._variation < self._until).any())

    def count(self, step: SimulatorStep, variations: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Takes in a step after which the slots are in ``variations``. Returns where players must forget, (N,): a trial began."""
        success, ended = step.success, step.terminated | step.truncated | step.lost
        self._t += 1
        self._returns += step.reward
        self._first[success & (self._first < 0)] = self._t[success & (self._first < 0)]
        self._any |= success
        if not ended.any():
            return ended
        before = self._variation.copy()
        self._variation[:] = variations
        for i in np.flatnonzero(ended).tolist():
            if variations[i] <= before[i]:
                raise SimulatorError(f"{self.tasks[i]}, simulator {i} did not go on to another variation", retryable=False)
            if step.lost[i]:
                self.lost += int(before[i] < self._until[i])
                self._open[i] = []
            else:
                self._note(i, int(before[i]), bool(success[i]))
        self._clear(ended)
        fresh = (variations - self.plan.first) % self.plan.trial == 0
        return (ended & fresh) | step.lost  # where a loss led into the midst of a trial, what was seen belongs to the lost one

    def _note(self, i: int, variation: int, last: bool) -> None:
        """An episode of slot i has ended whole."""
        trial, place = divmod(variation - int(self.plan.first[i]), self.plan.trial)
        rows = self._open[i]
        if place != len(rows):
            return  # a loss or a failed reset led into the midst of this trial: it will be played again
        first, length, returns = int(self._first[i]), int(self._t[i]), float(self._returns[i])
        look, known, shown = self.plan.schedule.places[place]
        demos = self.plan.schedule.demos if shown else 0
        rows.append(Row(self.tasks[i], variation, known, self.seeds[i], bool(self._any[i]), last, first, length, returns, look, demos))
        if len(rows) == self.plan.trial:
            self._open[i] = []
            if trial in self._missing[i]:
                self._missing[i].remove(trial)
                self._done[i][trial] = rows

    def _clear(self, slots: NDArray[np.bool_]) -> None:
        self._t[slots], self._returns[slots], self._any[slots], self._first[slots] = 0, 0.0, False, -1

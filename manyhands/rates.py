"""How fast a run is: env steps and updates per second, over whole rounds where it is on-policy. For the live view and the metrics."""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from manyhands.counters import Counters

WINDOW_S = 10.0
"""over how long at least, once there has been as much"""
INTERVALS = 3
"""between two looks, on-policy rounds: over how many at least, once there have been as many"""


class Mark(NamedTuple):
    """What had been done at some time."""

    at: float
    steps: int
    updates: int


class Rates:
    """On-policy collecting and learning take turns of perhaps minutes: only from the end of a round to the end of another are both seen.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[Mark] = deque()

    def look(self, counters: Counters, *, rounds: bool) -> None:
        """Called when the run begins, and then whenever what was collected last has been learned from; off-policy at any time.

        On-policy (``rounds``) a look is none where nothing was done since the last one: a round is not over. Off-policy that is a halt.
        """
        mark = Mark(self._clock(), counters.steps, counters.updates)
        if rounds and self._marks and self._marks[-1][1:] == mark[1:]:
            return
        self._marks.append(mark)
        while len(self._marks) > INTERVALS + 1 and mark.at - self._marks[1].at >= WINDOW_S:
            self._marks.popleft()

    def now(self) -> tuple[float, float] | None:
        """env steps/s and updates/s; None before the first of a run's rounds is done."""
        if len(self._marks) < 2:
            return None
        first, last = self._marks[0], self._marks[-1]
        seconds = max(last.at - first.at, 1e-9)
        return (last.steps - first.steps) / seconds, (last.updates - first.updates) / seconds

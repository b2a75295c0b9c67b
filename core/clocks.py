"""When something is due: predicates with a little state, asked by the training loop so that it holds no modulo arithmetic."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from core.errors import ConfigError


class Every:
    """Due each time a counter passes a multiple of ``interval``.

    A counter that jumps over several multiples makes it due once, not several times in a row; the next mark is the multiple after the
    count. Count 0 is not due.

    Args:
        interval: distance of the marks in units of the counter; 0 means never.
    """

    def __init__(self, interval: int) -> None:
        if interval < 0:
            raise ConfigError(f"the interval of a clock is {interval}. Allowed: a positive number, or 0 for never")
        self.interval = interval
        self._last = 0

    def due(self, count: int) -> bool:
        """True once for each time ``count`` has passed a mark since the last true answer."""
        if self.interval == 0 or count < self._next():
            return False
        self._last = count
        return True

    def _next(self) -> int:
        return (self._last // self.interval + 1) * self.interval

    def state_dict(self) -> dict[str, Any]:
        return {"last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the count of the last true answer; the interval stays the configured one, which may differ from the saved run's."""
        self._last = int(state["last"])


class EverySeconds:
    """Due when ``interval_s`` of monotonic time have passed since it was last due, or since it was made.

    Args:
        interval_s: seconds; 0 is always due.
        clock: returns seconds that never go back.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not interval_s >= 0:
            raise ConfigError(f"the interval of a clock is {interval_s} s. Allowed: 0 or more seconds")
        self.interval_s = interval_s
        self._clock = clock
        self._last = clock()

    def due(self) -> bool:
        """True at most once per interval; time lost in a long pause is not made up for."""
        now = self._clock()
        if now - self._last < self.interval_s:
            return False
        self._last = now
        return True

    def state_dict(self) -> dict[str, Any]:
        # Monotonic time means nothing in the next process, the part of the interval that has passed does.
        return {"elapsed_s": self._clock() - self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last = self._clock() - float(state["elapsed_s"])


class Until:
    """Says whether a counter is still short of its target.

    Args:
        target: the count at which it ends; None means never.
    """

    def __init__(self, target: int | None) -> None:
        if target is not None and target < 0:
            raise ConfigError(f"the target of a run is {target}. Allowed: 0 or more")
        self.target = target
        self._count = 0

    def going(self, count: int) -> bool:
        """True while the largest count seen is below the target."""
        self._count = max(self._count, count)
        return self.target is None or self._count < self.target

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the count, not the target: a finished run goes on when it is resumed with a larger one."""
        self._count = int(state["count"])

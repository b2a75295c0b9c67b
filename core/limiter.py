"""How fast learning may go against collecting: a predicate that the training loop asks, between the actors and the learner."""

from collections.abc import Mapping
from fractions import Fraction
from math import isfinite
from typing import Any

from core.errors import ConfigError

LARGEST_DENOMINATOR = 10**6
"""A ratio is read as the nearest fraction with at most this denominator, so that 0.3 is three tenths and 1/3 a third, exactly."""


class SamplesPerInsert:
    """Holds the updates to ``updates_per_step`` per inserted env step. It only answers; nothing here ever waits.

    Two promises, exact because all sums are of integers:

    * updates <= head_start + floor((inserted - min_size) * updates_per_step): no step is learned from more than it is entitled to;
    * an insert that would carry collection more than ``max_lead_steps`` env steps ahead of the updates done is refused.

    The second yields where keeping it would stop both sides: while no whole update is entitled, inserting is always allowed. So for every
    ratio and every size of an insert at least one of ``may_insert`` and ``may_update`` says yes, and with r = updates_per_step
    ``0 <= r * (inserted - min_size) - updates <= max(r * max_lead_steps, r * steps + 1)`` from ``min_size`` on.

    Report what is in flight: call ``updated`` when updates are handed to the learner, and count in ``steps`` what actors were already sent
    for.

    Args:
        updates_per_step: learner updates per env step, > 0.
        min_size: env steps inserted before the first update; they entitle to none.
        max_lead_steps: env steps that collection may run ahead; 0 is strict alternation.
        head_start: updates before the first env step, from demonstrations.

    Raises:
        ConfigError: a setting that no run can obey.
    """

    def __init__(self, updates_per_step: float, min_size: int, max_lead_steps: int, head_start: int = 0) -> None:
        ratio = _fraction(updates_per_step)
        for name, value in (("min_size", min_size), ("max_lead_steps", max_lead_steps), ("head_start", head_start)):
            if not isinstance(value, int) or value < 0:
                unit = "updates" if name == "head_start" else "env steps"
                raise ConfigError(f"replay.{name} is {value}. Allowed: a whole number of {unit}, 0 or more")
        self._up, self._down = ratio.numerator, ratio.denominator
        self._min_size = min_size
        self._lead, self._head_start = max_lead_steps, head_start
        self._inserted = 0
        self._updates = 0
        self._origin = (self._min_size, head_start)
        """(env steps, updates) from which the entitlement is counted; moves only when a run is resumed with other settings."""

    def may_insert(self, steps: int) -> bool:
        """Whether ``steps`` more env steps may be collected now."""
        if self._updates < self._head_start:
            return False
        return self._owed() + steps * self._up <= self._lead * self._up or self._allowed() == 0

    def may_update(self, n: int = 1) -> int:
        """How many of ``n`` wanted updates may be done now, 0 to n."""
        return max(0, min(n, self._allowed()))

    def inserted(self, steps: int) -> None:
        """Counts env steps that have arrived in replay."""
        if steps < 0:
            raise ValueError(f"{steps} env steps cannot be inserted")
        self._inserted += steps

    def updated(self, n: int) -> None:
        """Counts updates. More than ``may_update`` allowed is a fault of the caller: ValueError."""
        if not 0 <= n <= self._allowed():
            raise ValueError(f"{n} updates were counted where {self._allowed()} are allowed")
        self._updates += n

    def _owed(self) -> int:
        """Entitled minus done updates, in units of 1 / denominator: may be negative before ``min_size``."""
        steps, updates = self._origin
        return (self._inserted - steps) * self._up - (self._updates - updates) * self._down

    def _allowed(self) -> int:
        return max(0, self._head_start - self._updates, self._owed() // self._down)

    def state_dict(self) -> dict[str, Any]:
        return {
            "inserted": self._inserted,
            "updates": self._updates,
            "origin": list(self._origin),
            "ratio": [self._up, self._down],
            "min_size": self._min_size,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from the saved counts. Where ratio or ``min_size`` differ from the saved run's, the new ones hold from here on:
        otherwise a larger ratio would owe updates for all the steps of the past at once.
        """
        self._inserted, self._updates = int(state["inserted"]), int(state["updates"])
        same = list(state["ratio"]) == [self._up, self._down] and state["min_size"] == self._min_size
        steps, updates = state["origin"]
        self._origin = (int(steps), int(updates)) if same else (max(self._inserted, self._min_size), self._updates)


def _fraction(updates_per_step: float) -> Fraction:
    usable = isfinite(updates_per_step) and updates_per_step > 0
    ratio = Fraction(updates_per_step).limit_denominator(LARGEST_DENOMINATOR) if usable else Fraction(0)
    if ratio == 0:
        raise ConfigError(
            f"replay.updates_per_step is {updates_per_step}. Allowed: a finite number of updates per env step, "
            f"at least 1/{LARGEST_DENOMINATOR}; 1.0 is usual"
        )
    return ratio

"""The limiter of on-policy training: every actor delivers its part of a round, then the learner updates once, and so on in turn."""

from collections.abc import Mapping
from typing import Any

from core.errors import ConfigError


class RoundBarrier:
    """Asked by the training loop like ``SamplesPerInsert``, in parts instead of env steps. It only answers; nothing here ever waits.

    Exactly one of ``may_insert`` and ``may_update`` says yes: while parts are missing, so many may be collected; when the last has come in,
    one update may be done.

    Args:
        parts: of a round, one per actor.
    """

    def __init__(self, parts: int) -> None:
        if parts < 1:
            raise ConfigError(f"a round of {parts} parts; it must be at least 1")
        self._parts, self._inserted, self._updates = parts, 0, 0
        """``inserted`` counts those of the round under way"""

    def may_insert(self, parts: int) -> bool:
        """Whether the round under way lacks so many parts, those already sent for included."""
        return self._inserted + parts <= self._parts

    def may_update(self, n: int = 1) -> int:
        """How many of ``n`` wanted updates may be done now: 1 of a round that is whole, else 0."""
        return min(n, int(self._inserted == self._parts))

    def inserted(self, parts: int) -> None:
        """Counts parts that have come in. More than the round has is a fault of the caller: ValueError."""
        if not 0 <= parts <= self._parts - self._inserted:
            raise ValueError(f"{parts} parts came in where {self._parts - self._inserted} are missing")
        self._inserted += parts

    def updated(self, n: int) -> None:
        """Counts the update that ends the round. More than ``may_update`` allowed is a fault of the caller: ValueError."""
        if n and self.may_update(n) != n:
            raise ValueError(f"{n} updates were counted where {self.may_update(n)} are allowed")
        self._updates += n
        self._inserted = 0 if n else self._inserted

    def state_dict(self) -> dict[str, Any]:
        """Without the parts of the round under way: whoever loads this says how many of them it still has."""
        return {"updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._updates, self._inserted = int(state["updates"]), 0

"""What a pool remembers of its simulators' failures: how long to wait before the next try, what to play no more, when to give up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.contracts import Upkeep
from core.errors import SimulatorError
from simulators import hooks

FIRST_S, LONGEST_S = 0.5, 30.0
"""Seconds before the second start in a row and, doubling, at most. The first is at once."""
BLAMED = 4
"""times as many failures in a row are borne where each can be laid to a kind of episode, which quarantine may cure"""
AHEAD = 1000
"""episodes that are looked at for one that is not quarantined; if there is none, there are no other kinds"""


class Limits(NamedTuple):
    """When enough is enough."""

    failures: int
    """of one worker, without a completed step in between, that end the pool"""
    quarantine: int
    """of one kind of episode, without a completed one in between, after which it is played no more; 0: it always is"""


class Kind(NamedTuple):
    """Episodes that are quarantined together."""

    task: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.task}"


class Ledger:
    """Of N simulators in W processes.

    Args:
        names: (N,) of the tasks; ``options`` of their simulators.
        workers: W.
    """

    def __init__(self, names: Sequence[str], options: Sequence[Mapping[str, Any]], workers: int, limits: Limits) -> None:
        self.names, self.options, self.limits = names, options, limits
        self.failures, self.last_failure = 0, ""
        self.quarantined: dict[Kind, str] = {}
        """why each is"""
        self.strikes = [0] * workers
        """failures since the last completed step"""
        self.setbacks = [0] * workers
        """failures since the last completed episode"""
        self.played = [0] * workers
        """episodes completed since the process was started"""
        self._restarts = [hooks.restarts(name, told) for name, told in zip(names, options, strict=True)]
        self._planning = any(any(one) for one in self._restarts)
        self._against: Counter[Kind] = Counter()
        self._news: list[str] = []
        self._planned, self._notices = 0, []

    @property
    def watching(self) -> bool:
        """Whether ends of episodes matter; else they need not be told."""
        return self._planning or bool(self._against) or any(self.setbacks)

    def failed(self, worker: int, reason: str, slot: int | None = None, variation: int = 0) -> float:
        """Counts a failure. Returns the seconds to wait before the next start.

        Args:
            slot: that was stepped or reset, if it is known; ``variation`` its episode.

        Raises:
            SimulatorError: not retryable; it was one too many.
        """
        self.failures, self.last_failure, self.played[worker] = self.failures + 1, reason, 0
        self.strikes[worker] += 1
        self.setbacks[worker] += 1
        self._news.append(reason)
        kind = None if slot is None else self._kind(slot, variation)
        if kind:
            self._blame(kind, reason)
        most = self.limits.failures * (BLAMED if kind else 1)
        if self.strikes[worker] >= most:
            times = f"failed {self.strikes[worker]} times in a row (max_failures)"
            raise SimulatorError(f"{reason}. Worker {worker} {times}", retryable=False)
        return pause(self.setbacks[worker])

    def ended(self, worker: int, slot: int, variation: int) -> None:
        """An episode has ended whole."""
        self.setbacks[worker] = 0
        self.played[worker] += 1
        if self._against and (kind := self._kind(slot, variation)):
            self._against.pop(kind, None)

    def due(self, worker: int, slot: int, mb: float) -> str:
        """Why a worker is to be replaced now that the episode of its slot has ended; empty: it is not."""
        most = self._restarts[slot]
        if most.episodes and self.played[worker] >= most.episodes:
            why = f"{self.played[worker]} episodes (restart_episodes)"
        elif most.mb and mb > most.mb:
            why = f"{mb:.0f} MB (restart_mb)"
        else:
            return ""
        self._planned, self.played[worker] = self._planned + 1, 0
        self._news.append(f"{self.names[slot]} worker {worker}: planned restart after {why}")
        return why

    def weighs(self, slot: int) -> bool:
        """Whether anyone wants to know how large its process is."""
        return self._restarts[slot].mb > 0

    def allowed(self, slot: int, variation: int) -> int:
        """The first episode from this one on that is not quarantined.

        Raises:
            SimulatorError: not retryable; all are.
        """
        if not self.quarantined:
            return variation
        found = set()
        for ahead in range(variation, variation + AHEAD):
            kind = self._kind(slot, ahead)
            if kind not in self.quarantined:
                return ahead
            found.add(kind)
        many = f"all {len(found)} kinds of its episodes are" if len(found) > 1 else f"{found.pop()} is all there is, and it is"
        often = f"each failed {self.limits.quarantine} times without a completed episode (quarantine_after)"
        raise SimulatorError(f"{self.names[slot]}: {many} quarantined; {often}. The last: {self.last_failure}", retryable=False)

    def _kind(self, slot: int, variation: int) -> Kind | None:
        """None where nothing is quarantined."""
        if not self.limits.quarantine:
            return None
        kind = hooks.kind(self.names[slot], self.options[slot], variation)
        return Kind(self.names[slot], kind) if kind else None

    def _blame(self, kind: Kind, reason: str) -> None:
        self._against[kind] += 1
        if self._against[kind] >= self.limits.quarantine and kind not in self.quarantined:
            self.quarantined[kind] = reason
            line = f"quarantine: {kind} failed {self._against.pop(kind)} times in a row and is played no more; the last: {reason}"
            self._news.append(line)
            self._notices.append(line)

    def drain(self) -> list[str]:
        """One line for each thing that happened since one last asked."""
        news, self._news = self._news, []
        return news

    def upkeep(self) -> Upkeep:
        """The same, of what is not a loss; counted."""
        done, self._planned, self._notices = Upkeep(self._planned, tuple(self._notices)), 0, []
        return done


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return 0.0 if failures <= 1 else min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 2, 30))

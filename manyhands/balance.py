"""What a run is bound by, from how long its parts were at work lately: beside the fleet, for the live view, metrics and last words."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from actors.worker import Report

WINDOW_S = 20.0
"""what counts as lately"""
SATURATED = 0.6
"""share of the time from which on the busiest side is what the others wait for"""
_BUCKET_S = 0.5
"""what came in within so many seconds is forgotten together"""

NOTHING = "nothing"
ADVICE = {
    "simulator": "add simulator processes or actors",
    "policy": "more simulators per actor: one call of the network acts for all of them",
    "learner": "fewer updates or epochs per env step, a smaller network, more learner threads or a GPU",
    "replay": "larger chunks",
    "publish": "publish less often",
    NOTHING: "nothing is saturated: the limiter holds one side back, or evaluations and checkpoints take the time",
}
"""part -> how to get more out of it"""


class Shares(NamedTuple):
    """Shares of the wall time, 0 to 1: of the driver's where everything happens in turns, else of each part's own, actors on average."""

    simulator: float = 0.0
    """actors waiting for their simulators"""
    policy: float = 0.0
    """actors choosing actions and cutting chunks"""
    learner: float = 0.0
    """updates, without the draw"""
    replay: float = 0.0
    """chunks handed over, batches drawn; the larger of both where they happen side by side"""
    publish: float = 0.0
    """new weights handed out"""

    def metrics(self) -> dict[str, float]:
        return {f"time/{name}_share": share for name, share in self._asdict().items()}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Shares | None":
        """From a row of metrics, None where it has none."""
        names = [f"time/{name}_share" for name in cls._fields]
        return cls(*(row[name] for name in names)) if all(row.get(name) is not None for name in names) else None


def bound_by(shares: Shares, strict: bool) -> str:
    """A key of ``ADVICE``.

    Args:
        strict: everything happens in turns, so that shares add up. Otherwise actors and learner work side by side, and the busier of
            them decides.
    """
    acting, learning = shares.simulator + shares.policy, shares.learner + shares.publish
    busy = (acting + learning if strict else max(acting, learning)) + shares.replay
    if busy < SATURATED:
        return NOTHING
    sides = {"actors": acting, "learner": shares.learner, "replay": shares.replay, "publish": shares.publish}
    busiest = max(sides, key=lambda side: sides[side])
    if busiest != "actors":
        return busiest
    return "simulator" if shares.simulator >= shares.policy else "policy"


def sentence(shares: Shares, strict: bool) -> str:
    """The same in words, with advice."""
    part = bound_by(shares, strict)
    if part == NOTHING:
        return ADVICE[part]
    return f"bound by {part} ({getattr(shares, part):.0%} of the time): {ADVICE[part]}"


class Balance:
    """Adds up seconds over the last ``WINDOW_S``.

    Args:
        actors: A, of which each adds to the shares its part.
        strict: everything happens in turns.
        ahead: updates are only launched, on a GPU, and the publish after them waits until they are done: its time is the learner's.
        clock: monotonic seconds.
    """

    def __init__(self, actors: int, *, strict: bool, ahead: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.ahead = ahead
        self.strict, self._together, self._clock = strict, 1 if strict else actors, clock
        self._began: float | None = None
        self._final: Shares | None = None
        self._buckets: deque[tuple[float, dict[str, float]]] = deque()

    def begin(self) -> None:
        """The run's work begins; what was before does not count."""
        self._began = self._clock()
        self._buckets.clear()

    def end(self) -> None:
        """Training is over: what the last evaluation and checkpoint take is left out."""
        self._final = self.shares()

    def collected(self, report: Report) -> None:
        policy = max(0.0, report.seconds - report.simulate_s - report.send_s)
        self._add(simulator=report.simulate_s / self._together, policy=policy / self._together, send=report.send_s / self._together)

    def updated(self, seconds: float, sample_s: float) -> None:
        self._add(learner=max(0.0, seconds - sample_s), sample=sample_s)

    def published(self, seconds: float) -> None:
        self._add(**{"learner" if self.ahead else "publish": seconds})

    def shares(self) -> Shares:
        """Of the last seconds, before ``end`` if that was called; all 0 before ``begin``."""
        if self._final is not None:
            return self._final
        now = self._clock()
        while self._buckets and self._buckets[0][0] < now - WINDOW_S:
            self._buckets.popleft()
        if self._began is None or now <= self._began:
            return Shares()
        window = min(WINDOW_S, now - self._began)
        total = {name: sum(spent.get(name, 0.0) for _, spent in self._buckets) / window for name in _PARTS}
        send, sample = total.pop("send"), total.pop("sample")
        total["replay"] = send + sample if self.strict else max(send, sample)
        return Shares(**{name: min(1.0, share) for name, share in total.items()})

    def _add(self, **seconds: float) -> None:
        now = self._clock()
        if not self._buckets or now - self._buckets[-1][0] >= _BUCKET_S:
            self._buckets.append((now, {}))
            while self._buckets[0][0] < now - WINDOW_S:
                self._buckets.popleft()
        bucket = self._buckets[-1][1]
        for name, value in seconds.items():
            bucket[name] = bucket.get(name, 0.0) + value


_PARTS = ("simulator", "policy", "learner", "publish", "send", "sample")

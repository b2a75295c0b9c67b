"""A client's part of an evaluation: takes episodes that the run offers, has them played without exploring, tells what came of each.

An evaluation is called out by a mark. Under it lie the parameters to act with and a list of episodes (task, seed, number); their places in
the list are offered in a stream, from which whoever has a simulator to spare takes the next. What was taken and not told of is offered
again, to others, when its client is gone. What was told twice counts once: the run sees to that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np

from outpost.keys import Keys
from outpost.link import Link, Lost, Refused
from outpost.wire import EVALUATION, RECORD, Malformed, frame, unpack_arrays

if TYPE_CHECKING:
    from outpost.client_lane import Step

GROUP = "clients"
AGAIN_S = 1.0
"""after so long a client asks again where nothing was on offer"""


class Evaluation(NamedTuple):
    """One that is under way."""

    mark: str
    run: str
    options: dict[str, Any]
    """of the simulators"""
    episodes: list[Any]
    """[index of the task, seed of the simulator, number of the episode]"""
    params: dict[str, np.ndarray]


@dataclass
class Played:
    """An episode that one simulator plays for an evaluation."""

    evaluation: Evaluation
    number: int
    """its place in the list"""
    entry: bytes
    """by which it was offered"""
    length: int = 0
    returned: float = 0.0
    first_success: int = -1

    def count(self, step: Step) -> dict[str, Any]:
        """Takes in a step; what came of the episode where it ends here, else nothing."""
        self.length += 1
        self.returned += step.reward
        if step.success and self.first_success < 0:
            self.first_success = self.length
        if not (step.terminated or step.truncated):
            return {}
        told = {"success_any": self.first_success >= 0, "success_last": bool(step.success), "first_success": self.first_success}
        return {**told, "length": self.length, "episode_return": float(self.returned)}


class Evaluations:
    """See the module. ``boot`` is who takes: this process."""

    def __init__(self, link: Link, keys: Keys, boot: str, say: Callable[[str], None]) -> None:
        self.link, self.keys, self.boot, self.say = link, keys, boot, say
        self.open: Evaluation | None = None
        self.last = b"0"
        """the entry of ``keys.called`` read last"""
        self._ask_at = 0.0
        self._untold: list[tuple[Played, bytes]] = []

    def called(self, mark: bytes) -> None:
        """An evaluation begins, or the one under way is over."""
        self.open, self._ask_at = None, 0.0
        data = self.link.ask("GET", self.keys.evaluation) if mark else None
        if data is None:
            return
        try:
            header, params = unpack_arrays(data, EVALUATION)
            found = Evaluation(params=params, **header)
        except (Malformed, TypeError) as error:
            self.say(f"an evaluation that cannot be read: {error}")
            return
        self.open = found if found.mark == mark.decode() else None

    def take(self, run: str) -> Played | None:
        """The next episode on offer; None where there is none. May be asked as often as one likes."""
        now, wanted = time.monotonic(), self.open
        if wanted is None or wanted.run != run or now < self._ask_at:
            return None
        try:
            found = self.link.ask("XREADGROUP", "GROUP", GROUP, self.boot, "COUNT", 1, "STREAMS", self.keys.offers, ">")
            entry, fields = found[0][1][0] if found else (b"", [])
            if len(fields) == 4 and fields[1] == wanted.mark.encode():
                return Played(wanted, int(fields[3]), entry)
        except (Lost, Refused):  # it is away, or has forgotten; the next exchange hears of it
            pass
        self._ask_at = now + AGAIN_S
        return None

    def told(self, played: Played, came: dict[str, Any], lost: str = "") -> None:
        """What came of an episode goes with the next exchange; ``lost`` says why nothing did."""
        mark = played.evaluation.mark
        self._untold.append((played, frame(RECORD, {"mark": mark, "number": played.number, "lost": lost, **came})))

    def commands(self) -> list[tuple]:
        """That tell what came of episodes. In this order: an episode is on offer, or in someone's hands, until it is told of."""
        made: list[tuple] = []
        for played, record in self._untold:
            made += [("XADD", self.keys.records, "*", "f", record), *self._done(played)]
        return made

    def _done(self, played: Played) -> list[tuple]:
        return [("XACK", self.keys.offers, GROUP, played.entry), ("XDEL", self.keys.offers, played.entry)]

    def sent(self) -> None:
        """All of ``commands`` were carried out."""
        self._untold.clear()

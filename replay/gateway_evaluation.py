"""Has clients play episodes with given weights, and counts each once: the run's side of ``outpost.client_evaluation``.

Episodes are on offer in a stream. One is missing until a client has told what came of it; it is offered again when its simulator failed,
when the client that took it is gone, or when nothing was heard for a while, since the server may have forgotten. Two answers are one.
"""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from core.types import Weights
from outpost.client_evaluation import GROUP
from outpost.keys import Keys
from outpost.link import Link, Lost, Refused
from outpost.wire import EVALUATION, RECORD, Malformed, pack_arrays, unframe
from replay.gateway_sessions import Sessions

ATTEMPTS = 5
"""at one episode; one that fails so often is a fault of the simulator, not bad luck"""
WAIT_S = 0.5
OFFERED_AGAIN = 3
"""times within the deadline, where nothing is heard"""
_TYPES = {"number": int, "success_any": bool, "success_last": bool, "first_success": int, "length": int, "episode_return": float}


class Record(NamedTuple):
    """What came of an episode."""

    success_any: bool
    success_last: bool
    first_success: int
    length: int
    episode_return: float


class Unanswered(Exception):  # noqa: N818 - an event that the run answers, not an error
    """The evaluation did not come about, in words why."""


class Offers:
    """See the module. One evaluation at a time.

    Args:
        run: whose clients are asked, anew with each start of its driver.
        timeout_s: silence after which a client is gone.
        patience_s: without any answer, after which the evaluation is given up.
    """

    def __init__(self, link: Link, keys: Keys, run: str, timeout_s: float, patience_s: float) -> None:
        self.link, self.keys, self.run, self.timeout_s, self.patience_s = link, keys, run, timeout_s, patience_s
        self.lost = 0
        """episodes that failed simulators cost, of the last evaluation"""
        self._closing = threading.Event()

    def play(self, weights: Weights, options: dict[str, Any], episodes: Sequence[tuple[int, int, int]]) -> list[Record]:
        """What came of each of ``episodes``: index of the task, seed of the simulator, number of the episode.

        Raises:
            Unanswered: no client answered for too long, or one of them could not be played.
        """
        self._mark, self._missing, self._found = secrets.token_hex(8), set(range(len(episodes))), {}
        self._failed: Counter[int] = Counter()
        self._clients = Sessions(self.run, 0, 0, self.timeout_s)
        self.lost, self._at, call_at = 0, b"0", 0.0
        header = {"mark": self._mark, "run": self.run, "options": options, "episodes": [list(map(int, each)) for each in episodes]}
        arrays = {name: np.asarray(value) for name, value in weights.params.items()}
        call = pack_arrays(EVALUATION, header, arrays, compress=True)
        self._heard_at, again_s = time.monotonic(), self.patience_s / OFFERED_AGAIN
        try:
            while self._missing:
                try:
                    if time.monotonic() > max(call_at, call_at and self._heard_at + again_s):
                        self._call(call)
                        call_at = time.monotonic() + again_s
                    self._take_in()
                    self._look()
                except (Lost, Refused):
                    call_at = 0.0
                    self._closing.wait(WAIT_S)
                self._check(weights.version, len(episodes))
        finally:
            with suppress(Lost, Refused):
                self._withdraw()
        return [self._found[number] for number in range(len(episodes))]

    def close(self) -> None:
        self._closing.set()
        self.link.close()

    # ---- what goes out ------------------------------------------------------------------------------------------------

    def _call(self, call: bytes) -> None:
        """Calls clients, and offers what is missing, as if nothing had been offered before."""
        offers = [("XADD", self.keys.offers, "*", "m", self._mark, "n", number) for number in sorted(self._missing)]
        group = ("XGROUP", "CREATE", self.keys.offers, GROUP, "0", "MKSTREAM")
        clear = [("DEL", self.keys.offers), group, ("SET", self.keys.evaluation, call)]
        self.link.ask_all([*clear, *offers, ("XADD", self.keys.called, "MAXLEN", 1, "*", "f", self._mark)])

    def _offer(self, number: int) -> None:
        self.link.ask("XADD", self.keys.offers, "*", "m", self._mark, "n", number)

    def _withdraw(self) -> None:
        gone = ("DEL", self.keys.offers, self.keys.records, self.keys.evaluation)
        self.link.ask_all([("XADD", self.keys.called, "MAXLEN", 1, "*", "f", ""), gone])

    # ---- what comes in ------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        found = self.link.ask("XREAD", "BLOCK", int(1000 * WAIT_S), "STREAMS", self.keys.records, self._at)
        for entry, fields in found[0][1] if found else []:
            self._at = entry
            self._count(fields[1])
        if found:
            self.link.ask("XDEL", self.keys.records, *[entry for entry, _ in found[0][1]])

    def _count(self, data: bytes) -> None:
        """One record; what is of another evaluation, or cannot be read, is none."""
        try:
            told = unframe(data, RECORD).header
        except Malformed:
            return
        number = told.get("number")
        if told.get("mark") != self._mark or number not in self._missing:
            return
        self._heard_at = time.monotonic()
        if told.get("lost"):
            self.lost += 1
            self._failed[number] += 1
            self._offer(number)
        elif all(type(told.get(name)) is kind for name, kind in _TYPES.items()) and np.isfinite(told["episode_return"]):
            self._missing.remove(number)
            self._found[number] = Record(*(told[name] for name in Record._fields))

    def _look(self) -> None:
        """What clients that are gone had taken is offered again."""
        known, flat, taken = self.link.ask_all(
            [
                ("EXISTS", self.keys.evaluation),
                ("HGETALL", self.keys.beats),
                ("XPENDING", self.keys.offers, GROUP, "-", "+", len(self._missing) + 100),
            ]
        )
        if not known:
            raise Lost("the server has lost its memory")
        beats = {name.decode(errors="replace"): data for name, data in zip(flat[::2], flat[1::2], strict=True)}
        self._clients.look(beats, {})
        there = {member.boot.encode() for member in self._clients.members.values()}
        for entry, client, *_ in taken:
            if client not in there:
                self._offer_anew(entry)

    def _offer_anew(self, entry: bytes) -> None:
        found = self.link.ask("XRANGE", self.keys.offers, entry, entry)
        if found:
            self.link.ask("XADD", self.keys.offers, "*", *found[0][1])
        self.link.ask_all([("XACK", self.keys.offers, GROUP, entry), ("XDEL", self.keys.offers, entry)])

    def _check(self, version: int, episodes: int) -> None:
        which = f"the evaluation of weights version {version} is missing"
        number, failed = max(self._failed.items(), key=lambda item: item[1], default=(0, 0))
        if failed >= ATTEMPTS:
            raise Unanswered(f"{which}: simulators of clients failed {failed} times in its episode {number}")
        if time.monotonic() - self._heard_at > self.patience_s:
            there = len(self._clients.members)
            played = f"{episodes - len(self._missing)} of {episodes} episodes are played, {there} clients are there"
            raise Unanswered(f"{which}: no answer of clients for {self.patience_s:.0f} s ({played})")

"""A client's side of the gateway: says what it is, takes orders and weights, and sends chunks until each is acknowledged.

A chunk is kept here until the gateway says that it lies in replay. Whatever was on its way when the connection broke, or is no longer in
the stream and yet not acknowledged, is sent again under the same number; replay stores a number once. So nothing is lost or doubled when
Redis or the gateway dies, whatever Redis had written down.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from outpost import PROTOCOL, Failed
from outpost.client_evaluation import Evaluations
from outpost.keys import Keys
from outpost.link import Link, Lost, Refused
from outpost.wire import BEAT, ORDER, WEIGHTS, Chunk, Malformed, frame, pack_chunk, unframe, unpack_arrays

EVERY_S = 0.02
"""between two looks for orders while simulators work"""
BEAT_S = 0.5
LOOK_S = 2.0
"""after so long without an acknowledgement the client looks whether what it sent is still there"""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
SILENCE_S = 20.0
"""without a word of the gateway, after which the client looks whether there is a run at all"""


class Order(NamedTuple):
    """The latest word of the gateway."""

    boot: str
    """of the process that is meant: another one of the same name may have been there before"""
    refused: str
    """why this client is not wanted; empty: it is"""
    over: bool
    """the run has ended"""
    note: str
    """for whoever watches the client"""
    run: str
    """empty: there is no place yet"""
    writer: int
    incarnation: int
    acknowledged: int
    """chunks of this incarnation that lie in replay: the number of the next"""
    granted: int
    """env steps of this incarnation that may be begun"""
    version: int
    """of the newest weights"""
    plan: dict[str, Any]
    """the work, see ``client``"""


class Uplink:
    """See the module.

    Args:
        hello: what this client is: host, versions, simulators.
        say: takes a line for whoever watches.
    """

    def __init__(self, link: Link, keys: Keys, name: str, hello: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.link, self.keys, self.name, self.hello, self.say = link, keys, name, dict(hello), say
        self.boot = os.urandom(8).hex()
        self.order: Order | None = None
        self.session = ("", -1, -1)
        """run, writer, incarnation that this client works for"""
        self.version, self.params = -1, {}
        self.taken = self.lost = self.sequence = 0
        """env steps begun, simulators lost, chunks made, in this incarnation"""
        self._open: deque[list[Any]] = deque()
        """chunks without acknowledgement, oldest first: [number, bytes, where in the stream, or None]"""
        self._beat_at = self._ask_at = self._progress_at = 0.0
        self._pause = FIRST_PAUSE_S
        self._count = self._told = 0
        self._last: bytes | None = None
        """the entry of orders read last; None: what lies there is for a process before this one"""
        self._away = self._alone = False
        self._heard_at = -SILENCE_S
        self.evaluations = Evaluations(link, keys, self.boot, say)

    # ---- what the client asks -----------------------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> int:
        return len(self._open)

    def may_step(self) -> bool:
        """Whether one more env step may be begun."""
        order = self.order
        return order is not None and bool(order.run) and self.taken < order.granted and len(self._open) < order.plan["window"]

    def send(self, task: int, rows: np.ndarray, episode: list[float], discarded: list[int]) -> None:
        """Takes a chunk; it goes with the next exchange."""
        assert self.order is not None
        run, writer, incarnation = self.session
        chunk = Chunk(run, writer, incarnation, self.sequence, task, self.order.plan["layout"], len(rows), episode, discarded)
        self._open.append([self.sequence, pack_chunk(chunk, rows), None])
        self.sequence += 1
        self._progress_at = max(self._progress_at, time.monotonic()) if len(self._open) > 1 else time.monotonic()
        if not self._away:
            self._ask_at = 0.0

    def adopt(self) -> bool:
        """Whether the order is about other work than before; if so it has begun, and what was on its way is forgotten."""
        order = self.order
        found = ("", -1, -1) if order is None else (order.run, order.writer, order.incarnation)
        if found == self.session:
            return False
        self.session = found
        self.taken = self.lost = self.sequence = 0
        self.version, self.params = -1, {}
        self._open.clear()
        self._beat_at = 0.0
        return True

    # ---- exchange -----------------------------------------------------------------------------------------------------

    def exchange(self, wait_s: float = 0.0) -> float:
        """Sends and takes what there is. With ``wait_s`` there is nothing else to do until a new order comes.

        Returns seconds for which the server need not be asked again.

        Raises:
            Failed: the server or the gateway does not want this client.
        """
        now = time.monotonic()
        if now < self._ask_at:
            return self._ask_at - now
        try:
            self._exchange(now, wait_s)
            self._pause = FIRST_PAUSE_S
            if self._away:
                self._away = False
                self.say(f"{self.link.name} is back")
            self._ask_at = now + EVERY_S
        except Refused as refused:
            raise Failed(f"{self.link.name} is not as this client needs it: {refused}") from None
        except Lost as lost:
            if not self._away:
                self.say(f"{lost}; trying again")
            self._away = True
            self._ask_at, self._pause = time.monotonic() + self._pause, min(2 * self._pause, LONGEST_PAUSE_S)
        return max(0.0, self._ask_at - time.monotonic())

    def _exchange(self, now: float, wait_s: float) -> None:
        if self.link.lost or self._overdue(now):
            self._look(now)
        sending = [entry for entry in self._open if entry[2] is None]
        commands: list[tuple] = [("XADD", self.keys.chunks, "*", "f", entry[1]) for entry in sending]
        commands += self.evaluations.commands()
        if commands or now >= self._beat_at or self._spent():
            commands.append(("HSET", self.keys.beats, self.name, self._beat()))
            self._beat_at, self._told = now + BEAT_S, self.taken
        if commands:
            for entry, place in zip(sending, self.link.ask_all(commands)):
                entry[2] = place
            self.evaluations.sent()
        self._read(wait_s if not sending else 0.0, now)
        order = self.order
        if order is not None and order.run and order.version > self.version and self.session[0] == order.run:
            self._fetch()

    def _read(self, wait_s: float, now: float) -> None:
        """What the run says: to this client, and to all of an evaluation."""
        orders, called = self.keys.orders(self.name), self.keys.called
        if self._last is None:
            found = self.link.ask("XREVRANGE", orders, "+", "-", "COUNT", 1)
            self._last = found[0][0] if found else b"0"
        block = ("BLOCK", max(1, int(1000 * wait_s))) if wait_s else ()
        found = self.link.ask("XREAD", *block, "COUNT", 1, "STREAMS", orders, called, self._last, self.evaluations.last)
        for stream, entries in found or []:
            place, fields = entries[-1]
            if stream == called.encode():
                self.evaluations.called(fields[1])
                self.evaluations.last = place
            else:
                self._last = place
                self._take(fields[1])
                self._heard_at, self._alone = now, False
        if now - self._heard_at > SILENCE_S:
            self._heard_at = now
            self._ask_around()

    def _ask_around(self) -> None:
        """Says once that there is no run: this client will wait."""
        nobody = not self.link.ask("EXISTS", self.keys.owner)
        if nobody and not self._alone:
            self.say(f"no run has the channel {self.keys.channel} of {self.link.name}; waiting for one")
        self._alone = nobody

    def _spent(self) -> bool:
        """The gateway does not know yet that all it granted is used up."""
        return self.order is not None and self.order.granted <= self.taken != self._told

    def _beat(self, bye: bool = False) -> bytes:
        self._count += 1
        run, writer, incarnation = self.session
        told = {"boot": self.boot, "count": self._count, "bye": bye, "run": run, "writer": writer, "incarnation": incarnation}
        sent = self.sequence - sum(entry[2] is None for entry in self._open)
        counts = {"taken": self.taken, "lost": self.lost, "sent": sent, "protocol": PROTOCOL}
        return frame(BEAT, {**told, **counts, "hello": self.hello})

    def _overdue(self, now: float) -> bool:
        return bool(self._open) and now - self._progress_at > LOOK_S

    def _look(self, now: float) -> None:
        """Whether what was sent is still in the stream. If not, it was taken, which the gateway will say, or lost: it goes again."""
        self._progress_at = now
        if self.link.lost:
            self._last = self.evaluations.last = b"0"  # orders may have gone with it
        self.link.lost = False
        sent = [entry for entry in self._open if entry[2] is not None]
        if not sent:
            return
        there = self.link.ask_all([("XRANGE", self.keys.chunks, entry[2], entry[2]) for entry in sent])
        for entry, found in zip(sent, there):
            if not found:
                entry[2] = None

    def _take(self, data: bytes) -> None:
        """An order; one for a process before this one is passed over."""
        try:
            order = Order(**unframe(data, ORDER).header)
        except (Malformed, TypeError) as error:
            raise Failed(f"the gateway at {self.link.name} says what this client does not understand: {error}") from None
        if order.boot not in (self.boot, ""):
            if self.order is not None:
                raise Failed(f"a younger client has come by the name {self.name}; fix: --name, another one for each")
            return
        if order.refused:
            raise Failed(order.refused)
        if order.note and (self.order is None or self.order.note != order.note):
            self.say(order.note)
        self.order = order
        if (order.run, order.writer, order.incarnation) == self.session:
            while self._open and self._open[0][0] < order.acknowledged:
                self._open.popleft()
                self._progress_at = time.monotonic()

    def _fetch(self) -> None:
        """The newest weights; damaged ones, or those of another run, are as good as none."""
        data = self.link.ask("GET", self.keys.weights)
        if data is None:
            return
        try:
            header, params = unpack_arrays(data, WEIGHTS)
        except Malformed as error:
            self.say(f"weights that cannot be read: {error}")
            return
        if header.get("run") == self.session[0]:
            self.version, self.params = header["version"], params

    def leave(self) -> None:
        """Says goodbye, once what was made is sent. What the server does not take now is left."""
        sending = [("XADD", self.keys.chunks, "*", "f", entry[1]) for entry in self._open if entry[2] is None]
        try:
            self.link.ask_all([*sending, ("HSET", self.keys.beats, self.name, self._beat(bye=True))])
        except (Lost, Failed, Refused):
            self.say(f"{self.link.name} is away: goodbye was not said")

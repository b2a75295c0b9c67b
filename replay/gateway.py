"""The gateway: takes chunks of clients outside of the cluster from a Redis stream into the ring, each once, and tells clients what to do.

A chunk is acknowledged, and leaves the stream, when the ring has it, and not before: whatever dies in between, it is delivered again, by
the server or by the client, and the ring's numbers (writer, incarnation, sequence) make it count once. What may be on its way is bounded by
credits: env steps that clients may begin, as the limiter of the run admits them, and chunks that each may have unacknowledged. Nothing is
ever cut off a stream.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from core.types import Weights
from outpost import Failed
from outpost.client_uplink import Order
from outpost.keys import Keys
from outpost.link import Link, Lost, Refused
from outpost.wire import ORDER, WEIGHTS, Malformed, frame, pack_arrays
from replay.gateway_config import Config
from replay.gateway_intake import Intake, Ring, Turn, Work
from replay.gateway_sessions import Member, Sessions

TURN_S = 0.3
"""longest turn in which no grant is used up"""
BLOCK_MS = 50
LOOK_S = 0.1
"""between two looks at what clients say"""
PUBLISH_S, PUBLISHED_PER_S = 0.5, 10e6
"""between two versions of the weights, at least; bytes per second that they may come to: the server writes down each"""
LEASE_S = 60
"""after which a channel whose run has died may be taken by another one"""
MOST_LINES = 200
FAREWELL_S = 3.0
log = logging.getLogger("manyhands.gateway")


class Taken(NamedTuple):
    """What one ``collect`` brought; see ``actors.worker.Report``."""

    steps: int
    stored: int
    lost: int
    version: int
    episodes: list[tuple[int, list]]
    """task, and what ``outpost.wire.Chunk.episode`` says"""
    seconds: float
    wait_s: float
    send_s: float
    metrics: dict[str, float]


class Gateway:
    """See the module. Survives the death of the server; a gateway that was started anew goes on with clients and stream as they are."""

    def __init__(self, link: Link, config: Config, work: Work, ring: Ring) -> None:
        self.link, self.config, self.work = link, config, work
        self.keys, self.sessions = Keys(config.channel), Sessions(work.run, work.first_writer, config.clients, config.timeout_s)
        self.intake = Intake(link, self.keys, work, ring, config.clients, self)
        self.weights: Weights | None = None
        self.posted = -1
        self._turn = Turn()
        self._publish_at = self._looked_at = -1e9
        self._connected, self._why_lost = False, ""
        self._closing = threading.Event()
        self._lines = 0
        self._drained_to: dict[str, bytes] = {}
        """client process that is gone -> the last entry that may be of it"""

    def begin(self, weights: Weights) -> None:
        """Opens for clients.

        Raises:
            Failed: the server will not have it, or another run has the channel.
            Lost: it is away.
        """
        self.weights = weights
        self.link.check()
        try:
            self._connect()
        except Malformed as error:
            raise Failed(f"the policy is too large for a gateway: {error}") from None

    # ---- the turn of the loop -----------------------------------------------------------------------------------------

    def collect(self, steps: int, weights: Weights | None = None) -> Taken:
        """Takes in what is there, lets clients begin so many env steps, of which what is taken in now is a part, and takes in more until
        half of them are begun or ``TURN_S`` have passed. With 0 ``steps`` clients are only attended to, for that long."""
        if weights is not None:
            self.weights = weights
        turn, began = Turn(), time.monotonic()
        self._turn = turn
        try:
            if not self._connected:
                self._connect()
            self._publish()
            while self._take_in(0):
                pass
            self._look()
            self._tell(self.sessions.grant(steps - turn.stored))
            while time.monotonic() - began < TURN_S and (turn.steps < steps / 2 or not steps):
                self._take_in(BLOCK_MS)
                self._look()
        except Lost as lost:
            self._disconnected(lost, TURN_S - (time.monotonic() - began))
        metrics = {f"gateway/{name}": float(count) for name, count in self.intake.counts.items()}
        metrics |= {"gateway/clients": float(len(self.sessions.at_work())), "gateway/waiting": float(len(self.sessions.waiting()))}
        spent = time.monotonic() - began
        return Taken(turn.steps, turn.stored, turn.lost, self.intake.version, turn.episodes, spent, turn.wait_s, turn.send_s, metrics)

    def _connect(self) -> None:
        """Also after the server was away, and may have forgotten everything."""
        free = self.link.ask("SET", self.keys.owner, self.work.owner, "NX", "EX", LEASE_S)
        owner = b"" if free else self.link.ask("GET", self.keys.owner) or b""
        if owner not in (b"", self.work.owner.encode()):
            said = f"run {owner.decode(errors='replace')} has the channel {self.config.channel} of {self.link.name}"
            raise Failed(f"{said}; fix: --gateway.channel NAME")
        self.intake.open()
        self._why_lost = ""
        self._connected, self.posted, self._publish_at, self._looked_at = True, -1, -1e9, -1e9
        self._publish()
        self.intake.reclaim(self._turn)
        self._tell(self.sessions.at_work())

    def _disconnected(self, lost: Lost, rest_s: float) -> None:
        self._connected = False
        if self._why_lost != str(lost):
            self._why_lost = str(lost)
            self.say(self._why_lost)
        if rest_s > 0:
            self._closing.wait(rest_s)  # the server is away: the turn is as long as any other, and the loop does not spin

    def _take_in(self, block_ms: int) -> bool:
        """Reads once. Returns whether there may be more at once."""
        last, more = self.intake.read(block_ms, self._turn)
        if last is None:
            self._connect()  # the server has lost its memory
            return True
        self._release(last if more else b"")
        return more

    # ---- clients ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """What clients say of themselves, not too often; who comes gets a place, who goes gives it back."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        flat, _, known = self.link.ask_all(
            [
                ("HGETALL", self.keys.beats),
                ("SET", self.keys.owner, self.work.owner, "EX", LEASE_S),
                ("EXISTS", self.keys.weights),
            ]
        )
        if not known:
            self.posted = -1
        beats = {name.decode(errors="replace"): data for name, data in zip(flat[::2], flat[1::2], strict=True)}
        change = self.sessions.look(beats, self.intake.incarnation)
        self._turn.steps += change.steps
        self._turn.lost += change.lost
        for name, reason in change.odd.items():
            self._turn_away(name, reason)
        if change.gone:
            self._farewell(change.gone, beats)
        self._admit()

    def _turn_away(self, name: str, reason: str) -> None:
        """A client whose protocol is another one: it will not understand this word, and says so."""
        self.intake.counts["foreign"] += 1
        self.say(f"client {name} refused: {reason}")
        self.link.ask_all([("HDEL", self.keys.beats, name), self._word(name, self._blank("", refused=reason))])

    def _farewell(self, gone: list[Member], beats: Mapping[str, bytes]) -> None:
        """Notes up to which entry there may be something of a client that is gone, and forgets what it said."""
        last = self.link.ask("XREVRANGE", self.keys.chunks, "+", "-", "COUNT", 1)
        for member in gone:
            self._drained_to[member.boot] = last[0][0] if last else b""
            self.say(f"client {member.name} is gone")
            if member.name in beats and member.name not in self.sessions.members:
                self.link.ask_all([("HDEL", self.keys.beats, member.name), ("EXPIRE", self.keys.orders(member.name), LEASE_S)])
        self._release(b"" if not last else None)

    def _release(self, passed: bytes | None) -> None:
        """Gives the places of those who left back, whose last entries are ``passed``; empty: all there were, None: nobody knows."""
        for member in [m for m in self.sessions.leaving if passed is not None]:
            if passed and _entry(passed) < _entry(self._drained_to.get(member.boot, b"")):
                continue
            self._drained_to.pop(member.boot, None)
            self.sessions.leaving.remove(member)
            self.intake.renew(member.place)

    def _admit(self) -> None:
        """Places for those who wait, and a word for those who get none."""
        for member in self.sessions.waiting():
            lacking = [name for name in self.work.simulators if name not in member.beat["hello"].get("makes", [])]
            if lacking:
                member.refused = f"this run needs simulators of {', '.join(lacking)}, which this client cannot make"
            elif free := self.sessions.free():
                member.place = min(free, key=lambda place: self.intake.incarnation[place])
                member.incarnation = self.intake.admit(member.place)
                member.taken = member.lost = member.granted = 0
                self.say(f"client {member.name} takes part, writer {self.work.first_writer + member.place}: {member.beat['hello']}")
            elif member.told:
                continue
            member.told = True
            self._tell([member])

    def refuse(self, place: int, reason: str) -> None:
        """Whoever has this place is not wanted any more."""
        for member in self.sessions.at_work():
            if member.place == place:
                member.refused = reason
                self.link.ask(*self._word(member.name, self._blank(member.boot, refused=reason)))

    # ---- words to clients ---------------------------------------------------------------------------------------------

    def _tell(self, members: list[Member]) -> None:
        if members:
            self.link.ask_all([self._order(member) for member in members])

    def acknowledge(self, places: set[int]) -> list[tuple]:
        """The words by which those who have these places hear how far they are."""
        return [self._order(member) for member in self.sessions.at_work() if member.place in places]

    def _order(self, member: Member) -> tuple:
        """Where a client stands."""
        if member.refused:
            return self._word(member.name, self._blank(member.boot, refused=member.refused))
        place, work = member.place, self.work
        if place < 0:
            note = f"all {self.config.clients} places for clients are taken; waiting for one"
            return self._word(member.name, self._blank(member.boot)._replace(note=note))
        told = self._blank(member.boot)._replace(run=work.run, writer=work.first_writer + place, incarnation=member.incarnation)
        plan = work.plan(place, member.incarnation, member.simulators) | {"window": self.config.window, "layout": work.layout}
        order = told._replace(acknowledged=self.intake.next[place], granted=member.granted, version=max(self.posted, 0), plan=plan)
        return self._word(member.name, order)

    def _blank(self, boot: str, refused: str = "", over: bool = False) -> Order:
        return Order(boot, refused, over, "", "", -1, -1, 0, 0, 0, {})

    def _word(self, name: str, order: Order) -> tuple:
        return ("XADD", self.keys.orders(name), "MAXLEN", 1, "*", "f", frame(ORDER, order._asdict()))

    def _publish(self) -> None:
        """The newest weights into the mailbox, where the last ones have been there for a while."""
        weights, now = self.weights, time.monotonic()
        if weights is None or weights.version == self.posted or now < self._publish_at:
            return
        arrays = {name: np.asarray(value) for name, value in weights.params.items()}
        data = pack_arrays(WEIGHTS, {"run": self.work.run, "version": weights.version}, arrays, compress=True)
        self.link.ask("SET", self.keys.weights, data)
        self.posted, self._publish_at = weights.version, now + max(PUBLISH_S, len(data) / PUBLISHED_PER_S)
        self._tell(self.sessions.at_work())

    def say(self, line: str) -> None:
        """A line of the log; a flood is cut off."""
        self._lines += 1
        if self._lines <= MOST_LINES:
            log.warning("%s", line)

    def close(self) -> None:
        """Tells clients that the run is over, and gives them a moment to leave."""
        self._closing.set()
        try:
            members = list(self.sessions.members.values())
            self.link.ask_all([*[self._word(m.name, self._blank(m.boot, over=True)) for m in members], ("DEL", self.keys.owner)])
            until = time.monotonic() + FAREWELL_S
            while members and time.monotonic() < until:
                flat = self.link.ask("HGETALL", self.keys.beats)
                beats = dict(zip(flat[::2], flat[1::2], strict=True))
                self.sessions.look({name.decode(errors="replace"): data for name, data in beats.items()}, {})
                members = list(self.sessions.members.values())
                self.link.ask("XREAD", "BLOCK", 20, "STREAMS", self.keys.refused, "$")  # a pause that ends with the connection
        except (Lost, Failed, Refused):
            self.say("clients could not be told that the run is over")
        self.link.close()


def _entry(place: bytes) -> tuple[int, ...]:
    """The two numbers of a stream's entry, which grow."""
    return tuple(map(int, place.split(b"-"))) if place else (0, 0)

"""Which clients take part in a run: who holds which place, who is silent, how many env steps each may begin.

A place is a writer of the ring. Who comes gets a free one, with an incarnation that was not there before; who goes, or falls silent, or is
replaced by a younger process of its name, gives it back: once all that it sent has been taken in, and with its open episodes withdrawn.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from outpost import PROTOCOL
from outpost.wire import BEAT, Malformed, unframe

_TYPES = {"boot": str, "count": int, "bye": bool, "run": str, "writer": int, "incarnation": int, "taken": int, "lost": int, "hello": dict}
MOST_SIMULATORS = 256


@dataclass
class Member:
    """A client process, as it says of itself."""

    name: str
    boot: str
    beat: dict[str, Any]
    heard: float
    """monotonic: when it last said something new"""
    place: int = -1
    """0 <= place < clients; -1: it waits for one"""
    incarnation: int = -1
    taken: int = 0
    """env steps that it has begun, as far as was reported"""
    lost: int = 0
    """simulators, likewise"""
    granted: int = 0
    refused: str = ""
    told: bool = False
    """it has had a word since it came"""

    @property
    def simulators(self) -> int:
        return max(1, min(MOST_SIMULATORS, int(self.beat["hello"].get("simulators", 1))))


@dataclass
class Change:
    """What a look at the clients found."""

    arrived: list[Member] = field(default_factory=list)
    """that want a place, or an answer why they get none"""
    gone: list[Member] = field(default_factory=list)
    steps: int = 0
    """env steps begun since the last look"""
    lost: int = 0
    odd: dict[str, str] = field(default_factory=dict)
    """clients whose beats cannot be read -> why"""


class Sessions:
    """See the module.

    Args:
        run: which run this is, anew with each start of its driver.
        first_writer: of the ring, that has the first place.
        clock: monotonic seconds.
    """

    def __init__(self, run: str, first_writer: int, clients: int, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self.first_writer, self.clients, self.timeout_s, self.clock = run, first_writer, clients, timeout_s, clock
        self.members: dict[str, Member] = {}
        self.leaving: list[Member] = []
        """gone, with a place that is not free yet"""
        self.retired: set[str] = set()
        """processes that a younger one of their name has replaced"""

    def look(self, beats: Mapping[str, bytes], incarnations: Mapping[int, int]) -> Change:
        """Takes in what all clients last said.

        Args:
            incarnations: of each place, the newest; who claims it holds a place, because this is a gateway that was started anew.
        """
        change, now = Change(), self.clock()
        for name, data in beats.items():
            try:
                beat = _read(data)
            except Malformed as error:
                change.odd[name] = str(error)
                continue
            self._heard(name, beat, now, incarnations, change)
        for member in list(self.members.values()):
            if now - member.heard > self.timeout_s or member.beat["bye"]:
                self._leave(member, change)
        return change

    def _heard(self, name: str, beat: dict[str, Any], now: float, incarnations: Mapping[int, int], change: Change) -> None:
        member = self.members.get(name)
        if member is None or member.boot != beat["boot"]:
            if beat["boot"] in self.retired or beat["bye"]:
                return
            if member is not None:
                self.retired.add(member.boot)
                self._leave(member, change)
            member = self.members[name] = Member(name, beat["boot"], beat, now)
            self._recall(member, incarnations)
            change.arrived.append(member)
        elif beat["count"] != member.beat["count"]:
            member.heard, member.beat = now, beat
        self._count(member, change)

    def _recall(self, member: Member, incarnations: Mapping[int, int]) -> None:
        """The place that a client holds already."""
        beat, place = member.beat, member.beat["writer"] - self.first_writer
        if beat["run"] == self.run and incarnations.get(place) == beat["incarnation"] and place in self.free():
            member.place, member.incarnation = place, beat["incarnation"]
            member.taken, member.lost = beat["taken"], beat["lost"]

    def _count(self, member: Member, change: Change) -> None:
        beat = member.beat
        if member.place < 0 or (beat["run"], beat["incarnation"]) != (self.run, member.incarnation):
            return
        change.steps += max(0, beat["taken"] - member.taken)
        change.lost += max(0, beat["lost"] - member.lost)
        member.taken, member.lost = max(member.taken, beat["taken"]), max(member.lost, beat["lost"])

    def _leave(self, member: Member, change: Change) -> None:
        self.members.pop(member.name, None)
        change.gone.append(member)
        if member.place >= 0:
            self.leaving.append(member)

    def _holding(self) -> list[Member]:
        return [member for member in (*self.members.values(), *self.leaving) if member.place >= 0]

    def free(self) -> list[int]:
        """Places that nobody has."""
        held = {member.place for member in self._holding()}
        return [place for place in range(self.clients) if place not in held]

    def waiting(self) -> list[Member]:
        """Clients without a place that may get one."""
        return [member for member in self.members.values() if member.place < 0 and not member.refused]

    def at_work(self) -> list[Member]:
        """Clients with a place."""
        return [member for member in self.members.values() if member.place >= 0]

    def grant(self, steps: int) -> list[Member]:
        """Lets clients begin so many env steps more than they have, by their numbers of simulators. Returns whose grant has changed."""
        working = self.at_work()
        shares, changed = sum(member.simulators for member in working), []
        for member in working:
            share = max(1, steps * member.simulators // shares) if steps > 0 else 0
            granted = max(member.granted, member.taken + share)
            if granted != member.granted:
                member.granted = granted
                changed.append(member)
        return changed


def _read(data: bytes) -> dict[str, Any]:
    """What a client says of itself. Raises Malformed for anything else."""
    beat = unframe(data, BEAT).header
    for name, kind in _TYPES.items():
        if type(beat.get(name)) is not kind:
            raise Malformed(f"a beat without {name}")
    if type(beat["hello"].get("simulators", 1)) is not int or beat["hello"].get("protocol") != PROTOCOL:
        raise Malformed("a beat of another protocol")
    return beat

"""From the stream into the ring: reads what clients sent, checks it, stores it, and only then removes it from the stream."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from core.contracts import ChunkSink
from core.errors import ManyhandsError
from core.types import Chunk
from outpost.keys import Keys
from outpost.link import Link, Refused
from outpost.wire import Chunk as Sent
from outpost.wire import Malformed, unpack_chunk
from replay.check import ChunkCheck, ChunkError

GROUP, NAME = "gateway", "gateway"
READ = 16
"""entries at once"""
DEAD_LETTERS, DEAD_BYTES = 100, 4096
COUNTED = ("malformed", "foreign", "invalid", "replayed", "gaps", "stale")
"""what may come beside chunks to store: damaged, of another protocol, impossible, sent again, after a lost one, of an earlier run"""


class Ring(ChunkSink, Protocol):
    """Where chunks go, and what a writer of the ring must be asked and told beside."""

    def take_over(self, writer: int, incarnation: int) -> None:
        """Earlier incarnations of this writer are shut out, its open episodes withdrawn."""
        ...

    def progress(self) -> list[tuple[int, int]]:
        """Of each writer: newest incarnation, number of its next chunk."""
        ...


class Clients(Protocol):
    """Who has to hear of what was read."""

    def acknowledge(self, places: set[int]) -> list[tuple]:
        """Commands that tell the clients at these places how far they are."""
        ...

    def refuse(self, place: int, reason: str) -> None: ...

    def say(self, line: str) -> None: ...


class Work(NamedTuple):
    """What a run has its clients do."""

    run: str
    """anew with each start of the run's driver: what was sent for an earlier one is passed over"""
    owner: str
    """id of the run"""
    first_writer: int
    """clients are the writers of the ring from here on"""
    dtype: np.dtype
    layout: int
    """fingerprint of it"""
    check: ChunkCheck
    simulators: tuple[str, ...]
    """that a client must be able to make"""
    plan: Callable[[int, int, int], dict[str, Any]]
    """(place, incarnation, simulators) -> what the client is told, see ``outpost.client``"""


class Turn:
    """What one turn has brought so far."""

    def __init__(self) -> None:
        self.steps = self.stored = self.lost = 0
        self.episodes: list[tuple[int, list]] = []
        self.wait_s = self.send_s = 0.0


class Intake:
    """See the module.

    Args:
        places: how many clients there may be.
    """

    def __init__(self, link: Link, keys: Keys, work: Work, ring: Ring, places: int, clients: Clients) -> None:
        self.link, self.keys, self.work, self.ring, self.clients = link, keys, work, ring, clients
        progress = ring.progress()[work.first_writer :][:places]
        self.incarnation = {place: incarnation for place, (incarnation, _) in enumerate(progress)}
        self.next = {place: sequence for place, (_, sequence) in enumerate(progress)}
        self.withdrawn: dict[int, set[int]] = {place: set() for place in self.next}
        self.fresh: set[int] = set()
        """places whose incarnation nobody has had yet"""
        self.version = 0
        """of the weights that acted last"""
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))

    def open(self) -> None:
        """Makes the stream, where it is not there."""
        try:
            self.link.ask("XGROUP", "CREATE", self.keys.chunks, GROUP, "0", "MKSTREAM")
        except Refused as refused:
            if not str(refused).startswith("BUSYGROUP"):
                raise ManyhandsError(f"{self.link.name}: {refused}") from None

    def reclaim(self, turn: Turn) -> None:
        """What was delivered to a gateway that died, or to this one when the answer was lost."""
        cursor: Any = b"0-0"
        while True:
            cursor, entries, *_ = self.link.ask("XAUTOCLAIM", self.keys.chunks, GROUP, NAME, 0, cursor, "COUNT", READ)
            self._store([entry for entry in entries if entry is not None and entry[1] is not None], turn)
            if cursor in (b"0-0", 0):
                return

    def read(self, block_ms: int, turn: Turn) -> tuple[bytes | None, bool]:
        """Stores what is there, or comes within ``block_ms``. Returns the last entry read, None where the server knows nothing of the
        stream any more, and whether there may be more at once."""
        asked = time.monotonic()
        block = ("BLOCK", block_ms) if block_ms else ()
        try:
            found = self.link.ask("XREADGROUP", "GROUP", GROUP, NAME, "COUNT", READ, *block, "STREAMS", self.keys.chunks, ">")
        except Refused as refused:
            if not str(refused).startswith("NOGROUP"):
                raise ManyhandsError(f"{self.link.name}: {refused}") from None
            return None, True
        turn.wait_s += time.monotonic() - asked
        entries = found[0][1] if found else []
        self._store(entries, turn)
        return (entries[-1][0] if entries else b""), len(entries) == READ

    def _store(self, entries: list[Any], turn: Turn) -> None:
        """Into the ring, in order; only then they leave the stream."""
        if not entries:
            return
        moved: set[int] = set()
        for entry, fields in entries:
            self._place(entry, fields[1] if len(fields) == 2 else b"", turn, moved)
        began = time.monotonic()
        self.ring.flush()
        turn.send_s += time.monotonic() - began
        places, words = [entry for entry, _ in entries], self.clients.acknowledge(moved)
        # In this order: a client that misses its chunk in the stream must find it acknowledged.
        self.link.ask_all([*words, ("XACK", self.keys.chunks, GROUP, *places), ("XDEL", self.keys.chunks, *places)])

    def _place(self, entry: bytes, data: bytes, turn: Turn, moved: set[int]) -> None:
        """One entry: stored, or passed over, or put aside."""
        try:
            sent, rows = unpack_chunk(data, self.work.dtype, self.work.layout)
        except Malformed as error:
            self._put_aside("foreign" if error.foreign else "malformed", entry, data, str(error))
            return
        place = sent.writer - self.work.first_writer
        if sent.run != self.work.run or sent.incarnation != self.incarnation.get(place):
            self.counts["stale"] += 1
            return
        moved.add(place)
        if sent.sequence != self.next[place]:
            self.counts["replayed" if sent.sequence < self.next[place] else "gaps"] += 1
            return
        chunk = Chunk(sent.writer, sent.incarnation, sent.sequence, sent.task, rows)
        try:
            self.work.check(chunk)
        except ChunkError as error:
            self._put_aside("invalid", entry, data, str(error))
            self.clients.refuse(place, f"the gateway refuses what this client sends: {error}")
            return
        self._insert(chunk, sent, place, turn)

    def _insert(self, chunk: Chunk, sent: Sent, place: int, turn: Turn) -> None:
        began = time.monotonic()
        self.ring.send(chunk)
        for episode in sorted(set(sent.discarded) - self.withdrawn[place]):
            self.ring.discard_episode(sent.writer, episode)
            self.withdrawn[place].add(episode)
        turn.send_s += time.monotonic() - began
        turn.stored += chunk.transitions
        self.next[place] += 1
        self.version = max(self.version, int(chunk.rows["version"][-1]))
        if sent.episode:
            turn.episodes.append((sent.task, sent.episode))

    def _put_aside(self, kind: str, entry: bytes, data: bytes, reason: str) -> None:
        """What cannot be stored: counted, said, and its beginning kept for whoever looks into it. The stream goes on."""
        self.counts[kind] += 1
        self.clients.say(f"entry {entry.decode(errors='replace')} of {self.link.name} refused: {reason}")
        self.link.ask("XADD", self.keys.refused, "MAXLEN", DEAD_LETTERS, "*", "why", reason, "data", data[:DEAD_BYTES])

    def admit(self, place: int) -> int:
        """The incarnation of who gets this place."""
        if place not in self.fresh:
            self.renew(place)
        self.fresh.discard(place)
        return self.incarnation[place]

    def renew(self, place: int) -> None:
        """Whoever had this place is shut out, its open episodes are withdrawn; the next one begins anew."""
        self.incarnation[place] += 1
        self.next[place], self.withdrawn[place] = 0, set()
        self.fresh.add(place)
        self.ring.take_over(self.work.first_writer + place, self.incarnation[place])

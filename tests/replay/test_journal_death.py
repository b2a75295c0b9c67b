"""Deaths between the journal and the ring, at every line and at random moments: 0 acknowledged lost, 0 duplicates."""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.journal import FOLDER
from tests.replay.build import DTYPE, FRAMED, Feeder, check_whole
from tests.replay.dying import kill_at
from tests.replay.journaling import Machine, same_ring
from tests.replay.test_death import chunk_number

FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
WATCHED = ("ingest.py", "journaled.py", "journal.py", "journal_file.py", "ring.py", "control.py")


def prepared(machine):
    """Some chunks before and after a checkpoint, and one to come, which wraps around and overwrites."""
    feeder = Feeder(machine.ingest)
    for n in (3, 4, 5):
        feeder.send(0, n)
    machine.save()
    feeder.send(1, 2)
    return feeder.make(0, 20)


ACTIONS = {
    "insert": lambda machine, chunk: machine.ingest.insert(chunk),
    "discard_episode": lambda machine, _: machine.ingest.discard_episode(0, 0),
    "discard_open": lambda machine, _: machine.ingest.discard_open(),
    "take_over": lambda machine, _: machine.ingest.take_over(0, 1),
    "a new file": lambda machine, _: machine.ingest.snapshot(),
}


@pytest.mark.parametrize("who", ["ingest", "driver"])
@pytest.mark.parametrize("name", ACTIONS)
def test_killed_at_every_line(shm, name, who):
    """Then it is tried again, as Ray does: it took effect once, for who goes on with the ring and for who begins with the journal."""
    action, twin = ACTIONS[name], Machine(shm, shm / "twin", capacity=24)
    action(twin, prepared(twin))
    line, running = 0, True
    while running:
        machine = Machine(shm, shm / str(line), capacity=24)
        chunk = prepared(machine)
        running = kill_at(line, lambda machine=machine, chunk=chunk: action(machine, chunk), lines_of=WATCHED)
        machine.lose_ingest() if who == "ingest" else machine.lose_driver()
        action(machine, chunk)
        same_ring(machine.ingest, twin.ingest)
        machine.lose_driver()
        same_ring(machine.ingest, twin.ingest)
        machine.close()
        line += 1
    assert line > 80
    twin.close()


def feed_for_ever(machine, pipe):
    """Another ingest process: goes on with the ring, and tells each chunk that was acknowledged."""
    machine.ingest = machine.begin()
    i = int(machine.ingest.progress()[0][1])
    made = [chunk_number(i + j) for j in range(400)]
    pipe.send(-1)
    for chunk in made:
        assert machine.ingest.insert(chunk) == chunk.sequence
        pipe.send(chunk.sequence)
    os._exit(1)


@pytest.mark.parametrize("level", ["process", "host"])
def test_kill_9_of_the_ingest_at_random_moments(shm, level):
    """Twenty processes in a row; after each, a run that begins with the journal holds all that was acknowledged, once."""
    machine = Machine(shm, shm / "run", level, capacity=128, window=3)
    machine.save()
    machine.ingest.close()
    chance, acknowledged = random.Random(0), -1
    for _ in range(20):
        here, there = FORK.Pipe(duplex=False)
        writer = FORK.Process(target=feed_for_ever, args=(machine, there))
        writer.start()
        there.close()
        assert here.recv() == -1
        time.sleep(chance.uniform(0, 0.01))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        try:
            while True:
                acknowledged = here.recv()
        except EOFError:
            pass
        twin = Machine(shm, shm / "run", level, capacity=128, window=3)
        twin.manifest = machine.manifest
        copied(twin, shm / "run")
        sequence = int(twin.ingest.progress()[0][1])
        assert sequence > acknowledged
        assert twin.ingest.ring.state().rows.tolist() == [int(sum(2 + np.arange(max(0, (sequence - k + 1) // 2)) % 9)) for k in (0, 1)], (
            "one of each"
        )
        check_whole(twin.ingest.ring)
        twin.close()
        machine.ingest = machine.begin()
        if sequence > chance.randrange(40):
            assert machine.ingest.progress()[0][1] in (sequence, sequence - 1)
            machine.save()
        machine.ingest.close()
    assert acknowledged > 100
    machine.ingest = machine.begin()
    machine.close()


def copied(twin, folder):
    """A resumed run in a copy of the folder: reading the original may shorten its torn tail."""
    copy = folder.parent / f"copy of {twin.name}"
    (copy / FOLDER).mkdir(parents=True)
    (copy / "segments").symlink_to(folder / "segments")
    for path in (folder / FOLDER).glob("*.journal"):
        (copy / FOLDER / path.name).write_bytes(path.read_bytes())
    twin.wanted = twin.wanted._replace(run=copy)
    twin.ingest.close(unlink=True)
    twin.ingest = twin.begin()
    twin.ingest.load(copy, twin.manifest)


SENT = st.tuples(
    st.just("send"), st.integers(0, 2), st.integers(0, 1), st.integers(1, 12), st.sampled_from(["", "truncated", "terminated"])
)
STEPS = st.one_of(
    SENT,
    SENT,
    st.tuples(st.just("again"), st.integers(0, 2)),
    st.tuples(st.just("late"), st.integers(0, 2)),
    st.tuples(st.just("discard"), st.integers(0, 2), st.integers(0, 3)),
    st.tuples(st.just("take over"), st.integers(0, 2)),
    st.tuples(st.just("save"), st.booleans()),
    st.tuples(st.just("lose"), st.sampled_from(["ingest", "driver", "driver", "torn"])),
)


class Model:
    """A machine whose processes die, and one to which the same is told and nothing ever happens."""

    def __init__(self, folder, dtype):
        self.machine = Machine(folder, folder / "run", dtype=dtype, capacity=60)
        self.twin = Machine(folder, folder / "twin", "off", dtype=dtype, capacity=60)
        self.machine.save()
        self.feeders = [Feeder(self.twin.ingest, writer) for writer in range(3)]
        self.last = [None] * 3
        self.acknowledged = [0, 0]

    def both(self, call):
        one, two = (call(machine.ingest) for machine in (self.machine, self.twin))
        assert one == two
        return one

    def send(self, writer, task, n, end):
        chunk = self.last[writer] = self.feeders[writer].make(task, n, end)
        assert self.both(lambda ingest: ingest.insert(chunk)) == chunk.sequence
        self.acknowledged[task] += n

    def again(self, writer):
        if (chunk := self.last[writer]) is not None and chunk.incarnation == self.feeders[writer].incarnation:
            self.both(lambda ingest: ingest.insert(chunk))

    def late(self, writer):
        chunk = self.feeders[writer].make(0, 2)
        self.feeders[writer].sequence -= 1
        self.feeders[writer].t -= 2
        gap = chunk._replace(sequence=chunk.sequence + 1)
        assert self.both(lambda ingest: ingest.insert(gap)) == chunk.sequence - 1

    def discard(self, writer, episode):
        self.both(lambda ingest: ingest.discard_episode(writer, episode))

    def take_over(self, writer):
        feeder = self.feeders[writer]
        feeder.incarnation, feeder.sequence, feeder.episode, feeder.t = feeder.incarnation + 1, 0, 100 * (feeder.incarnation + 1), 0
        self.both(lambda ingest: ingest.take_over(writer, feeder.incarnation))

    def save(self, complete):
        self.machine.save(complete)

    def lose(self, what):
        if what == "torn":
            self.machine.ingest.close()
            with self.machine.files[-1].open("ab") as file:
                file.write(b"MHJR half of a record")
        if what == "ingest":
            self.machine.lose_ingest()
        else:
            self.machine.lose_driver()
        self.check()

    def check(self):
        assert self.twin.ingest.counts()["transitions"] == self.acknowledged
        assert self.machine.ingest.counts() == self.twin.ingest.counts()
        same_ring(self.machine.ingest, self.twin.ingest)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=30), dtype=st.sampled_from([DTYPE, FRAMED]))
def test_any_mixture_of_inserts_saves_and_deaths(steps, dtype):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        model = Model(Path(folder), dtype)
        for step in [*steps, ("lose", "driver"), ("lose", "ingest")]:
            getattr(model, step[0].replace(" ", "_"))(*step[1:])
        model.machine.close()
        model.twin.close()

"""Rings in a temporary folder of shared memory, and runs with a journal."""

import tempfile
from pathlib import Path

import pytest

from replay.ring import Ring
from tests.replay.build import DTYPE, Feeder
from tests.replay.journaling import Machine


@pytest.fixture
def shm():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def make_ring(shm):
    made = []

    def make(tasks=2, capacity=32, writers=3, window=2, run_id="run", dtype=DTYPE):
        made.append(Ring.create(run_id, dtype, tasks=tasks, capacity=capacity, writers=writers, window=window, directory=shm))
        return made[-1]

    yield make
    for ring in made:
        ring.close()


@pytest.fixture
def make_machine(shm):
    made = []

    def make(level="process", folder=None, **sizes):
        made.append(Machine(shm, folder or shm / f"run{len(made)}", level, **sizes))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def told(make_machine):
    """A machine with a checkpoint of one chunk, three more chunks and a withdrawn episode behind it."""
    machine = make_machine()
    feeder = Feeder(machine.ingest)
    feeder.send(0, 5, end="truncated")
    machine.save()
    for n in (4, 3):
        feeder.send(1, n)
    machine.ingest.discard_episode(0, 1)
    feeder.send(0, 6)
    return machine

"""Rings in a temporary folder of shared memory."""

import tempfile
from pathlib import Path

import pytest

from replay.ring import Ring
from tests.replay.build import DTYPE


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

"""A ring on disk: the same draws as one in memory, bit by bit, from fewer bytes of memory."""

import numpy as np
import pytest
import torch

from core.errors import ConfigError
from core.types import Stream
from manyhands.config import ReplayConfig
from replay import memory, reading
from replay.demos import demo_ring
from replay.ingest import Ingest
from replay.memory import check_fits
from replay.ring import Ring
from replay.sampler import Sampler
from tests.replay.build import DTYPE, FRAMED, Feeder, check_whole, content
from tests.replay.test_demos import chains
from tests.replay.vision import ROWS, Visionary


def same_bits(one, two):
    return torch.equal(one.buffer.view(torch.int32), two.buffer.view(torch.int32))


@pytest.fixture
def make_pair(make_ring, tmp_path):
    """The same ring in memory and on disk."""
    made = []

    def make(**sizes):
        sizes = {"tasks": 2, "capacity": 32, "writers": 3, "window": 3, "dtype": DTYPE, **sizes}
        made.append(Ring.create("run", sizes.pop("dtype"), **sizes, directory=tmp_path, spilled=True))
        return make_ring(**sizes, dtype=made[-1].layout.dtype), made[-1]

    yield make
    for ring in made:
        ring.close()


@pytest.mark.parametrize("dtype", [DTYPE, FRAMED])
@pytest.mark.parametrize("plan", [Stream(8), Stream(8, 2), Stream(8, priority=0.7, weight=0.5), Stream(8, context=4, tasks=1)])
def test_draws_are_those_of_a_ring_in_memory(make_pair, dtype, plan):
    rings = make_pair(dtype=dtype, window=4)
    for ring in rings:
        feeders = [Feeder(ring, writer=k) for k in (0, 1)]
        for i in range(15):
            for k, feeder in enumerate(feeders):
                feeder.send(k, 4, end="terminated" if i % 3 == 2 else "")
        ring.discard_episode(0, 4)
        check_whole(ring)
    one, two = (Sampler(ring, [1, 0], plan, seed=0) for ring in rings)
    for _ in range(6):
        one.sample()
        two.sample()
        assert same_bits(one, two) and np.array_equal(one.drawn(), two.drawn())
        for sampler in (one, two):
            sampler.prioritise(np.abs(sampler.columns("reward")) + 0.1)


def test_demonstrations_beside_it(make_pair, shm):
    rings = make_pair(dtype=ROWS, window=2)
    demos = demo_ring("run", ROWS, [chains(0, (3, 4)), []], window=2, directory=shm)
    for ring in rings:
        actor = Visionary(ring)
        for i in range(6):
            actor.send(i % 2, 4)
    one, two = (Sampler(ring, [0, 1], Stream(8, demos=0.4), seed=0, demos=demos) for ring in rings)
    for _ in range(3):
        one.sample()
        two.sample()
        assert same_bits(one, two)
    demos.close()


@pytest.mark.parametrize("plan", [Stream(64), Stream(64, priority=0.7)])
def test_a_row_overwritten_while_it_is_read_is_drawn_again(tmp_path, monkeypatch, plan):
    ring = Ring.create("run", DTYPE, tasks=1, capacity=40, writers=1, window=2, directory=tmp_path, spilled=True)
    feeder, read = Feeder(ring), reading.DiskReader.read
    for _ in range(9):
        feeder.send(0, 4)
    sampler = Sampler(ring, [0], plan, seed=0)

    def slow_read(self, first, places):
        if len(places) == 64:
            feeder.send(0, 9)
        read(self, first, places)

    monkeypatch.setattr(reading.DiskReader, "read", slow_read)
    for _ in range(10):
        batch, drawn = sampler.draw(), sampler.drawn()[0]
        assert drawn.min() >= ring.low(0)
        assert (batch.obs[0].numpy() == content(0, drawn)[:, None]).all()
    ring.close()


def test_a_reader_attaches_and_outlives_the_ring(tmp_path):
    writer = Ring.create("run", DTYPE, tasks=1, capacity=40, writers=1, window=2, directory=tmp_path, spilled=True)
    Feeder(writer).send(0, 9)
    attached = Ring.attach(writer.path)
    assert attached.layout.spilled
    sampler = Sampler(attached, [0], Stream(8), seed=0)
    attached.unlink()
    batch = sampler.draw()
    assert (batch.obs[0].numpy() == content(0, sampler.drawn()[0])[:, None]).all()
    attached.close()
    writer.close()


def test_saved_and_restored(tmp_path):
    sizes = {"tasks": 1, "capacity": 40, "writers": 1, "window": 2, "spilled": True}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = Ingest("run", DTYPE, **sizes, directory=tmp_path / "first")
    feeder = Feeder(first.ring)
    for _ in range(9):
        feeder.send(0, 5)
    manifest = first.save(tmp_path)
    second = Ingest("run", DTYPE, **sizes, directory=tmp_path / "second")
    second.load(tmp_path, manifest)
    check_whole(second.ring)
    assert np.array_equal(second.ring.bytes[0, : second.ring.layout.capacity], first.ring.bytes[0, : first.ring.layout.capacity])
    first.close()
    second.close()


def test_only_the_disk_must_have_room(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**6)
    with pytest.raises(ConfigError, match=r"1 MB of memory left; fix: .*--replay.spill FOLDER"):
        check_fits(2 * 10**6, tmp_path)
    check_fits(2 * 10**6, tmp_path, spilled=True)
    with pytest.raises(ConfigError, match="or a larger disk"):
        check_fits(10**17, tmp_path, spilled=True)
    with pytest.raises(ConfigError, match="must begin with /"):
        ReplayConfig(spill="here")
    assert ReplayConfig(spill="/data").folder.as_posix() == "/data"

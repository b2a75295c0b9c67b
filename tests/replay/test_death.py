"""What the death of the writer leaves: either the old or the new state, at any instruction, and no reader ever sees half a row."""

import multiprocessing
import os
import random
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest

from core.rows import STEP, repeated
from core.types import Chunk, Stream
from replay.ring import Ring
from replay.sampler import Sampler
from tests.replay.build import DTYPE, FRAMED, Feeder, check_whole, content, rows, seen, stored
from tests.replay.dying import kill_at

FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def reattach(ring):
    ring.close()
    return Ring.attach(ring.path, readonly=False)


@pytest.mark.parametrize(
    ("action", "dtype"),
    [("insert", DTYPE), ("insert", FRAMED), ("discard_episode", DTYPE), ("discard_open", DTYPE)],
    ids=["insert", "insert framed", "discard_episode", "discard_open"],
)
def test_killed_at_every_instruction(make_ring, action, dtype):
    """A chunk that wraps around, and discards, interrupted everywhere; then the sender tries again."""
    made = make_ring(tasks=2, capacity=16, window=4, dtype=dtype)
    instruction, running = 0, True
    ring = reattach(made)
    while running:
        ring.clear()
        feeder = Feeder(ring)
        for i in range(4):
            feeder.send(0, 2 + i % 2, end="truncated" if i == 1 else "")
            feeder.send(1, 2)
        chunk, before = feeder.make(0, 6), ring.state()
        call = {
            "insert": lambda ring=ring, chunk=chunk: ring.insert(chunk),
            "discard_episode": lambda ring=ring: ring.discard_episode(0, 1),
            "discard_open": lambda ring=ring: ring.discard_open(0),
        }[action]
        running = kill_at(instruction, call)
        ring = reattach(ring)
        check_whole(ring)
        assert ring.state().sequence[0] in ((8, 9) if action == "insert" else (8,))
        if action == "insert":
            assert ring.insert(chunk) == 8
            assert ring.insert(chunk) == 8
            assert ring.state().rows[0] == before.rows[0] + len(chunk.rows)
        else:
            getattr(ring, action)(*((0, 1) if action == "discard_episode" else (0,)))
            records = stored(ring, 0)[1]
            assert not (records["kind"][records["episode"] == 1] == STEP).any()
        check_whole(ring)
        instruction += 1
    assert instruction > 100
    ring.close()


def chunk_number(i):
    """The i-th chunk of an endless stream, the same in every process; rows know their numbers."""
    task, turn = i % 2, i // 2
    sizes = 1 + np.arange(turn + 1) % 9
    first = int((sizes[:-1] + 1).sum())
    return Chunk(0, 0, i, task, rows(task, first, int(sizes[-1]), episode=i, end="truncated"))


def stream_for_ever(path, started):
    ring = Ring.attach(path, readonly=False)
    i = int(ring.state().sequence[0])
    made = [chunk_number(i + j) for j in range(600)]
    started.set()
    for chunk in made:
        assert ring.insert(chunk) == chunk.sequence
    os._exit(1)


def test_kill_9_at_random_moments(make_ring):
    """Twenty-five writers in a row are killed while they insert: no gap, no duplicate, no half row."""
    ring = make_ring(tasks=2, capacity=128, window=3)
    ring.close()
    chance, reader, reached = random.Random(0), Ring.attach(ring.path), 0
    for _ in range(25):
        started = FORK.Event()
        writer = FORK.Process(target=stream_for_ever, args=(ring.path, started))
        writer.start()
        assert started.wait(20)
        time.sleep(chance.uniform(0, 0.004))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        sequence = int(reader.state().sequence[0])
        assert sequence >= reached
        reached = sequence
        chunks = [len(chunk_number(i).rows) for i in range(max(0, sequence - 2), sequence)]
        assert len(chunks) == min(2, sequence)
        expected = [sum(2 + np.arange(max(0, (sequence - k + 1) // 2)) % 9) for k in (0, 1)]
        assert reader.state().rows.tolist() == expected
        for task in (0, 1):
            numbers, records = stored(reader, task)
            assert (records["obs"] == content(task, numbers)[:, None]).all()
    assert reached > 100
    reader.close()
    last = Ring.attach(ring.path, readonly=False)
    check_whole(last)
    last.close()


def overwrite_for_ever(path):
    ring = Ring.attach(path, readonly=False)
    first, sequence = int(ring.state().rows[0]), int(ring.state().sequence[0])
    length, dtype = 9 + ring.layout.opening, ring.layout.dtype
    made = [rows(0, first + length * i, 8, episode=0, dtype=dtype) for i in range(4000)]
    for i in range(4000):
        ring.insert(Chunk(0, 0, sequence + i, 0, made[i]))
    os._exit(0)


@contextmanager
def overwriting(path):
    """A writer in a process of its own, which a test that fails leaves behind no more than one that passes."""
    writer = FORK.Process(target=overwrite_for_ever, args=(path,))
    writer.start()
    try:
        yield writer
    finally:
        writer.kill()
        writer.join()


RANKED = {"priority": 0.7, "weight": 0.5}


@pytest.mark.parametrize(
    ("dtype", "spilled", "plan", "laps"),
    [(DTYPE, False, {}, 8), (FRAMED, False, {}, 8), (DTYPE, False, RANKED, 3), (DTYPE, True, {}, 3), (FRAMED, True, RANKED, 3)],
)
def test_no_torn_row_under_a_fast_writer(shm, tmp_path, monkeypatch, dtype, spilled, plan, laps):
    """A small ring that another process overwrites all the time: each drawn row is whole, and is the row it claims to be.

    Not smaller: where this process gets too little of its core to copy before all is overwritten, the sampler rightly gives up.
    """
    folder = tmp_path if spilled else shm
    ring = Ring.create("run", dtype, tasks=1, capacity=768, writers=3, window=4, directory=folder, spilled=spilled)
    Feeder(ring).send(0, 8)
    ring.close()
    reader = Ring.attach(ring.path)
    sampler, mended, draws = Sampler(reader, [0], Stream(32, n_step=2, **plan), seed=0), 0, 0
    mend = sampler.batch._mend

    def counted():
        nonlocal mended
        mended += 1
        mend()

    monkeypatch.setattr(sampler.batch, "_mend", counted)
    for _ in range(laps):
        with overwriting(ring.path) as writer:
            while writer.exitcode is None:
                batch = sampler.draw()
                value = content(0, sampler.drawn())
                records = sampler.windows.records
                assert (batch.obs.numpy() == seen(0, sampler.drawn(), dtype)).all()
                assert (records["reward"][:, :, 0] == value).all()
                after, F = batch.next_obs.numpy(), repeated(dtype)
                assert (sampler.windows.observations[:, :, 1, F:] == content(0, sampler.drawn() + 1)[..., None]).all()
                assert (after[..., F : 2 * F] == after[..., :F] - content(0, 1)).all()
                assert (sampler.columns("kind") == STEP).all()
                sampler.prioritise(batch.reward.abs().numpy() + 1)
                draws += 1
            assert writer.exitcode == 0
    assert draws > 10 * laps
    assert mended > 0
    assert reader.layout.dtype == dtype
    reader.close()

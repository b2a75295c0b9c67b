"""Demonstrations in a ring of their own: whole, never overwritten, drawn in the share of the plan, also where there is nothing else."""

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, ConfigError
from core.rows import CLOSING, STEP
from core.types import Stream
from replay.demos import demo_file, demo_ring, rows_of
from replay.memory import sweep
from replay.ring import Ring
from replay.sampler import EmptyReplayError, Sampler
from tests.replay.build import FRAMED
from tests.replay.vision import ENCODED, EXTRA, ROWS, Visionary, chain, check

LENGTHS = ((3, 5), (), (2,))
"""of the chains of three tasks"""


def chains(task, lengths):
    first, made = 0, []
    for n in lengths:
        made.append(chain(task, first, n))
        first += n + 1
    return made


@pytest.fixture
def demos(shm):
    made = demo_ring("run", ROWS, [chains(task, n) for task, n in enumerate(LENGTHS)], window=2, directory=shm)
    yield made
    made.close()


@pytest.fixture
def ring(make_ring):
    return make_ring(tasks=3, capacity=64, dtype=ROWS)


def fill(ring, *tasks, episodes=8):
    actor = Visionary(ring)
    for _ in range(episodes):
        for task in tasks:
            actor.send(task, 4)


def split(drawn):
    """Per task: how many are of demonstrations, which of them, which rows of the ring."""
    shown = drawn < 0
    return shown.sum(1).tolist(), [set((-1 - d[s]).tolist()) for d, s in zip(drawn, shown, strict=True)]


def numbers(drawn):
    """Row numbers in either ring: both are filled alike in these tests."""
    return np.where(drawn < 0, -1 - drawn, drawn)


def test_the_ring_is_what_the_chains_say(demos, shm):
    assert demos.path == demo_file("run", shm) and demos.layout.capacity == 10
    attached = Ring.attach(demos.path)
    assert attached.state().live.tolist() == [8, 0, 2] and attached.state().rows.tolist() == [10, 0, 3]
    for task, lengths in enumerate(LENGTHS):
        for rows, one in zip(np.split(attached.rows[task], np.cumsum([n + 1 for n in lengths])), chains(task, lengths), strict=False):
            n = len(one["action"])
            assert rows["kind"].tolist() == [STEP] * n + [CLOSING] and rows["t"].tolist() == list(range(n + 1))
            assert (rows["terminated"][:n] == one["terminated"]).all() and (rows["success"][:n] == one["terminated"]).all()
            for name in ("obs", *(field.name for field in ENCODED)):
                assert (rows[name] == one[name]).all()
            for name in ("action", "reward", *(field.name for field in EXTRA)):
                assert (rows[name][:n] == one[name]).all()
    attached.close()
    assert sweep(shm) == [], "it lives as long as the run"


def test_the_same_demonstrations_make_the_same_bytes(demos, shm):
    again = demo_ring("other", ROWS, [chains(task, n) for task, n in enumerate(LENGTHS)], window=2, directory=shm)
    assert np.array_equal(again.bytes, demos.bytes) and np.array_equal(again.kinds, demos.kinds)
    again.close()


@pytest.mark.parametrize("plan", [Stream(16, demos=0.3), Stream(16, demos=0.3, priority=0.7, weight=0.5)])
def test_a_fixed_share_of_every_task(ring, demos, plan):
    sampler = Sampler(ring, [0, 1, 2], plan, seed=0, demos=demos)
    fill(ring, 0, 1)
    assert sampler.ready()
    met = [set(), set(), set()]
    for _ in range(20):
        batch, drawn = sampler.draw(), sampler.drawn()
        counts, which = split(drawn)
        assert counts == [5, 0, 16], "0.3 of 16; none there; nothing else there"
        met = [a | b for a, b in zip(met, which, strict=True)]
        check(batch, numbers(drawn), range(3), numbers(drawn) + 1, bootstrapped_only=True)
        sampler.prioritise(np.ones((3, 16)))
    assert met == [{0, 1, 2, 4, 5, 6, 7, 8}, set(), {0, 1}]


def test_without_a_share_all_rows_are_as_likely(ring, demos):
    fill(ring, 0, 1, 2)
    sampler = Sampler(ring, [0, 1, 2], Stream(400), seed=0, demos=demos)
    batch, drawn = sampler.draw(), sampler.drawn()
    assert batch.weight == ()
    for k, shown in enumerate((8, 0, 2)):
        rows, counts = np.unique(drawn[k], return_counts=True)
        assert len(rows) == 32 + shown and np.abs(counts - 400 / len(rows)).max() < 2


def test_the_union_by_priority(ring, demos):
    fill(ring, 0, 1, 2)
    sampler = Sampler(ring, [0], Stream(2000, priority=1.0, weight=0.5), seed=0, demos=demos)
    sampler.sample()
    sampler.prioritise(np.where(sampler.drawn() < 0, 4.0, 1.0))
    batch, drawn = sampler.draw(), sampler.drawn()
    rows, counts = np.unique(drawn[0], return_counts=True)
    assert np.abs(counts - 2000 * np.where(rows < 0, 4, 1) / (8 * 4 + 32)).max() < 2
    np.testing.assert_allclose(batch.weight.numpy(), np.where(drawn < 0, 0.5, 1.0), rtol=1e-6)
    sampler.prioritise(np.full((1, 2000), 3.0))
    Visionary(ring, writer=1).send(0, 2)
    sampler.sample()
    assert sampler._weighted._main.priorities.of(np.zeros(2, int), np.arange(40, 42)).tolist() == [4, 4], "the largest, of either ring"


def test_tasks_chosen_anew(ring, demos):
    fill(ring, 0, 1)
    sampler = Sampler(ring, [2, 1, 0], Stream(8, tasks=2, hold=2, demos=0.5, priority=0.7, weight=0.5), seed=0, demos=demos)
    for _ in range(12):
        batch, drawn = sampler.draw(), sampler.drawn()
        tasks = np.array([2, 1, 0])[batch.chosen.numpy()]
        assert split(drawn)[0] == np.array([4, 0, 8])[tasks].tolist()
        check(batch, numbers(drawn), tasks, numbers(drawn) + 1, bootstrapped_only=True)
        sampler.prioritise(np.random.default_rng(0).random((2, 8)))


def test_n_step_windows_of_demonstrations(make_ring, shm):
    ring = make_ring(tasks=1, capacity=64, window=4, dtype=ROWS)
    demos = demo_ring("run", ROWS, [chains(0, (2, 5))], window=4, directory=shm)
    batch = (sampler := Sampler(ring, [0], Stream(64, n_step=3, gamma=0.5), seed=0, demos=demos)).draw()
    first = -1 - sampler.drawn()
    last = np.where(first < 2, 2, np.minimum(first + 3, 8))
    check(batch, first, [0], last, bootstrapped_only=True)
    ended = np.where(first < 2, True, last == 8)
    assert (batch.bootstrap.numpy() == np.where(ended, 0, 0.125)).all()
    demos.close()


def test_resume_bit_for_bit(ring, demos, shm):
    """The demonstrations' ring is made again: the state has row numbers only."""
    fill(ring, 0, 1)
    plan = Stream(16, demos=0.5, priority=0.7, weight=0.5)
    one = Sampler(ring, [0, 1, 2], plan, seed=0, demos=demos)
    rng = np.random.default_rng(0)
    for _ in range(3):
        one.sample()
        one.prioritise(rng.random((3, 16)))
    again = demo_ring("again", ROWS, [chains(task, n) for task, n in enumerate(LENGTHS)], window=2, directory=shm)
    two = Sampler(ring, [0, 1, 2], plan, seed=1, demos=again)
    two.load_state_dict(one.state_dict())
    for _ in range(4):
        assert torch.equal(one.draw().weight, two.draw().weight) and torch.equal(one.buffer, two.buffer)
        told = rng.random((3, 16))
        one.prioritise(told)
        two.prioritise(told)
    with pytest.raises(CheckpointError, match="with demonstrations or without"):
        Sampler(ring, [0, 1, 2], plan, seed=1).load_state_dict(one.state_dict())
    again.close()


def test_refusals(ring, demos, make_ring, shm):
    sampler = Sampler(ring, [0, 1, 2], Stream(4, demos=0.5), seed=0, demos=demos)
    assert not sampler.ready()
    with pytest.raises(EmptyReplayError, match="task 1 "):
        sampler.sample()
    with pytest.raises(EmptyReplayError, match="task 1 "):
        Sampler(ring, [0, 1, 2], Stream(4, tasks=1), seed=0, demos=demos).sample()
    with pytest.raises(ConfigError, match="not one of this run"):
        Sampler(make_ring(tasks=2, run_id="two", dtype=ROWS), [0], Stream(4), seed=0, demos=demos)
    good = chain(0, 0, 3)
    for broken, message in (
        ({**good, "other": good["obs"]}, "not known: other"),
        ({k: v for k, v in good.items() if k != "count"}, "missing or not known: count"),
        ({**good, "obs": good["obs"][:3]}, r"'obs' .* needs \(4, 3\)"),
        ({**good, "reward": good["reward"] * np.nan}, "'reward' .* not finite"),
        ({**good, "terminated": np.ones(3, bool)}, "ends before the chunk"),
    ):
        with pytest.raises(ConfigError, match=message):
            demo_ring("wrong", ROWS, [[broken]], window=2, directory=shm)
        assert not demo_file("wrong", shm).exists()
    with pytest.raises(ConfigError, match="repeated frame"):
        rows_of(good, FRAMED)

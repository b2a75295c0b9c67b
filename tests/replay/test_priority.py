"""Rows drawn by priority: in proportion, with the reference's weights, followed through overwriting, withdrawal and resume."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CheckpointError, ConfigError, ManyhandsError
from core.types import Stream
from replay.sampler import EmptyReplayError, Sampler
from replay.sumtree import SumTrees
from tests.replay.build import DTYPE, FRAMED, Feeder, content, seen
from tests.replay.test_sampler import drawable, fill

PLAN = Stream(16, priority=0.7, weight=0.5)


def leaves(sampler):
    return sampler._weighted._main.priorities._trees.leaves


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 39), st.floats(0, 1e6)), max_size=60))
def test_a_tree_is_the_running_sum(size, writes):
    trees = SumTrees(2, size)
    for task, slot, value in writes:
        trees.set(np.array([task]), np.array([slot % size]), np.array([value]))
    kept = trees.leaves.copy()
    for task in (0, 1):
        total = trees.totals()[task]
        assert total == pytest.approx(kept[task].sum())
        if total:
            at = np.concatenate([np.random.default_rng(0).random(50), [0.0, 1 - 1e-16]]) * total
            found = trees.find(np.full(len(at), task), at)
            assert (kept[task][found] > 0).all()
            edges = np.concatenate([[0], np.cumsum(kept[task])])
            assert (at >= edges[found] - 1e-9 * total).all() and (at <= edges[found + 1] + 1e-9 * total).all()
    other = SumTrees(2, size)
    other.leaves[...] = kept
    other.rebuild()
    assert np.array_equal(other._nodes, trees._nodes), "leaves alone determine it, bit by bit"


def test_rows_are_drawn_in_proportion(make_ring):
    """Wrapped, with closing rows and an episode withdrawn. Strata make it exact: no row is drawn once more or less than its share."""
    ring = make_ring(tasks=2, capacity=37)
    fill(ring, chunks=17)
    ring.discard_episode(0, 4)
    sampler = Sampler(ring, [1, 0], Stream(4000, priority=0.5), seed=1)
    sampler.sample()
    drawn = sampler.drawn()
    sampler.prioritise(drawn.astype(float) ** 2)  # the exponent makes it the row number
    sampler.sample()
    for k, task in enumerate((1, 0)):
        numbers, counts = np.unique(sampler.drawn()[k], return_counts=True)
        there = drawable(ring, task)
        assert numbers.tolist() == there.tolist()
        assert np.abs(counts - 4000 * there / there.sum()).max() < 2


def test_new_rows_have_the_largest_priority_ever_told(make_ring):
    ring = make_ring(tasks=2, capacity=64)
    fill(ring, chunks=3)
    sampler = Sampler(ring, [0, 1], PLAN, seed=0)
    sampler.sample()
    assert set(leaves(sampler)[0]) == {0.0, 1.0}
    first = sampler.drawn()[0, 0]
    told = np.full((2, 16), 0.5)
    told[0, 0] = 4.0
    sampler.prioritise(told)
    sampler.prioritise(np.full((2, 16), 0.25))
    Feeder(ring, incarnation=1).send(0, 3)
    Feeder(ring, writer=1, incarnation=1).send(1, 3)
    sampler.sample()
    assert leaves(sampler)[0][15:18].tolist() == [4**0.7] * 3, "it never decreases"
    assert leaves(sampler)[1][15:18].tolist() == [1.0] * 3, "each task has its own"
    assert leaves(sampler)[0][18] == 0, "a closing row"
    assert leaves(sampler)[0][first] == 0.25**0.7


def test_weights_are_those_of_the_reference(make_ring):
    ring = make_ring(tasks=2, capacity=64)
    fill(ring)
    sampler = Sampler(ring, [0, 1], PLAN, seed=0)
    assert (sampler.draw().weight.numpy() == 1).all()
    sampler.prioritise(np.random.default_rng(0).random((2, 16)))
    batch = sampler.draw()
    p = np.stack([leaves(sampler)[k][sampler.drawn()[k]] for k in (0, 1)])
    want = 1 / np.sqrt(p + 1e-10)
    np.testing.assert_allclose(batch.weight.numpy(), want / want.max(), rtol=1e-6)
    assert batch.weight.shape == (2, 16) and batch.weight.max() == 1 and len(np.unique(p)) > 5
    assert torch.equal(sampler.assemble(sampler.buffer.clone()).weight, batch.weight)
    assert Sampler(ring, [0, 1], Stream(4, priority=0.7), seed=0).draw().weight == ()


def test_rows_overwritten_or_withdrawn_meanwhile_are_skipped(make_ring):
    ring = make_ring(tasks=1, capacity=40, window=2)
    fill(ring, chunks=4)
    sampler = Sampler(ring, [0], PLAN, seed=0)
    sampler.sample()
    drawn = sampler.drawn()[0]
    feeder = Feeder(ring, incarnation=1)
    for _ in range(4):
        feeder.send(0, 8)
    low = ring.low(0)
    assert 0 < np.count_nonzero(drawn < low) < 16
    sampler.prioritise(np.full((1, 16), 9.0))
    numbers = drawable(ring, 0)
    value = leaves(sampler)[0][numbers % 40]
    assert (value[np.isin(numbers, drawn)] == 9**0.7).all() and (value[~np.isin(numbers, drawn)] == 1).all()
    assert np.count_nonzero(leaves(sampler)[0]) == len(numbers)
    ring.discard_episode(0, 1)
    sampler.prioritise(np.full((1, 16), 2.0))
    sampler.sample()
    assert set(np.flatnonzero(leaves(sampler)[0])) == set(drawable(ring, 0) % 40)


@pytest.mark.parametrize("dtype", [DTYPE, FRAMED])
def test_trees_follow_the_ring(make_ring, dtype):
    """After anything that can happen to a ring, exactly its drawable rows have a priority."""
    ring = make_ring(tasks=1, capacity=50, window=3, dtype=dtype)
    feeder, sampler = Feeder(ring), Sampler(ring, [0], Stream(8, priority=1.0), seed=0)
    rng = np.random.default_rng(0)
    for i in range(120):
        feeder.send(0, int(rng.integers(1, 9)), end="truncated" if i % 2 else "")
        if i % 9 == 8:
            ring.discard_episode(0, feeder.episode - 1)
        if i % 4 == 3:
            batch = sampler.draw()
            numbers = ring.low(0) + np.arange(len(ring.whole(0)))[ring.layout.opening :]
            kinds = ring.rows["kind"][0][numbers % 50]
            assert set(np.flatnonzero(leaves(sampler)[0])) == set(numbers[kinds == 0] % 50)
            assert (batch.obs[0].numpy() == seen(0, sampler.drawn()[0], dtype)).all()
            sampler.prioritise(rng.random((1, 8)) + 0.1)


def test_a_row_overwritten_while_it_is_copied_is_drawn_again(make_ring, monkeypatch):
    ring = make_ring(tasks=1, capacity=40)
    fill(ring, chunks=9)
    feeder = Feeder(ring, incarnation=1)
    sampler = Sampler(ring, [0], Stream(64, priority=0.7, weight=0.5), seed=0)
    gather = torch.index_select

    def slow_gather(source, dim, index, *, out):
        if len(index) == 64:
            feeder.send(0, 9)
        return gather(source, dim, index, out=out)

    monkeypatch.setattr(torch, "index_select", slow_gather)
    for _ in range(10):
        batch, drawn = sampler.draw(), sampler.drawn()[0]
        assert drawn.min() >= ring.low(0)
        assert (batch.obs[0].numpy() == content(0, drawn)[:, None]).all()
        assert (sampler.columns("kind") == 0).all() and batch.weight.min() > 1e-3
        sampler.prioritise(np.random.default_rng(0).random((1, 64)) + 0.1)


def test_resume_bit_for_bit(make_ring):
    ring = make_ring(tasks=2, capacity=64)
    fill(ring)
    one, two = (Sampler(ring, [0, 1], PLAN, seed=s) for s in (5, 6))
    rng = np.random.default_rng(0)
    for _ in range(4):
        one.sample()
        one.prioritise(rng.random((2, 16)) * 3)
    Feeder(ring, incarnation=1).send(0, 5)
    two.load_state_dict(one.state_dict())
    for _ in range(5):
        a, b = one.draw(), two.draw()
        assert torch.equal(one.buffer, two.buffer) and torch.equal(a.weight, b.weight)
        assert np.array_equal(one.drawn(), two.drawn())
        told = rng.random((2, 16))
        one.prioritise(told)
        two.prioritise(told)
    with pytest.raises(CheckpointError, match="without priorities"):
        one.load_state_dict(Sampler(ring, [0, 1], Stream(16), seed=0).state_dict())


def test_episodes_withdrawn_at_a_resume_leave_the_trees(make_ring):
    ring = make_ring(tasks=1)
    fill(ring, chunks=3)
    Feeder(ring, incarnation=1).send(0, 5)
    one, two = (Sampler(ring, [0], PLAN, seed=0) for _ in range(2))
    one.sample()
    ring.discard_open()
    two.load_state_dict(one.state_dict())
    two.sample()
    assert set(np.flatnonzero(leaves(two)[0])) == set(drawable(ring, 0))


def test_tasks_chosen_anew_have_their_own_priorities(make_ring):
    ring = make_ring(tasks=4, capacity=64, writers=4)
    fill(ring)
    sampler = Sampler(ring, range(4), Stream(8, tasks=2, hold=2, priority=0.7, weight=0.5), seed=0)
    for i in range(12):
        batch = sampler.draw()
        for k, task in enumerate(batch.chosen.tolist()):
            assert (batch.obs[k].numpy() == content(task, sampler.drawn()[k])[:, None]).all()
        sampler.prioritise(np.full((2, 8), i + 2.0))
        np.testing.assert_allclose(leaves(sampler)[batch.chosen[0], sampler.drawn()[0]], (i + 2.0) ** 0.7)


def test_refusals(make_ring):
    ring = make_ring(tasks=1)
    sampler = Sampler(ring, [0], PLAN, seed=0)
    with pytest.raises(EmptyReplayError, match="task 0 "):
        sampler.sample()
    Feeder(ring).send(0, 3)
    sampler.sample()
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ManyhandsError, match="finite and not negative"):
            sampler.prioritise(np.full((1, 16), wrong))
    for wrong in ({"priority": -1.0}, {"demos": 1.5}, {"weight": float("nan")}):
        with pytest.raises(ConfigError, match="the plan's"):
            Sampler(ring, [0], Stream(4, **wrong), seed=0)

"""Tasks drawn anew for an update, kept for some, and the context beside the batch: of the right task, its newest, whole, resumed."""

import itertools

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, ConfigError
from core.rows import STEP
from core.tree import named_leaves
from core.types import Stream
from replay.sampler import EmptyReplayError, Sampler
from tests.replay.build import DTYPE, FRAMED, Feeder, content, seen
from tests.replay.test_sampler import chi_square, drawable, fill

LAYOUTS = pytest.mark.parametrize("dtype", [DTYPE, FRAMED])


def newest(ring, task, count):
    """Row numbers of the newest transitions that can be drawn, oldest first."""
    low = ring.low(task)
    kinds = ring.rows["kind"][task][np.arange(low, ring.state().rows[task]) % ring.layout.capacity]
    numbers = low + ring.layout.opening + np.flatnonzero(kinds[ring.layout.opening :] == STEP)
    return numbers[-count:] if count else numbers


def check_context(sampler, order):
    """Every transition of the context is, in all its numbers, the row that it is said to be, of the chosen task."""
    batch, dtype = sampler.assemble(sampler.buffer), sampler._ring.layout.dtype
    tasks = np.asarray(order)[batch.chosen.numpy()] if sampler._plan.tasks else np.asarray(order)
    assert batch.context.shape == (len(tasks), sampler._plan.context, 5 + 2 + 1)
    for t, task in enumerate(tasks):
        numbers = sampler.drawn_context()[t]
        assert set(numbers) <= set(newest(sampler._ring, task, 0))
        assert (batch.context[t, :, :5].numpy() == seen(task, numbers, dtype)).all()
        assert (batch.context[t, :, 5:].numpy() == content(task, numbers)[:, None]).all()
        assert (batch.obs[t].numpy() == seen(task, sampler.drawn()[t], dtype)).all()
    return batch


@LAYOUTS
@pytest.mark.parametrize("n_step", [1, 3])
def test_batch_and_context_are_of_the_chosen_tasks(make_ring, dtype, n_step):
    ring = make_ring(tasks=4, window=5, capacity=64, dtype=dtype, writers=4)
    fill(ring, chunks=19)
    order = [3, 1, 0]
    sampler = Sampler(ring, order, Stream(8, n_step, tasks=2, context=6, recent=10), seed=0)
    for _ in range(20):
        batch = sampler.draw()
        assert batch.obs.shape == (2, 8, 5)
        assert batch.chosen.dtype == torch.int64
        check_context(sampler, order)


def test_a_draw_of_all_tasks_may_have_a_context_too(make_ring):
    ring = make_ring()
    fill(ring)
    sampler = Sampler(ring, [1, 0], Stream(4, context=3), seed=0)
    assert sampler.draw().chosen == ()
    check_context(sampler, [1, 0])
    assert Sampler(ring, [1, 0], Stream(4), seed=0).draw()[5:7] == ((), ())


def test_the_plain_draw_is_what_it_was_without_a_context(make_ring):
    """What is drawn for the batch comes first: a context takes nothing of its first draw away."""
    ring = make_ring()
    fill(ring)
    plain, more = (Sampler(ring, [0, 1], plan, seed=4).draw() for plan in (Stream(16), Stream(16, context=5)))
    assert all(torch.equal(one, other) for one, other in zip(plain[:5], more[:5], strict=True))


def test_tasks_are_drawn_without_replacement_and_all_alike(make_ring):
    ring = make_ring(tasks=5, writers=5)
    fill(ring)
    sampler = Sampler(ring, range(5), Stream(1, tasks=2), seed=1)
    pairs = dict.fromkeys(itertools.permutations(range(5), 2), 0)
    for _ in range(2000):
        pairs[tuple(sampler.draw().chosen.tolist())] += 1
    statistic, freedom = chi_square(np.array(list(pairs.values())))
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_tasks_are_held(make_ring):
    ring = make_ring(tasks=6, writers=6)
    fill(ring)
    sampler = Sampler(ring, range(6), Stream(2, tasks=3, hold=4, context=2), seed=0)
    kept = [tuple(sampler.draw().chosen.tolist()) for _ in range(40)]
    assert all(len(set(kept[i : i + 4])) == 1 for i in range(0, 40, 4))
    assert len(set(kept)) > 5


def test_only_the_newest_are_context_and_all_of_them_alike(make_ring):
    """Through closing and discarded rows, and around the end of the ring."""
    ring = make_ring(tasks=2, capacity=37)
    fill(ring, chunks=17)
    ring.discard_episode(0, 5)
    sampler = Sampler(ring, [0, 1], Stream(1, context=500, recent=7), seed=1)
    draws = np.concatenate([(sampler.sample(), sampler.drawn_context())[1] for _ in range(8)], axis=1)
    for k in (0, 1):
        numbers, counts = np.unique(draws[k], return_counts=True)
        assert numbers.tolist() == drawable(ring, k)[-7:].tolist()
        statistic, freedom = chi_square(counts)
        assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


@LAYOUTS
def test_what_is_recent_moves_on(make_ring, dtype):
    ring = make_ring(tasks=1, capacity=60, dtype=dtype, window=3)
    feeder = Feeder(ring)
    sampler = Sampler(ring, [0], Stream(2, context=64, recent=5), seed=0)
    for i in range(30):
        feeder.send(0, 1 + i % 4, end="truncated" if i % 3 == 0 else "")
        sampler.sample()
        assert set(sampler.drawn_context()[0]) <= set(newest(ring, 0, 5))
        check_context(sampler, [0])


def test_fewer_than_recent_is_all_there_is(make_ring):
    ring = make_ring(tasks=1)
    Feeder(ring).send(0, 3)
    sampler = Sampler(ring, [0], Stream(2, context=64, recent=20), seed=0)
    sampler.sample()
    assert set(sampler.drawn_context()[0]) == {0, 1, 2}


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_resume_bit_for_bit(make_ring, steps):
    """Also in the midst of tasks that are held."""
    ring = make_ring(tasks=4, writers=4)
    fill(ring)
    plan = Stream(8, tasks=2, hold=3, context=4, recent=9)
    one, two = (Sampler(ring, range(4), plan, seed=s) for s in (5, 6))
    for _ in range(steps):
        one.sample()
    two.load_state_dict(one.state_dict())
    for _ in range(8):
        one.sample(), two.sample()
        assert torch.equal(one.buffer, two.buffer)
    with pytest.raises(CheckpointError, match="2 tasks per update"):
        Sampler(ring, range(4), Stream(8), seed=0).load_state_dict(one.state_dict())


@LAYOUTS
def test_a_context_row_overwritten_while_it_is_copied_is_drawn_again(make_ring, monkeypatch, dtype):
    """The writer laps the reader between its look at the counters and the end of its gather."""
    ring = make_ring(tasks=1, capacity=40, window=3, dtype=dtype)
    fill(ring, chunks=9)
    feeder, sizes = Feeder(ring, incarnation=1), itertools.count(1)
    sampler = Sampler(ring, [0], Stream(4, context=64, recent=30), seed=0)
    to, gather = sampler._draws[1].gathered, torch.index_select

    def slow_gather(source, dim, index, *, out):
        if out is to:
            feeder.send(0, 1 + next(sizes) % 9)
        return gather(source, dim, index, out=out)

    monkeypatch.setattr(torch, "index_select", slow_gather)
    for _ in range(25):
        batch = sampler.draw()
        numbers = sampler.drawn_context()[0]
        assert numbers.min() >= ring.low(0) + ring.layout.opening
        assert (batch.context[0, :, :5].numpy() == seen(0, numbers, dtype)).all()
        assert (batch.context[0, :, 5:].numpy() == content(0, numbers)[:, None]).all()


def test_all_tasks_must_have_something(make_ring):
    """Not only those that are chosen: whether an update can be made must not depend on chance."""
    ring = make_ring(tasks=3)
    Feeder(ring).send(0, 3)
    Feeder(ring, writer=1).send(1, 3)
    sampler = Sampler(ring, range(3), Stream(4, tasks=1, context=2), seed=0)
    before = sampler.state_dict()
    for _ in range(3):
        assert not sampler.ready()
        with pytest.raises(EmptyReplayError, match="task 2 "):
            sampler.sample()
    assert np.array_equal(before["state"], sampler.state_dict()["state"])
    Feeder(ring, writer=2).send(2, 3)
    assert sampler.ready()
    sampler.sample()


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Stream(4, tasks=3), "without replacement, but there are 2"),
        (Stream(4, tasks=-1), "tasks is -1"),
        (Stream(4, tasks=1, hold=0), "hold is 0"),
        (Stream(4, hold=2), "nothing to hold"),
        (Stream(4, context=-1), "context is -1"),
        (Stream(4, context=2, recent=-1), "recent is -1"),
        (Stream(4, recent=10), "no context"),
    ],
)
def test_impossible_plans_are_refused(make_ring, plan, says):
    with pytest.raises(ConfigError, match=says):
        Sampler(make_ring(), [0, 1], plan, seed=0)


@LAYOUTS
def test_assembling_is_one_graph_and_works_on_a_copy(make_ring, dtype):
    ring = make_ring(tasks=3, window=5, capacity=64, dtype=dtype)
    fill(ring)
    for n_step in (1, 3):
        sampler = Sampler(ring, [1, 0, 2], Stream(8, n_step, tasks=2, context=5), seed=2)
        traced = torch.compile(sampler.assemble, backend="eager", fullgraph=True, dynamic=False)
        for _ in range(3):
            sampler.sample()
            copy = sampler.buffer.clone()
            pairs = zip(named_leaves(traced(copy)), named_leaves(sampler.assemble(sampler.buffer)), strict=True)
            assert all(torch.equal(one, other) for (_, one), (_, other) in pairs)

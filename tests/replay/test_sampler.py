"""The sampler: uniform over exactly the drawable rows, n-step returns as by hand, resumed bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CheckpointError, ConfigError
from core.rows import STEP
from core.types import Stream
from replay import draw as module
from replay.ring import Ring
from replay.sampler import EmptyReplayError, Sampler
from tests.replay.build import DTYPE, Feeder, content


def drawable(ring, task):
    slots = ring.whole(task)
    return ring.low(task) + np.flatnonzero(ring.rows["kind"][task][slots] == STEP)


def by_hand(ring, task, number, plan):
    """(reward, next observation, bootstrap) of one start row, step by step."""

    def record(a):
        return ring.rows[task][a % ring.layout.capacity]

    total, m = 0.0, 0
    while True:
        row = record(number + m)
        total += plan.gamma**m * float(row["reward"])
        m += 1
        if row["terminated"] or (row["truncated"] and plan.timeouts == "terminal"):
            return total, record(number + m)["obs"], 0.0
        if row["truncated"] or m == plan.n_step or record(number + m)["kind"] != STEP:
            return total, record(number + m)["obs"], plan.gamma**m


@settings(max_examples=40, deadline=None)
@given(
    n_step=st.integers(1, 5),
    capacity=st.integers(8, 40),
    chunks=st.lists(st.tuples(st.integers(1, 7), st.sampled_from(["", "", "terminated", "truncated"])), min_size=1, max_size=25),
    lost=st.sets(st.integers(0, 5), max_size=2),
    timeouts=st.sampled_from(["bootstrap", "terminal"]),
)
def test_draws_equal_the_sum_by_hand(tmp_path_factory, n_step, capacity, chunks, lost, timeouts):
    ring = Ring.create("h", DTYPE, tasks=2, capacity=capacity, writers=1, window=n_step + 1, directory=tmp_path_factory.mktemp("ring"))
    feeder = Feeder(ring)
    for n, end in chunks:
        feeder.send(0, n, end)
        feeder.send(1, n, end)
    for episode in lost:
        ring.discard_episode(0, episode)
    plan = Stream(16, n_step, 0.9, timeouts=timeouts)
    sampler = Sampler(ring, [1, 0], plan, seed=3)
    if not sampler.ready():
        with pytest.raises(EmptyReplayError, match="holds no transition"):
            sampler.sample()
        ring.close()
        return
    for _ in range(3):
        batch = sampler.draw()
        for k, task in enumerate((1, 0)):
            numbers = sampler.drawn()[k]
            assert set(numbers) <= set(drawable(ring, task))
            assert (batch.obs[k].numpy() == content(task, numbers)[:, None]).all()
            assert (batch.action[k].numpy() == content(task, numbers)[:, None]).all()
            for b, number in enumerate(numbers):
                reward, next_obs, bootstrap = by_hand(ring, task, number, plan)
                assert batch.reward[k, b].item() == pytest.approx(reward, rel=1e-5)
                assert (batch.next_obs[k, b].numpy() == next_obs).all()
                assert batch.bootstrap[k, b].item() == pytest.approx(bootstrap, rel=1e-6)
    ring.close()


def fill(ring, chunks=9, n=4):
    feeders = [Feeder(ring, writer=k) for k in range(ring.layout.tasks)]
    for i in range(chunks):
        for task, feeder in enumerate(feeders):
            feeder.send(task, n, end="truncated" if i % 3 == 2 else "")


def chi_square(counts):
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum(), len(counts) - 1


@pytest.mark.parametrize("redraws", [16, 0])
def test_uniform_over_what_can_be_drawn(make_ring, monkeypatch, redraws):
    """Wrapped ring, closing and discarded rows: every drawable row equally often, also through the listing of what is left."""
    monkeypatch.setattr(module, "REDRAWS", redraws)
    ring = make_ring(tasks=2, capacity=37)
    fill(ring, chunks=17)
    ring.discard_episode(0, 4)
    sampler = Sampler(ring, [0, 1], Stream(500), seed=1)
    draws = np.concatenate([(sampler.sample(), sampler.drawn())[1] for _ in range(40)], axis=1)
    for k in (0, 1):
        rows_, counts = np.unique(draws[k], return_counts=True)
        assert rows_.tolist() == drawable(ring, k).tolist()
        statistic, freedom = chi_square(counts)
        assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_after_wrap_around_all_stored_rows_are_drawn(make_ring):
    """metaworld-algorithms drew only from [0, position) after the first lap: of 150 adds into 100, rows 50-99 were lost."""
    ring = make_ring(tasks=1, capacity=100)
    fill(ring, chunks=30)
    sampler = Sampler(ring, [0], Stream(4000), seed=0)
    sampler.sample()
    assert set(sampler.drawn()[0]) == set(drawable(ring, 0))
    assert sampler.drawn().min() >= 50


def test_fewer_rows_than_the_batch(make_ring):
    """With three rows a batch of 64 repeats them; metaworld-algorithms drew zero rows then."""
    ring = make_ring(tasks=1)
    Feeder(ring).send(0, 3)
    sampler = Sampler(ring, [0], Stream(64), seed=0)
    sampler.sample()
    assert set(sampler.drawn()[0]) == {0, 1, 2}


def test_tasks_get_their_own_indices(make_ring):
    """metaworld-algorithms drew the same time index for all tasks, and confused task and sample for one task."""
    ring = make_ring(tasks=2, capacity=64)
    fill(ring)
    sampler = Sampler(ring, [1, 0], Stream(32), seed=0)
    batch = sampler.draw()
    assert batch.obs.shape == (2, 32, 5)
    assert (batch.obs[:, :, 0].numpy() % 10 == [[1], [0]]).all()
    assert not np.array_equal(sampler.drawn()[0], sampler.drawn()[1])


def test_the_batch_is_one_buffer_of_views(make_ring):
    ring = make_ring(tasks=2)
    fill(ring)
    sampler = Sampler(ring, [0, 1], Stream(8), seed=0)
    batch = sampler.draw()
    kept = batch.obs.clone()
    assert sampler.draw().obs.data_ptr() == batch.obs.data_ptr()
    assert not torch.equal(kept, batch.obs)
    assert (sampler.columns("extra") == batch.obs.numpy()[..., :3]).all()
    assert sampler.columns("version").shape == (2, 8)
    copy = sampler.assemble(sampler.buffer.clone())
    assert all(torch.equal(a, b) for a, b in zip(batch[:5], copy[:5], strict=True))


def test_terminal_rows_come_and_go(make_ring):
    """The constant bootstrap of a batch without terminal rows is restored after one that had them."""
    ring = make_ring(tasks=1, capacity=400)
    feeder = Feeder(ring)
    for _ in range(20):
        feeder.send(0, 10, end="terminated")
    sampler = Sampler(ring, [0], Stream(4, gamma=0.5), seed=0)
    seen = set()
    for _ in range(60):
        batch = sampler.draw()
        assert (batch.bootstrap.numpy() == 0.5 * ~sampler.columns("terminated")).all()
        seen.add(bool(sampler.columns("terminated").any()))
    assert seen == {True, False}


def test_what_lies_behind_the_closing_row_is_ignored(make_ring):
    """A window may reach into rows that the writer is filling at this moment: even NaN there must not count."""
    ring = make_ring(tasks=1, window=5)
    Feeder(ring).send(0, 3)
    ring.rows["reward"][0, 4:] = np.nan
    ring.rows["obs"][0, 4:] = np.nan
    batch = Sampler(ring, [0], Stream(64, n_step=4), seed=0).draw()
    assert all(bool(torch.isfinite(part).all()) for part in batch[:5])


def test_resume_bit_for_bit(make_ring):
    ring = make_ring(tasks=2)
    fill(ring)
    one, two = (Sampler(ring, [0, 1], Stream(16), seed=s) for s in (5, 6))
    one.sample()
    two.load_state_dict(one.state_dict())
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(one.draw()[:5], two.draw()[:5], strict=True))
    with pytest.raises(CheckpointError, match="saved for tasks"):
        Sampler(ring, [0], Stream(16), seed=0).load_state_dict(one.state_dict())


def test_refusals(make_ring):
    ring = make_ring()
    with pytest.raises(ConfigError, match="n_step 3"):
        Sampler(ring, [0], Stream(4, n_step=3), seed=0)
    with pytest.raises(ConfigError, match="sampler tasks"):
        Sampler(ring, [2], Stream(4), seed=0)
    sampler = Sampler(ring, [0, 1], Stream(4), seed=0)
    assert not sampler.ready()
    Feeder(ring).send(0, 3)
    assert not sampler.ready()
    with pytest.raises(EmptyReplayError, match="task 1 "):
        sampler.sample()
    Feeder(ring, writer=1).send(1, 3)
    assert sampler.ready()
    sampler.sample()
    ring.discard_episode(1, 0)
    assert not sampler.ready()


def test_a_row_overwritten_while_it_is_copied_is_drawn_again(make_ring, monkeypatch):
    """The writer laps the reader between its look at the counters and the end of its gather."""
    ring = make_ring(tasks=1, capacity=40)
    fill(ring, chunks=9)
    feeder = Feeder(ring, incarnation=1)
    sampler = Sampler(ring, [0], Stream(64), seed=0)
    gather = torch.index_select

    def slow_gather(source, dim, index, *, out):
        if out is sampler.windows.gathered:
            feeder.send(0, 9)
        return gather(source, dim, index, out=out)

    monkeypatch.setattr(torch, "index_select", slow_gather)
    for _ in range(10):
        batch = sampler.draw()
        assert sampler.drawn().min() >= ring.low(0)
        assert (batch.obs[0].numpy() == content(0, sampler.drawn()[0])[:, None]).all()
        assert (sampler.columns("kind") == STEP).all()

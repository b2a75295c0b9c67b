"""Rows that leave out the frame of the step before: what is drawn is what simulators said, across chunks, ends, laps and tasks."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.recorder import Recorder
from core.rows import STEP, row_dtype
from core.types import Field, Stream, TaskSpec
from replay.ingest import Ingest
from replay.layout import bytes_per_transition
from replay.sampler import EmptyReplayError, Sampler
from replay.windows import rows_read
from tests.replay.build import FRAMED, Feeder, seen
from tests.replay.test_sampler import chi_square, fill

A, TASKS = 2, 2
Said = namedtuple("Said", "obs action reward terminated truncated")
Place = namedtuple("Place", "chunk at")
"""where a transition lies: its chunk, a list of ``Said`` and then the closing observation, and its position in it"""


class Actor:
    """N simulators that say random things, each frame twice, through a real recorder into a real ring; and the memory of what was said."""

    def __init__(self, ingest, spec, *, slots, chunk, seed, ends):
        self.ingest, self.spec, self.random, self.ends = ingest, spec, np.random.default_rng(seed), ends
        tasks, dtype = np.arange(slots) % TASKS, ingest.ring.layout.dtype
        self.recorder = Recorder(dtype, slots=slots, chunk=chunk, horizon=9, writer=0, incarnation=0, tasks=tasks)
        self.open = [[] for _ in range(slots)]
        self.places = [{} for _ in range(TASKS)]
        """of each task, row number -> Place"""
        self.obs = self.number(slots, spec.obs_dim)

    def number(self, *shape):
        return self.random.standard_normal(shape, np.float32)

    def step(self):
        """One env step of every simulator."""
        N, F, recorder = len(self.open), self.spec.repeated, self.recorder
        action, reward = self.number(N, A), self.number(N)
        extra = np.full((N, 3), recorder.next_episode % 256, np.uint8)
        terminated = self.random.random(N) < self.ends
        truncated = ~terminated & ((self.random.random(N) < self.ends) | (recorder.t == 8))
        closing = self.number(N, self.spec.obs_dim)
        closing[:, F : 2 * F] = self.obs[:, :F]
        recorder.begin({"obs": self.obs, "image": extra}, action, 1)
        recorder.end(reward, terminated, truncated, terminated)
        for i in range(N):
            self.open[i].append(Said(self.obs[i], action[i], reward[i], terminated[i], truncated[i]))
        self.obs = closing.copy()
        for slot in np.flatnonzero(recorder.full() | terminated | truncated):
            self.cut(slot, {"obs": closing, "image": extra})
            if terminated[slot] or truncated[slot]:
                recorder.new_episode(slot)
                self.obs[slot] = self.number(self.spec.obs_dim)

    def cut(self, slot, closing):
        chunk = self.recorder.cut(slot, closing)
        first = self.ingest.counts()["rows"][chunk.task] + self.ingest.ring.layout.opening
        assert chunk.transitions == len(self.open[slot])
        assert self.ingest.insert(chunk) == chunk.sequence
        told = [*self.open[slot], closing["obs"][slot].copy()]
        for i in range(chunk.transitions):
            self.places[chunk.task][first + i] = Place(told, i)
        self.open[slot] = []


def slow(place, plan):
    """(reward, next observation, bootstrap) step by step."""
    total, m, chunk = 0.0, 0, place.chunk
    while True:
        said = chunk[place.at + m]
        total += plan.gamma**m * float(said.reward)
        m += 1
        after = chunk[place.at + m]
        if said.terminated or said.truncated or m == plan.n_step or not isinstance(after, Said):
            return total, getattr(after, "obs", after), 0.0 if said.terminated else plan.gamma**m


def check_draw(sampler, actor, order, plan):
    batch = sampler.draw()
    for k, task in enumerate(order):
        for b, number in enumerate(sampler.drawn()[k].tolist()):
            place = actor.places[task][number]
            said, (reward, next_obs, bootstrap) = place.chunk[place.at], slow(place, plan)
            assert batch.obs[k, b].numpy().tobytes() == said.obs.tobytes()
            assert batch.action[k, b].numpy().tobytes() == said.action.tobytes()
            assert batch.next_obs[k, b].numpy().tobytes() == next_obs.tobytes()
            assert batch.reward[k, b].item() == pytest.approx(reward, rel=1e-4, abs=1e-5)
            assert batch.bootstrap[k, b].item() == pytest.approx(bootstrap, rel=1e-6)
    copy = sampler.assemble(sampler.buffer.clone())
    assert all(torch.equal(one, other) for one, other in zip(batch[:5], copy[:5], strict=True))


@settings(max_examples=80, deadline=None)
@given(
    n_step=st.sampled_from([1, 2, 3, 5]),
    frame=st.sampled_from([0, 1, 3]),
    rest=st.sampled_from([0, 2]),
    slots=st.integers(2, 4),
    chunk=st.integers(0, 6),
    capacity=st.integers(12, 60),
    steps=st.integers(1, 60),
    ends=st.sampled_from([0.0, 0.1, 0.4]),
    lost=st.sets(st.integers(0, 8), max_size=2),
    seed=st.integers(0, 1000),
)
def test_what_is_drawn_is_what_was_said(tmp_path_factory, n_step, frame, rest, slots, chunk, capacity, steps, ends, lost, seed):
    spec = TaskSpec("dummy:x", (Field("obs", (2 * frame + rest + 1,)), Field("image", (3,), "uint8")), A, 9, repeated=frame)
    dtype, plan = row_dtype(spec), Stream(16, n_step, 0.9)
    ingest = Ingest("h", dtype, TASKS, capacity, 1, rows_read(dtype, plan), tmp_path_factory.mktemp("ring"))
    actor = Actor(ingest, spec, slots=slots, chunk=chunk, seed=seed, ends=ends)
    sampler = Sampler(ingest.ring, [1, 0], plan, seed=seed)
    for _ in range(steps):
        actor.step()
    for episode in lost:
        ingest.discard_episode(0, episode)
    ring = ingest.ring
    assert ring.state().live.tolist() == [len(ring.steps(k)) for k in range(TASKS)]
    if sampler.ready():
        for _ in range(3):
            check_draw(sampler, actor, [1, 0], plan)
            actor.step()
    else:
        with pytest.raises(EmptyReplayError):
            sampler.draw()
    ingest.close(unlink=True)


@pytest.mark.parametrize("redraws", [16, 0])
def test_uniform_over_all_that_have_their_predecessor(make_ring, monkeypatch, redraws):
    monkeypatch.setattr("replay.draw.REDRAWS", redraws)
    ring = make_ring(tasks=2, capacity=37, window=3, dtype=FRAMED)
    fill(ring, chunks=17)
    ring.discard_episode(0, 4)
    sampler = Sampler(ring, [0, 1], Stream(500), seed=1)
    draws = np.concatenate([(sampler.sample(), sampler.drawn())[1] for _ in range(40)], axis=1)
    for k in (0, 1):
        numbers, counts = np.unique(draws[k], return_counts=True)
        low = ring.low(k)
        kinds = ring.rows["kind"][k][(low + 1 + np.arange(36)) % 37]
        assert numbers.tolist() == (low + 1 + np.flatnonzero(kinds == STEP)).tolist()
        assert len(numbers) == ring.state().live[k]
        statistic, freedom = chi_square(counts)
        assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_a_row_whose_predecessor_is_overwritten_meanwhile_is_drawn_again(make_ring, monkeypatch):
    """The writer laps the reader by one row more in each draw: at some moment only the predecessor of the oldest row is gone."""
    ring = make_ring(tasks=1, capacity=40, window=3, dtype=FRAMED)
    fill(ring, chunks=9)
    feeder, sampler = Feeder(ring, incarnation=1), Sampler(ring, [0], Stream(64), seed=0)
    gather, sizes = torch.index_select, iter(range(1, 30))

    def slow_gather(source, dim, index, *, out):
        if out is sampler.windows.gathered:
            feeder.send(0, next(sizes))
        return gather(source, dim, index, out=out)

    monkeypatch.setattr(torch, "index_select", slow_gather)
    for _ in range(25):
        batch = sampler.draw()
        assert sampler.drawn().min() > ring.low(0)
        assert (batch.obs[0].numpy() == seen(0, sampler.drawn()[0], FRAMED)).all()
        assert (sampler.columns("kind") == STEP).all()


def test_assembling_is_one_graph_without_breaks(make_ring):
    ring = make_ring(tasks=2, window=5, capacity=64, dtype=FRAMED)
    fill(ring)
    for n_step in (1, 3):
        sampler = Sampler(ring, [1, 0], Stream(8, n_step), seed=2)
        traced = torch.compile(sampler.assemble, backend="eager", fullgraph=True, dynamic=False)
        for _ in range(3):
            sampler.sample()
            for one, other in zip(traced(sampler.buffer)[:5], sampler.assemble(sampler.buffer)[:5], strict=True):
                assert torch.equal(one, other)


def test_bytes_of_meta_world():
    """39 numbers of which 18 repeat, 4 of the action."""
    whole, framed = (row_dtype(TaskSpec("metaworld:x", (Field("obs", (39,)),), 4, 500, repeated=F)) for F in (0, 18))
    assert (whole.itemsize, framed.itemsize) == (200, 128)
    assert bytes_per_transition(whole, 50) == 204
    assert bytes_per_transition(framed, 50) == 128 * 52 / 50

"""Rounds read from the ring: the episodes of one version, each at its place, whatever else lies there and in whatever order it came."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.rows import CLOSING, OPENING, REST, opening_rows, row_dtype
from core.types import Chunk, Field, Rounds, TaskSpec
from replay.rounds import RoundSource, rows_of_round
from replay.sampler import EmptyReplayError

SPEC = TaskSpec("dummy:x", (Field("obs", (4,)),), 2, 5)
LATENT = (Field("latent", (3,)),)
K, N, E, T = 2, 2, 3, 5


def number(task, simulator, episode, t, version):
    return version * 1000 + task * 500 + simulator * 100 + episode * 10 + t


def episode_rows(dtype, spec, task, simulator, episode, version, length, kept_as):
    """What every number of it says: where it belongs. ``kept_as`` is the actor's own numbering: writer, slot and episode."""
    opening = opening_rows(dtype)
    out = np.zeros(opening + length + 1, dtype)
    t = np.arange(len(out)) - opening
    value = number(task, simulator, episode, t, version).astype(np.float32)
    out["obs"] = value[:, None]
    if opening:
        out[REST] = value[:, None]
    for name in ("action", "latent"):
        out[name] = value[:, None]
    out["reward"], out["version"], out["t"] = value, version, t
    out["writer"], out["slot"], out["episode"] = kept_as
    out["kind"][:opening], out["kind"][-1] = OPENING, CLOSING
    return out


@pytest.fixture(params=[0, 2], ids=["plain", "framed"])
def world(request, make_ring):
    """A ring, and a function that plays an episode into it: two actors, each with one simulator of both tasks."""
    spec = replace(SPEC, repeated=request.param)
    dtype, plan = row_dtype(spec, LATENT), Rounds(E, 2, one_goal=True)
    capacity = rows_of_round(dtype, plan, N, T)
    ring = make_ring(tasks=K, capacity=capacity, writers=4, window=1 + opening_rows(dtype), dtype=dtype)
    sent = [0] * 4

    def play(task, simulator, episode, version, length=T, numbered=None):
        writer = task + K * simulator  # actor i steps task i % K
        kept = (writer, 0, episode + 10 * version if numbered is None else numbered)
        rows = episode_rows(dtype, spec, task, simulator, episode, version, length, kept)
        ring.insert(Chunk(writer, 0, sent[writer], task, rows))
        sent[writer] += 1

    return RoundSource(ring, plan, simulators=N, per_actor=1, horizon=T, extra=("latent",)), play, ring


def expected(task, simulator, episode, version, length=T):
    return torch.tensor([number(task, simulator, episode, t, version) for t in range(length)], dtype=torch.float32)


def play_all(play, version, order, **more):
    for at in order:
        play(*at, version, **more)


EVERYONE = [(k, n, e) for e in range(E) for n in range(N) for k in range(K)]


def test_every_episode_is_at_its_place(world):
    source, play, ring = world
    play_all(play, 4, EVERYONE)
    one = source.read(4)
    assert one.obs.shape == (2, K, N, E, T, SPEC.obs_dim)
    for k, n, e in EVERYONE:
        said = expected(k, n, e, 4)
        assert torch.equal(one.reward[0, k, n, e], said)
        assert torch.equal(one.action[0, k, n, e], said[:, None].expand(-1, 2))
        assert torch.equal(one.extra["latent"][0, k, n, e], said[:, None].expand(-1, 3))
        assert torch.equal(one.obs[0, k, n, e, :, 0], said)
        last = said - 1 if ring.layout.opening else said
        assert torch.equal(one.obs[0, k, n, e, :, 3], last), "the frame before, from the row before"
    assert (one.valid[0] == 1).all()
    assert not one.valid[1].any()
    assert not one.obs[1].any()


def test_phases_and_stale_versions(world):
    source, play, _ = world
    play_all(play, 3, EVERYONE)
    play_all(play, 4, EVERYONE)
    first = source.read(4)
    assert torch.equal(first.reward[0, 1, 1, 2], expected(1, 1, 2, 4))
    play_all(play, 5, EVERYONE)
    both = source.read(5)
    for phase in (0, 1):
        for k, n, e in EVERYONE:
            assert torch.equal(both.reward[phase, k, n, e], expected(k, n, e, 4 + phase))
    play_all(play, 6, EVERYONE)
    assert torch.equal(source.read(6).reward[0, 0, 0, 0], expected(0, 0, 0, 6)), "over what the ring has forgotten"


def test_episodes_that_end_early_are_padded_with_zeros(world):
    source, play, _ = world
    play_all(play, 2, EVERYONE)
    source.read(2)
    play_all(play, 4, EVERYONE, length=3)
    one = source.read(4)
    assert one.valid[0, ..., :3].all()
    assert not one.valid[0, ..., 3:].any()
    for part in (one.obs, one.action, one.reward, one.extra["latent"]):
        assert not part[0][:, :, :, 3:].any(), "nothing is left of the round before"


def test_a_part_that_was_played_twice_counts_once(world):
    source, play, ring = world
    for episode in (0, 1):
        play(0, 1, 9, 4, numbered=episode)
        ring.discard_episode(2, episode)
    play(1, 0, 8, 4, numbered=0)
    play_all(play, 4, EVERYONE)
    one = source.read(4)
    assert all(torch.equal(one.reward[0, k, n, e], expected(k, n, e, 4)) for k, n, e in EVERYONE)


def test_what_is_missing_is_named(world):
    source, play, _ = world
    with pytest.raises(EmptyReplayError, match="round of weights 4: task 0, simulator 0 has 0 of 3"):
        source.read(4)
    play_all(play, 4, [at for at in EVERYONE if at != (1, 1, 2)])
    with pytest.raises(EmptyReplayError, match="task 1, simulator 1 has 2 of 3"):
        source.read(4)


def test_simulators_of_several_tasks_in_one_actor(make_ring):
    """One actor with two simulators of each task: its slots are task-major."""
    dtype, plan = row_dtype(SPEC, LATENT), Rounds(1)
    ring = make_ring(tasks=K, capacity=rows_of_round(dtype, plan, N, T), writers=1, window=1, dtype=dtype)
    for sequence, (k, n) in enumerate([(1, 1), (0, 1), (1, 0), (0, 0)]):
        rows = episode_rows(dtype, SPEC, k, n, 0, 0, T, (0, 2 * k + n, sequence))
        ring.insert(Chunk(0, 0, sequence, k, rows))
    one = RoundSource(ring, plan, simulators=N, per_actor=N, horizon=T).read(0)
    assert all(torch.equal(one.reward[0, k, n, 0], expected(k, n, 0, 0)) for k in range(K) for n in range(N))
    assert one.extra == {}

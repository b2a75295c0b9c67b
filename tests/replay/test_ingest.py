"""The ingest: what it refuses, and a save that restores exactly or says which file is damaged."""

import json
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CheckpointError, ConfigError
from core.rows import STEP
from core.types import Stream
from replay import segments
from replay.check import ChunkError
from replay.ingest import Ingest
from replay.sampler import Sampler
from tests.replay.build import DTYPE, FRAMED, Feeder, check_whole, stored


@pytest.fixture
def make_ingest(shm):
    made = []

    def make(run_id="run", capacity=40, tasks=2, writers=3, window=4, dtype=DTYPE):
        made.append(Ingest(run_id, dtype, tasks, capacity, writers, window, shm))
        return made[-1]

    yield make
    for ingest in made:
        ingest.close()


def test_goes_on_after_its_own_death(make_ingest):
    first = make_ingest()
    feeder = Feeder(first)
    chunk = feeder.send(0, 5)
    first.ring.close()  # what the kernel does for a killed process
    second = make_ingest()
    assert second.insert(chunk) == 0
    assert second.counts()["transitions"] == [5, 0]
    second.ring.close()
    with pytest.raises(ConfigError, match=r"capacity 40 != 41"):
        make_ingest(capacity=41)


def broken(**changes):
    def change(chunk):
        chunk.rows[changes.pop("column", "kind")][changes["at"]] = changes["value"]
        return chunk

    return change


BROKEN = {
    "writer must be": lambda c: c._replace(writer=3),
    "task 2 must be": lambda c: c._replace(task=2),
    "must not be negative": lambda c: c._replace(sequence=-1),
    "not one-dimensional records": lambda c: c._replace(rows=c.rows.view(np.uint8)),
    "1 rows; it needs": lambda c: c._replace(rows=c.rows[-1:]),
    "at most 40 rows": lambda c: c._replace(rows=np.resize(c.rows, 41)),
    "kinds must be": broken(at=-1, value=STEP),
    "not of one episode": broken(column="episode", at=1, value=7),
    "one episode of writer 0": broken(column="writer", at=1, value=1),
    "t is not consecutive": broken(column="t", at=1, value=7),
    "the episode ends before": broken(column="truncated", at=0, value=True),
    "both terminated and truncated": broken(column="terminated", at=-2, value=True),
    "column 'action' at t=1 is not finite": broken(column="action", at=1, value=np.nan),
    "column 'extra' at t=0 is not finite": broken(column="extra", at=0, value=np.inf),
    "column 'obs' at t=4 is not finite": broken(column="obs", at=-1, value=np.nan),
}


@pytest.mark.parametrize("message", BROKEN)
def test_invalid_chunks_are_refused_and_counted(make_ingest, message):
    ingest = make_ingest()
    with pytest.raises(ChunkError, match=message) as caught:
        ingest.insert(BROKEN[message](Feeder(ingest).make(0, 4, end="truncated")))
    assert "\n" not in str(caught.value)
    assert ingest.counts() | {"bytes": 0} == {"rows": [0, 0], "transitions": [0, 0], "live": [0, 0], "bytes": 0, "invalid": 1}
    Feeder(ingest).send(0, 4)


FRAMED_BROKEN = {
    "kinds must be OPENING": broken(at=0, value=STEP),
    "it needs a transition and its closing row": lambda c: c._replace(rows=c.rows[1:-1][:2]),
    "column 'obs' at t=-1 is not finite": broken(column="obs", at=0, value=np.nan),
    "column 'obs_rest' at t=2 is not finite": broken(column="obs_rest", at=3, value=np.nan),
}


@pytest.mark.parametrize("message", FRAMED_BROKEN)
def test_an_opening_row_is_checked_too(make_ingest, message):
    ingest = make_ingest(dtype=FRAMED)
    with pytest.raises(ChunkError, match=message):
        ingest.insert(FRAMED_BROKEN[message](Feeder(ingest).make(0, 4, end="truncated")))
    chunk = Feeder(ingest).make(0, 4)
    for name in ("obs_rest", "action", "reward", "extra"):
        chunk.rows[name][0] = np.nan
    assert ingest.insert(chunk) == 0, "it means only its frame"
    assert ingest.counts()["transitions"] == [4, 0]


def test_a_closing_row_means_only_its_observation(make_ingest):
    ingest = make_ingest()
    chunk = Feeder(ingest).make(0, 4)
    for name in ("action", "reward", "extra"):
        chunk.rows[name][-1] = np.nan
    chunk.rows["t"][-1] = 99
    assert ingest.insert(chunk) == 0


def manifest_of(ingest, folder):
    return json.loads(json.dumps(ingest.save(folder)))


def same(one, two):
    """Same rows in the same places, same counters, same draws."""
    for a, b in zip(one.ring.state(), two.ring.state(), strict=True):
        assert a.tolist() == b.tolist()
    for task in range(2):
        (n1, r1), (n2, r2) = stored(one.ring, task), stored(two.ring, task)
        assert n1.tolist() == n2.tolist()
        assert r1.tobytes() == r2.tobytes()
    check_whole(two.ring)
    assert one.ring._discarded == two.ring._discarded
    samplers = [Sampler(x.ring, [0, 1], Stream(8, n_step=3), seed=4) for x in (one, two)]
    if samplers[0].ready():
        for _ in range(3):
            assert all(torch.equal(a, b) for a, b in zip(*(s.draw()[:5] for s in samplers), strict=True))


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), st.integers(1, 12), st.sampled_from(["", "truncated", "terminated"])),
    st.tuples(st.just("discard"), st.integers(0, 4)),
    st.tuples(st.just("save")),
)


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(STEPS, max_size=25), dtype=st.sampled_from([DTYPE, FRAMED]))
def test_increments_restore_exactly(tmp_path_factory, steps, dtype):
    """Any mixture of inserts, discards and saves: the last manifest restores the ring bit for bit, also where saves build on it."""
    folder = tmp_path_factory.mktemp("run")
    one = Ingest("one", dtype, 2, 40, 3, 5, folder)
    feeder = Feeder(one)
    for step in steps:
        if step[0] == "send":
            feeder.send(*step[1:])
        elif step[0] == "discard":
            one.discard_episode(0, step[1])
        else:
            one.save(folder)
    manifest = manifest_of(one, folder)
    two = Ingest("two", dtype, 2, 40, 3, 5, folder)
    two.load(folder, manifest)
    same(one, two)
    for ingest in (one, two):
        Feeder(ingest, incarnation=1).send(0, 9)
        ingest.discard_open(0)
    again = manifest_of(two, folder)
    three = Ingest("three", dtype, 2, 40, 3, 5, folder)
    three.load(folder, again)
    same(one, three)
    for ingest in (one, two, three):
        ingest.close(unlink=True)


def test_a_save_writes_only_what_is_new(make_ingest, tmp_path):
    ingest = make_ingest(capacity=400)
    feeder = Feeder(ingest)
    feeder.send(0, 50)
    first = ingest.save(tmp_path)
    feeder.send(0, 20)
    second = ingest.save(tmp_path)
    assert second["segments"][: len(first["segments"])] == first["segments"]
    assert [(s["start"], s["stop"]) for s in second["segments"]] == [(0, 51), (51, 72)]
    assert ingest.save(tmp_path)["segments"] == second["segments"]


def test_garbage(make_ingest, tmp_path):
    ingest = make_ingest(capacity=40)
    feeder, manifests = Feeder(ingest), []
    for _ in range(6):
        feeder.send(0, 15)
        manifests.append(ingest.save(tmp_path))
    folder = tmp_path / segments.FOLDER
    (folder / "t0000-x.rows.1.tmp").write_bytes(b"left by a killed write")
    ingest.collect_garbage(tmp_path, manifests[4:5])
    left = {p.name for p in folder.iterdir()}
    assert left == {s["file"] for m in manifests[4:] for s in m["segments"]}
    other = make_ingest("other")
    other.load(tmp_path, manifests[4])
    with pytest.raises(CheckpointError, match="is missing"):
        other.load(tmp_path, manifests[0])


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_damaged_segment_is_named_and_the_ring_stays_usable(make_ingest, tmp_path, damage):
    ingest = make_ingest(capacity=200)
    feeder = Feeder(ingest)
    feeder.send(0, 20)
    older = ingest.save(tmp_path)
    feeder.send(0, 20)
    manifest = ingest.save(tmp_path)
    path = tmp_path / segments.FOLDER / manifest["segments"][-1]["file"]
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    other = make_ingest("other", capacity=200)
    with pytest.raises(CheckpointError) as caught:
        other.load(tmp_path, manifest)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert other.counts()["rows"] == [0, 0]
    other.load(tmp_path, older)
    assert other.counts()["rows"] == [21, 0]


def test_manifest_without_a_segment_or_of_other_sizes(make_ingest, tmp_path):
    ingest = make_ingest()
    Feeder(ingest).send(0, 20)
    manifest = ingest.save(tmp_path)
    other = make_ingest("other")
    with pytest.raises(CheckpointError, match="names no segment for rows 0 to 21 of task 0"):
        other.load(tmp_path, {**manifest, "segments": []})
    with pytest.raises(CheckpointError, match="capacity 41, this run 40"):
        other.load(tmp_path, {**manifest, "capacity": 41})
    with pytest.raises(CheckpointError, match="schema 9"):
        other.load(tmp_path, {**manifest, "schema": 9})


def test_actors_may_be_more_or_fewer_after_a_restart(make_ingest, tmp_path):
    ingest = make_ingest()
    Feeder(ingest, writer=1, incarnation=4).send(0, 3)
    manifest = ingest.save(tmp_path)
    more, fewer = make_ingest("more", writers=5), make_ingest("fewer", writers=2)
    more.load(tmp_path, manifest)
    fewer.load(tmp_path, manifest)
    assert more.incarnations() == [0, 4, 0, 0, 0]
    assert fewer.incarnations() == [0, 4]


def test_a_failed_write_is_made_good_by_the_next(make_ingest, tmp_path, monkeypatch):
    ingest = make_ingest()
    feeder = Feeder(ingest)
    feeder.send(0, 9)
    ingest.discard_episode(0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            ingest.save(tmp_path)
    feeder.send(0, 9)
    other = make_ingest("other")
    other.load(tmp_path, ingest.save(tmp_path))
    same(ingest, other)


def test_a_save_in_a_thread_while_chunks_arrive(make_ingest, tmp_path):
    """The manifest is of the moment of the snapshot, whatever is inserted and overwritten while files are written."""
    ingest, twin = make_ingest(capacity=200), make_ingest("twin", capacity=200)
    feeders = [Feeder(ingest), Feeder(twin)]
    for feeder in feeders:
        for _ in range(15):
            feeder.send(0, 9)
    snapshot = ingest.snapshot()
    manifests = []
    thread = threading.Thread(target=lambda: manifests.append(ingest.write(snapshot, tmp_path)))
    thread.start()
    for _ in range(40):
        feeders[0].send(0, 9)
    ingest.discard_episode(0, 0)
    thread.join()
    other = make_ingest("other", capacity=200)
    other.load(tmp_path, manifests[0])
    same(twin, other)
    other.load(tmp_path, ingest.save(tmp_path))
    same(ingest, other)


def test_snapshots_written_in_the_wrong_order(make_ingest, tmp_path):
    ingest = make_ingest()
    feeder = Feeder(ingest)
    feeder.send(0, 5)
    one = ingest.snapshot()
    ingest.discard_episode(0, 0)
    feeder.send(0, 5)
    two = ingest.snapshot()
    ingest.write(two, tmp_path)
    ingest.write(one, tmp_path)
    other = make_ingest("other")
    other.load(tmp_path, ingest.save(tmp_path))
    same(ingest, other)

"""The ring: numbering, wrap-around, mirror, duplicates, incarnations, discards, attaching."""

import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, ManyhandsError
from core.rows import CLOSING, DISCARDED, OPENING, STEP
from core.types import Chunk
from replay.layout import LOG
from replay.ring import Ring, StaleWriterError
from tests.replay.build import DTYPE, FRAMED, Feeder, check_whole, rows, stored


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(7, 20),
    window=st.integers(1, 5),
    dtype=st.sampled_from([DTYPE, FRAMED]),
    chunks=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 5), st.sampled_from(["", "terminated", "truncated"])), max_size=30),
)
def test_any_order_of_chunks_keeps_the_newest_rows(tmp_path_factory, capacity, window, dtype, chunks):
    ring = Ring.create("h", dtype, tasks=2, capacity=capacity, writers=1, window=window, directory=tmp_path_factory.mktemp("ring"))
    feeder, sent, transitions = Feeder(ring), [0, 0], [0, 0]
    for task, n, end in chunks:
        feeder.send(task, n, end)
        sent[task] += n + 1 + ring.layout.opening
        transitions[task] += n
        check_whole(ring)
    state = ring.state()
    assert state.rows.tolist() == sent
    assert state.transitions.tolist() == transitions
    assert [len(stored(ring, k)[0]) for k in (0, 1)] == [min(capacity, s) for s in sent]
    ring.close()


@pytest.mark.parametrize("dtype", [DTYPE, FRAMED])
def test_full_ring_of_exact_length(make_ring, dtype):
    ring = make_ring(capacity=12, dtype=dtype)
    n = 11 - ring.layout.opening
    Feeder(ring).send(0, n)
    check_whole(ring)
    feeder = Feeder(ring, writer=1)
    feeder.send(0, n)
    check_whole(ring)
    assert stored(ring, 0)[0].tolist() == list(range(12, 24))


def test_chunk_longer_than_the_ring_is_refused(make_ring):
    ring = make_ring(capacity=12)
    with pytest.raises(ConfigError, match=r"13 rows does not fit .* 12"):
        Feeder(ring).send(0, 12)
    assert ring.state().rows.tolist() == [0, 0]


def test_duplicates_and_gaps_change_nothing(make_ring):
    ring = make_ring()
    feeder = Feeder(ring)
    chunks = [feeder.make(0, 3) for _ in range(3)]
    assert ring.insert(chunks[1]) == -1
    assert ring.insert(chunks[0]) == 0
    assert ring.insert(chunks[2]) == 0
    assert ring.insert(chunks[0]) == 0
    assert ring.insert(chunks[1]) == 1
    assert ring.insert(chunks[0]) == 1
    assert ring.insert(chunks[2]) == 2
    assert ring.state().transitions[0] == 9
    assert ring.state().sequence.tolist() == [3, 0, 0]


def test_incarnations(make_ring):
    ring = make_ring()
    Feeder(ring).send(0, 2)
    late = Feeder(ring, incarnation=2)
    skipped = late.make(0, 2)._replace(sequence=1)
    assert ring.insert(skipped) == -1, "a new incarnation begins at 0"
    late.sequence = 0
    late.send(0, 2)
    with pytest.raises(StaleWriterError, match=r"writer 0: chunk of incarnation 1, but incarnation 2"):
        Feeder(ring, incarnation=1).send(0, 2)
    Feeder(ring, writer=2).send(1, 2)
    assert ring.state().incarnation.tolist() == [2, 0, 0]


@pytest.mark.parametrize("dtype", [DTYPE, FRAMED])
def test_discard_episode_marks_its_rows_now_and_later(make_ring, dtype):
    ring = make_ring(window=4, capacity=20, dtype=dtype)
    one, two = Feeder(ring, writer=0), Feeder(ring, writer=1)
    for _ in range(3):
        one.send(0, 3)
        two.send(0, 2)
    runs = ring.discard_episode(0, 0)
    assert sum(b - a for _, a, b in runs) == sum(r["writer"] == 0 and r["kind"] == DISCARDED for r in stored(ring, 0)[1])
    assert ring.discard_episode(0, 0) == []
    one.send(0, 3)
    _, records = stored(ring, 0)
    records = records[records["kind"] != OPENING]
    assert set(records["kind"][records["writer"] == 0]) == {DISCARDED, CLOSING}
    assert set(records["kind"][records["writer"] == 1]) == {STEP, CLOSING}
    check_whole(ring)


def test_discard_open_leaves_ended_episodes(make_ring):
    ring = make_ring(capacity=64)
    one, two = Feeder(ring, writer=0), Feeder(ring, writer=1)
    one.send(0, 3)
    one.send(0, 3, end="truncated")
    one.send(1, 2)
    two.send(1, 4)
    assert ring.discard_open(writer=0) == [(1, 0, 2)]
    assert ring.discard_open() == [(1, 3, 7)]
    assert ring.state().live.tolist() == [6, 0]
    check_whole(ring)


def test_log_of_discards_forgets_the_oldest(make_ring):
    ring = make_ring()
    for episode in range(LOG + 10):
        ring.control.log_discard(episode)
    assert ring.control.logged() == list(range(10, LOG + 10))


def test_attach_needs_only_the_path_and_cannot_write(make_ring):
    ring = make_ring()
    Feeder(ring).send(1, 5)
    reader = Ring.attach(ring.path)
    assert reader.layout == ring.layout
    assert reader.rows.dtype == DTYPE
    assert not reader.rows.flags.writeable
    with pytest.raises(TypeError):
        mmap.mmap.write_byte(reader._map, 1)
    check_whole(reader)
    Feeder(ring, writer=1).send(1, 5)
    check_whole(reader)
    reader.close()
    reader.close()


def test_one_writer_and_one_name(make_ring, monkeypatch):
    monkeypatch.setattr("replay.memory.WRITER_PATIENCE_S", 0.05)
    ring = make_ring()
    with pytest.raises(ManyhandsError, match="another live process writes"):
        Ring.attach(ring.path, readonly=False)
    with pytest.raises(ConfigError, match="already has a ring of run 'run'"):
        make_ring()
    ring.close()
    again = Ring.attach(ring.path, readonly=False)
    again.close()
    again.unlink()
    with pytest.raises(ManyhandsError, match="no ring at"):
        Ring.attach(ring.path)


def test_a_file_that_is_no_ring(shm):
    (shm / "manyhands-x.ring").write_bytes(b"something else" * 10_000)
    with pytest.raises(ManyhandsError, match="is not a manyhands ring"):
        Ring.attach(shm / "manyhands-x.ring")


def test_a_chunk_with_strided_rows(make_ring):
    ring = make_ring()
    wide = np.zeros((6, 2), DTYPE)
    wide[:, 0] = rows(0, 0, 5)
    assert ring.insert(Chunk(0, 0, 0, 0, wide[:, 0])) == 0
    check_whole(ring)


def test_impossible_sizes(make_ring):
    with pytest.raises(ConfigError, match="must exceed the window"):
        make_ring(capacity=4, window=4)
    with pytest.raises(ConfigError, match=r"replay\.tasks is 0"):
        make_ring(tasks=0)

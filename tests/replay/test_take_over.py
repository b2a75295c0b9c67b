"""When a process of replay or an actor dies: late chunks of the dead are refused, and a checkpoint half made is given up."""

import pytest

from core.rows import DISCARDED, STEP
from replay.ingest import Ingest
from replay.ring import StaleWriterError
from tests.replay.build import DTYPE, Feeder


@pytest.fixture
def ingest(shm):
    made = Ingest("run", DTYPE, tasks=1, capacity=64, writers=2, window=2, directory=shm)
    yield made
    made.close(unlink=True)


def test_a_chunk_that_arrives_after_the_take_over_is_refused(ingest):
    dead, other = Feeder(ingest, writer=0), Feeder(ingest, writer=1)
    dead.send(0, 3)
    other.send(0, 2)
    late = dead.make(0, 4)
    assert ingest.take_over(0, 1) == 3
    with pytest.raises(StaleWriterError, match="incarnation 1 has taken over"):
        ingest.insert(late)
    rows = ingest.ring.rows[0][ingest.ring.whole(0)]
    assert set(rows["kind"][rows["writer"] == 0].tolist()) <= {DISCARDED, 1}
    assert (rows["kind"][rows["writer"] == 1] == STEP).sum() == 2
    successor = Feeder(ingest, writer=0, incarnation=1)
    successor.episode = 100
    successor.send(0, 5, end="truncated")
    assert ingest.take_over(0, 1) == 0, "what has ended stays, and the second call changes nothing"
    assert ingest.incarnations() == [1, 0]


def test_the_first_chunk_of_a_lost_episode_is_refused_too(ingest):
    """Nothing of the episode is in the ring yet, so that it cannot be known as discarded."""
    late = Feeder(ingest, writer=0).make(0, 4)
    ingest.take_over(0, 1)
    with pytest.raises(StaleWriterError):
        ingest.insert(late)
    assert ingest.counts()["transitions"] == [0]


def test_what_a_dead_process_had_staged_is_given_up(ingest, tmp_path):
    Feeder(ingest).send(0, 3)
    assert ingest.stage() == [3]
    assert ingest.write_staged(tmp_path)["transitions"] == [3]
    assert ingest.write_staged(tmp_path) is None

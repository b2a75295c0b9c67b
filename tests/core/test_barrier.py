"""The on-policy limiter: parts and updates in strict turn, whoever comes first."""

import pytest

from core.barrier import RoundBarrier
from core.errors import ConfigError


def test_a_round_of_parts_then_one_update():
    barrier = RoundBarrier(3)
    for _ in range(4):
        for done in range(3):
            assert barrier.may_update(5) == 0
            assert [barrier.may_insert(n) for n in (1, 3 - done, 4 - done)] == [True, True, False]
            barrier.inserted(1)
        assert not barrier.may_insert(1)
        assert barrier.may_update(5) == 1
        assert barrier.may_update(0) == 0
        barrier.updated(1)


def test_what_no_caller_may_do():
    barrier = RoundBarrier(2)
    with pytest.raises(ValueError, match="1 updates were counted where 0"):
        barrier.updated(1)
    barrier.inserted(2)
    with pytest.raises(ValueError, match="1 parts came in where 0"):
        barrier.inserted(1)
    with pytest.raises(ValueError, match="2 updates"):
        barrier.updated(2)
    with pytest.raises(ConfigError, match="at least 1"):
        RoundBarrier(0)


def test_a_saved_barrier_waits_for_the_whole_round_unless_told_otherwise():
    barrier = RoundBarrier(2)
    barrier.inserted(1)
    again = RoundBarrier(2)
    again.load_state_dict(barrier.state_dict())
    assert again.may_insert(2)
    again.inserted(1)
    assert not again.may_insert(2)

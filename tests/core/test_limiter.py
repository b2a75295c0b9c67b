"""The limiter: never an update too many, never stuck, and as far apart as promised at most."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.limiter import SamplesPerInsert

RATIOS = st.one_of(
    st.sampled_from([1.0, 0.5, 1 / 3, 0.1, 0.3, 2.0, 7.0]),
    st.floats(1e-4, 100.0),
)


def test_one_update_per_step_after_the_first_hundred():
    limiter = SamplesPerInsert(1.0, min_size=100, max_lead_steps=10)
    assert limiter.may_update(5) == 0
    limiter.inserted(100)
    assert limiter.may_update(5) == 0
    limiter.inserted(3)
    assert limiter.may_update(5) == 3
    assert limiter.may_insert(7)
    assert not limiter.may_insert(8)
    limiter.updated(3)
    assert limiter.may_update() == 0


@pytest.mark.parametrize(("ratio", "steps", "updates"), [(0.3, 10, 3), (1 / 3, 3, 1), (0.1, 10, 1), (1.1, 10, 11), (2.5, 3, 7)])
def test_ratios_mean_what_was_written(ratio, steps, updates):
    limiter = SamplesPerInsert(ratio, min_size=0, max_lead_steps=0)
    limiter.inserted(steps)
    assert limiter.may_update(100) == updates


def test_no_lead_at_all_is_strict_alternation():
    limiter = SamplesPerInsert(1.0, min_size=0, max_lead_steps=0)
    for _ in range(5):
        assert limiter.may_insert(50)
        limiter.inserted(50)
        while limiter.may_update():
            assert not limiter.may_insert(1)
            limiter.updated(1)


@settings(max_examples=150, deadline=None)
@given(
    ratio=RATIOS,
    min_size=st.integers(0, 500),
    lead=st.integers(0, 2000),
    inserts=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    burst=st.integers(1, 64),
    eager=st.booleans(),
)
def test_always_progresses_and_stays_within_bounds(ratio, min_size, lead, inserts, burst, eager):
    limiter = SamplesPerInsert(ratio, min_size, lead)
    exact = Fraction(ratio).limit_denominator(10**6)
    inserted = updates = 0
    for steps in inserts:
        for _ in range(10**6):
            allowed = limiter.may_insert(steps)
            count = limiter.may_update(burst)
            assert allowed or count > 0, "stuck"
            if allowed and (eager or count == 0):
                break
            limiter.updated(count)
            updates += count
            assert updates <= floor(exact * (inserted - min_size))
        limiter.inserted(steps)
        inserted += steps
        if inserted >= min_size:
            assert 0 <= exact * (inserted - min_size) - updates <= max(exact * lead, exact * steps + 1)
        else:
            assert updates == 0


@settings(max_examples=50, deadline=None)
@given(ratio=RATIOS, min_size=st.integers(0, 50), steps=st.integers(0, 500))
def test_state_round_trip(ratio, min_size, steps):
    saved = SamplesPerInsert(ratio, min_size, 10)
    saved.inserted(steps)
    saved.updated(saved.may_update(7))
    resumed = SamplesPerInsert(ratio, min_size, 10)
    resumed.load_state_dict(saved.state_dict())
    assert resumed.state_dict() == saved.state_dict()
    assert resumed.may_update(10**6) == saved.may_update(10**6)


def test_another_ratio_counts_from_the_resume():
    saved = SamplesPerInsert(1.0, 0, 10)
    saved.inserted(1000)
    saved.updated(1000)
    resumed = SamplesPerInsert(4.0, 0, 10)
    resumed.load_state_dict(saved.state_dict())
    assert resumed.may_update(10**6) == 0
    resumed.inserted(2)
    assert resumed.may_update(10**6) == 8


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf"), 1e-9])
def test_impossible_ratios(ratio):
    with pytest.raises(ConfigError, match="updates_per_step"):
        SamplesPerInsert(ratio, 0, 0)


@pytest.mark.parametrize(("min_size", "lead", "name"), [(-1, 0, "min_size"), (0, -1, "max_lead"), (1.5, 0, "min_size")])
def test_impossible_sizes(min_size, lead, name):
    with pytest.raises(ConfigError, match=name):
        SamplesPerInsert(1.0, min_size, lead)


def test_counting_more_than_allowed_is_a_fault():
    limiter = SamplesPerInsert(1.0, 0, 0)
    limiter.inserted(2)
    with pytest.raises(ValueError, match="2 are allowed"):
        limiter.updated(3)

"""The clocks: due at each mark, once, also after a jump and after a resume."""

import pytest

from core.clocks import Every, EverySeconds, Until
from core.errors import ConfigError


def test_every_is_due_once_at_each_multiple():
    clock = Every(10)
    assert [count for count in range(35) if clock.due(count)] == [10, 20, 30]


def test_every_catches_up_without_a_burst():
    clock = Every(10)
    assert [count for count in (7, 57, 58, 59, 60, 61, 99, 100) if clock.due(count)] == [57, 60, 99, 100]


def test_every_zero_is_never():
    assert not any(Every(0).due(count) for count in range(100))


def test_every_goes_on_after_a_resume_also_with_another_interval():
    saved = Every(10)
    assert saved.due(25)
    same, other = Every(10), Every(7)
    same.load_state_dict(saved.state_dict())
    other.load_state_dict(saved.state_dict())
    assert [count for count in range(26, 45) if same.due(count)] == [30, 40]
    assert [count for count in range(26, 45) if other.due(count)] == [28, 35, 42]


def test_every_seconds_counts_from_the_last_time_and_keeps_the_elapsed_part():
    now = [100.0]
    clock = EverySeconds(5.0, lambda: now[0])
    assert not clock.due()
    now[0] = 119.0
    assert clock.due()
    assert not clock.due()
    now[0] = 123.0
    state = clock.state_dict()
    now[0] = 7.0  # the monotonic clock of another process
    resumed = EverySeconds(5.0, lambda: now[0])
    resumed.load_state_dict(state)
    now[0] = 7.9
    assert not resumed.due()
    now[0] = 8.0
    assert resumed.due()


def test_until_ends_at_its_target_and_goes_on_with_a_larger_one():
    end = Until(10)
    assert [end.going(count) for count in (0, 9, 10, 3)] == [True, True, False, False]
    longer = Until(20)
    longer.load_state_dict(end.state_dict())
    assert longer.going(11)
    assert Until(None).going(10**12)


@pytest.mark.parametrize("make", [lambda: Every(-1), lambda: EverySeconds(-1.0), lambda: EverySeconds(float("nan")), lambda: Until(-1)])
def test_impossible_settings(make):
    with pytest.raises(ConfigError, match="Allowed"):
        make()

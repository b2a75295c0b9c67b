"""The schedule of a trial: order, lengths, and what it refuses."""

import pytest

from core.errors import ConfigError
from protocols.schedule import Schedule


def spelled(schedule: Schedule) -> str:
    return " ".join(("look" if place.look else "adapt") + str(place.known) for place in schedule.places)


def test_the_trial_of_ten_adaptation_episodes():
    schedule = Schedule.looked_at(10)
    assert spelled(schedule) == ("look0 adapt0 look1 adapt1 look2 adapt2 adapt3 adapt4 look5 adapt5 adapt6 adapt7 adapt8 adapt9 look10")
    assert schedule.repeat == schedule.trial == len(schedule.places) == 15


@pytest.mark.parametrize(("episodes", "looks"), [(0, (0,)), (1, (0, 1)), (2, (0, 1, 2)), (3, (0, 1, 2, 3)), (5, (0, 1, 2, 5))])
def test_looks_are_as_far_as_there_are_episodes_and_after_all(episodes, looks):
    assert Schedule.looked_at(episodes).looks == looks


def test_looks_of_several_episodes_and_the_control_only():
    assert spelled(Schedule.controlled(2, evaluation=2)) == "look0 look0 adapt0 adapt1 look2 look2"
    assert Schedule.controlled(2, evaluation=2).repeat == 6


def test_without_adaptation_each_episode_is_a_trial():
    schedule = Schedule(evaluation=3)
    assert (schedule.repeat, schedule.trial, spelled(schedule)) == (3, 1, "look0")
    assert Schedule.controlled(0) == Schedule.looked_at(0) == Schedule()


@pytest.mark.parametrize("wrong", [(-1, (0,)), (0, (0,), 0), (2, (0,)), (2, (1, 2)), (2, (0, 2, 1)), (2, (0, 0, 2)), (2, ()), (2, (0, 3))])
def test_an_impossible_schedule_is_refused(wrong):
    with pytest.raises(ConfigError, match="Allowed"):
        Schedule(*wrong)

"""Rates that a person can use: none before there is one, whole rounds on-policy, however long collecting and learning take."""

from dataclasses import replace

import pytest

from manyhands import presets
from manyhands.counters import Counters
from manyhands.loop import train
from manyhands.rates import INTERVALS, WINDOW_S, Rates
from tests.system.tiny import opened, run_through, tiny


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def looked(*looks, rounds=True):
    """After looks of (seconds, env steps, updates)."""
    clock = Clock()
    rates = Rates(clock)
    for clock.now, steps, updates in looks:
        rates.look(Counters(steps=steps, updates=updates), rounds=rounds)
    return rates.now()


def test_there_is_none_before_something_was_done():
    assert looked() is None
    assert looked((0, 0, 0), (50, 0, 0)) is None
    assert looked((0, 0, 0), (50, 1000, 1)) == (20.0, 0.02)


def test_rounds_of_minutes_are_averaged_over_the_last_few():
    found = looked(*((60.0 * n, 6000 * n, n) for n in range(9)), (60 * 8 + 120, 6000 * 9, 9))
    assert found == pytest.approx((6000 * INTERVALS / 240, INTERVALS / 240))


def test_many_looks_are_averaged_over_the_last_seconds():
    looks = [(n / 10, 100 * n, 0) for n in range(1000)] + [(100 + n / 10, 100_000 + n, n) for n in range(int(10 * WINDOW_S) + 2)]
    assert looked(*looks) == pytest.approx((10, 10))


def test_nothing_new_is_no_look():
    """As when an evaluation ends in the middle of a round."""
    assert looked((0, 0, 0), (10, 100, 1), (15, 100, 1)) == (10.0, 0.1)


def test_off_policy_a_halt_is_seen_and_left_behind():
    going = [(n / 10, 100 * n, n) for n in range(200)]
    halted = [*going, *((20 + n, 19_900, 199) for n in range(60))]
    assert looked(*halted, rounds=False) == (0, 0)
    on = [(80 + n / 10, 19_900 + 100 * n, 199 + n) for n in range(int(10 * WINDOW_S) + 2)]
    assert looked(*halted, *on, rounds=False) == pytest.approx((1000, 10))


def test_a_run_in_the_middle_of_a_round_shows_the_speed_of_whole_ones(tmp_path):
    """Whatever moment the view asks at; metrics too."""
    config = presets.find("navigation-maml")
    actors, evaluation = replace(config.actors, simulators=2), replace(config.evaluation, every_steps=0, episodes=1)
    config = replace(config, total_steps=3 * 2 * 10 * 2 * 20, actors=actors, evaluation=evaluation)
    shown, rows = [], []
    with opened(config, tmp_path) as run:
        show = run.progress.show

        def watched(fleet):
            snapshot = run.progress._snapshot(fleet, config)
            shown.append((fleet.counters.steps, snapshot.steps_per_s, snapshot.updates_per_s, snapshot.eta_s))
            rows.append(run.progress.row(fleet)["actor/steps_per_s"])
            show(fleet)

        run.progress.show = watched
        train(run)
    size = 2 * 10 * 2 * 20
    before = [known for steps, *known in shown if steps < size]
    after = [known for steps, *known in shown if steps > size]
    assert before and after and len(after) >= 8, "two phases of collecting and of learning in each of two rounds"
    assert all(known == [None] * 3 for known in before)
    assert all(steps_per_s > 0 and updates_per_s > 0 and eta_s >= 0 for steps_per_s, updates_per_s, eta_s in after)
    assert all(steps_per_s / updates_per_s == pytest.approx(size / 2) for steps_per_s, updates_per_s, _ in after)
    assert rows[0] == 0.0 and rows[-1] > 0


def test_a_stream_has_rates_from_the_first_steps_on(tmp_path):
    seen = []
    run_through(tiny(total_steps=100), tmp_path, (20, lambda run: seen.append(run.progress.speed.now())))
    assert seen[0][0] > 0

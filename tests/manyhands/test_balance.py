"""What a run is bound by: exact shares from made-up reports, and one answer with advice."""

import pytest

from actors.worker import Report
from core.metrics import Averages
from manyhands.balance import ADVICE, NOTHING, Balance, Shares, bound_by, sentence


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def report(seconds, simulate_s, send_s):
    return Report(10, 10, 0, 1, [], seconds, simulate_s, send_s)


def made(actors, *, strict):
    clock = Clock()
    balance = Balance(actors, strict=strict, clock=clock)
    balance.begin()
    return balance, clock


def test_in_turns_shares_are_of_the_drivers_time():
    balance, clock = made(4, strict=True)
    clock.now += 10
    for _ in range(2):
        balance.collected(report(2.0, 1.0, 0.5))
    balance.updated(3.0, 1.0)
    balance.published(0.5)
    assert balance.shares() == Shares(simulator=0.2, policy=0.1, learner=0.2, replay=0.2, publish=0.05)


def test_side_by_side_actors_are_averaged_and_replay_is_its_busier_side():
    balance, clock = made(4, strict=False)
    clock.now += 10
    for _ in range(4):
        balance.collected(report(8.0, 6.0, 1.0))
    balance.updated(5.0, 0.5)
    assert balance.shares() == Shares(simulator=0.6, policy=0.1, learner=0.45, replay=0.1, publish=0.0)


def test_only_the_last_seconds_count_and_before_the_beginning_none():
    balance, clock = made(1, strict=True)
    assert balance.shares() == Shares()
    clock.now += 1
    balance.updated(1.0, 0.0)
    assert balance.shares().learner == 1.0
    clock.now += 25
    balance.collected(report(5.0, 5.0, 0.0))
    assert balance.shares() == Shares(simulator=0.25)
    balance.end()
    clock.now += 100
    assert balance.shares() == Shares(simulator=0.25), "what comes after training is left out"


def test_a_call_longer_than_the_window_fills_it():
    balance, clock = made(1, strict=False)
    clock.now += 60
    balance.updated(60.0, 0.0)
    assert balance.shares().learner == 1.0


def test_metrics_that_come_only_sometimes():
    """The learner tells its losses every so many updates, and perhaps not yet how long it drew."""
    averages = Averages()
    for metrics in ({}, {"learner/critic_loss": 1.0}, {"learner/alpha": 3.0}, {"learner/critic_loss": 2.0}):
        averages.add(metrics)
    assert averages.flush() == {"learner/critic_loss": 1.5, "learner/alpha": 3.0}
    assert averages.flush() == {}


@pytest.mark.parametrize(
    ("shares", "strict", "answer"),
    [
        (Shares(simulator=0.5, policy=0.1, learner=0.3), True, "simulator"),
        (Shares(simulator=0.2, policy=0.4, learner=0.3), True, "policy"),
        (Shares(simulator=0.2, policy=0.1, learner=0.6), True, "learner"),
        (Shares(simulator=0.2, learner=0.2, replay=0.5), True, "replay"),
        (Shares(simulator=0.2, learner=0.2, publish=0.5), True, "publish"),
        (Shares(simulator=0.2, policy=0.1, learner=0.25), True, NOTHING),
        (Shares(simulator=0.4, policy=0.1, learner=0.5), False, NOTHING),
        (Shares(simulator=0.5, policy=0.4, learner=0.8), False, "simulator"),
        (Shares(simulator=0.5, policy=0.2, learner=0.8), False, "learner"),
        (Shares(), False, NOTHING),
    ],
)
def test_what_it_is_bound_by(shares, strict, answer):
    assert bound_by(shares, strict) == answer
    assert sentence(shares, strict).endswith(ADVICE[answer])


def test_shares_are_written_and_read():
    shares = Shares(0.1, 0.2, 0.3, 0.4, 0.5)
    assert shares.metrics()["time/learner_share"] == 0.3
    assert Shares.read({"step": 1, **shares.metrics()}) == shares
    assert Shares.read({"step": 1, "time/actors_busy": 0.5}) is None

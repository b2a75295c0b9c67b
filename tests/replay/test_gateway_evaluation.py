"""Evaluation by clients, with a real server: every episode once, whatever dies; and nothing said where nobody answers."""

import threading
import time

import numpy as np
import pytest

import simulators
from core.types import Weights
from outpost import wire
from outpost.link import Link
from replay.gateway_evaluation import Offers, Unanswered
from tests.replay.gateway_side import HORIZON, KEYS, PATIENCE_S, Redis, check_counting, end, opened, plan, start_client

WEIGHTS = Weights(5, {"w": np.arange(4, dtype=np.float32)})
EPISODES = [(0, 7 + slot, number) for slot in range(2) for number in range(4)]


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.kill()


class Evaluating:
    """An evaluator in a thread of its own, beside a gateway that goes on."""

    def __init__(self, redis, episodes=EPISODES, patience_s=60.0, **options):
        self.offers = Offers(Link(redis.url), KEYS, "run", 2.0, patience_s)
        self.found, self.reason = None, ""
        self.thread = threading.Thread(target=self._play, args=({"horizon": 6, **options}, episodes))
        self.thread.start()

    def _play(self, options, episodes):
        try:
            self.found = self.offers.play(WEIGHTS, options, episodes)
        except Unanswered as reason:
            self.reason = str(reason)

    @property
    def over(self):
        return not self.thread.is_alive()


def expected(episodes=EPISODES, horizon=6):
    """The same episodes in this process: ``dummy:point`` where nobody moves."""
    made = []
    for _, seed, number in episodes:
        simulator = simulators.make("dummy:point", seed, horizon=horizon, extra_fields=False)
        simulator.reset(number)
        steps = [simulator.step(np.zeros(2, np.float32)) for _ in range(horizon)]
        any_, first = any(s.success for s in steps), next((t + 1 for t, s in enumerate(steps) if s.success), -1)
        made.append((any_, steps[-1].success, first, horizon, sum(float(s.reward) for s in steps)))
    return made


def pointing(place, incarnation, count):
    return plan(place, incarnation, count, tasks=["dummy:point"], shown=[["obs", [4]]], options={"horizon": HORIZON, "action_dim": 2})


def assert_found(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert tuple(one[:4]) == other[:4]
        assert one.episode_return == pytest.approx(other[4], abs=1e-5)


def counted(place, incarnation, count):
    return plan(place, incarnation, count)


def test_clients_play_the_episodes_that_are_asked_for_and_training_goes_on(redis, shm):
    """While they wait for env steps, too: none are granted after the first."""
    clients = [start_client(redis.url, "--simulators", 2) for _ in range(2)]
    with opened(redis.url, shm) as side:
        side.until(lambda taken: side.total > 100)
        evaluating = Evaluating(redis)
        side.until(lambda taken: evaluating.over, steps=0)
        before = side.total
        side.until(lambda taken: side.total > before + 100)
        assert [end(client) for client in clients] == [0, 0]
        side.until(lambda taken: not side.gateway.sessions.members)
        check_counting(side.rows())
    assert [one.length for one in evaluating.found] == [6] * 8
    assert {one.episode_return for one in evaluating.found} == {21.0}, "the counter's, at its evaluation horizon"
    assert all(one.success_last and one.first_success == 6 for one in evaluating.found)
    assert redis.ask("EXISTS", KEYS.offers, KEYS.records, KEYS.evaluation) == 0, "nothing is left behind"

"""Evaluation by clients, with a real server: every episode once, whatever dies; and nothing said where nobody answers."""

import threading

import numpy as np
import pytest

from core.types import Weights
from outpost import wire
from outpost.link import Link, Refused
from replay.gateway_evaluation import Offers, Unanswered
from tests.replay.gateway_side import KEYS, PATIENCE_S, Redis, check_counting, end, opened, start_client, wait_for

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


def taken_by(redis):
    """How many episodes each client has in hand."""
    try:
        return [count for _, count in redis.ask("XPENDING", KEYS.offers, "clients")[3] or []]
    except Refused:  # nothing is on offer yet
        return []


def test_what_a_killed_client_had_taken_is_played_by_another(redis, shm):
    clients = [start_client(redis.url, "--simulators", 1) for _ in range(2)]
    with opened(redis.url, shm) as side:
        side.until(lambda taken: len(side.gateway.sessions.at_work()) == 2 and side.total > 30)
        evaluating = Evaluating(redis, slow_ms=100)
        side.until(lambda taken: len(taken_by(redis)) == 2)
        clients[0].kill()
        side.until(lambda taken: evaluating.over)
        assert end(clients[1]) == 0
    assert [one.length for one in evaluating.found] == [6] * 8


def test_a_server_that_is_killed_and_forgets_costs_nothing_but_time(redis, shm):
    client = start_client(redis.url, "--simulators", 2)
    with opened(redis.url, shm) as side:
        side.until(lambda taken: side.total > 30)
        evaluating = Evaluating(redis, slow_ms=100)
        side.until(lambda taken: taken_by(redis))
        redis.kill()
        redis.start()
        side.until(lambda taken: evaluating.over)
        assert end(client) == 0
        check_counting(side.rows())
    assert [one.length for one in evaluating.found] == [6] * 8


def test_where_nobody_answers_the_evaluation_is_missing_and_says_so(redis):
    evaluating = Evaluating(redis, patience_s=2.0)
    evaluating.thread.join(PATIENCE_S)
    assert evaluating.found is None
    said = "the evaluation of weights version 5 is missing: no answer of clients for 2 s (0 of 8 episodes are played, 0 clients are there)"
    assert evaluating.reason == said
    assert redis.ask("EXISTS", KEYS.offers, KEYS.evaluation) == 0


def test_an_episode_that_always_fails_is_given_up(redis, shm):
    client = start_client(redis.url, "--simulators", 4)
    with opened(redis.url, shm) as side:
        side.until(lambda taken: side.total > 30)
        evaluating = Evaluating(redis, fail_at_step=2, fail_variation=3)
        side.until(lambda taken: evaluating.over)
        assert end(client) == 0
    assert "simulators of clients failed 5 times in its episode" in evaluating.reason


def test_records_count_once_and_only_for_their_own_evaluation(redis):
    """No client here: what arrives is said by hand."""
    evaluating = Evaluating(redis, EPISODES[:2])
    wait_for(lambda: redis.ask("XLEN", KEYS.offers) == 2)
    header, _ = wire.unpack_arrays(redis.ask("GET", KEYS.evaluation), wire.EVALUATION)

    def told(number, returned, **changes):
        came = {"success_any": True, "success_last": False, "first_success": 2, "length": 3, "episode_return": returned}
        data = wire.frame(wire.RECORD, {"mark": header["mark"], "number": number, "lost": "", **came, **changes})
        redis.ask("XADD", KEYS.records, "*", "f", data)

    told(0, 1.0, mark="another")
    told(0, 1.5, length="3")
    told(0, float("nan"))
    told(7, 1.0)
    redis.ask("XADD", KEYS.records, "*", "f", b"junk")
    told(0, 2.0)
    told(0, 3.0)
    assert not evaluating.over
    told(1, 4.0)
    evaluating.thread.join(PATIENCE_S)
    assert [tuple(one) for one in evaluating.found] == [(True, False, 2, 3, 2.0), (True, False, 2, 3, 4.0)]

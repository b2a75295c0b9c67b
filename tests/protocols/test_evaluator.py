"""The evaluator counts whole episodes, the same number of every simulator, and is not fooled by quick successes."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.types import Field, TaskSpec, Weights
from protocols.evaluator import Evaluator

WEIGHTS = Weights(7, {})
ACTS = SimpleNamespace(act=lambda params, carry, obs, noise, task: (np.zeros((len(obs), 1), np.float32), carry, {}))


class Fake:
    """N simulators; simulator i succeeds always or never. Success ends the episode early, as in a benchmark that stops at it."""

    def __init__(self, succeeds: list[bool], quick: int = 100, horizon: int = 500, lost_at: int = -1) -> None:
        self.size, self.spec = len(succeeds), TaskSpec("fake", (Field("obs", (1,)),), 1, horizon)
        self.succeeds, self.quick, self.horizon, self.lost_at = np.array(succeeds), quick, horizon, lost_at
        self.obs = {"obs": np.zeros((self.size, 1), np.float32)}
        self.variations = np.zeros(self.size, int)

    def ready(self) -> None: ...

    def close(self) -> None: ...

    def reset(self, variations) -> None:
        self.t, self.clock = np.zeros(self.size, int), 0
        self.variations[:] = variations

    def send(self, actions) -> None:
        self.t += 1
        self.clock += 1

    def recv(self):
        terminated = self.succeeds & (self.t == self.quick)
        truncated = self.t == self.horizon
        lost = np.zeros(self.size, bool)
        if self.clock == self.lost_at:
            lost[0] = True
        ended = terminated | truncated | lost
        self.t[ended] = 0
        return SimpleNamespace(
            obs=self.obs, closing=self.obs, reward=np.ones(self.size, np.float32), terminated=terminated & ~lost,
            truncated=truncated & ~lost, success=terminated & ~lost, lost=lost,
        )  # fmt: skip


@pytest.mark.parametrize("good", [1, 5, 10])
def test_quick_successes_do_not_fill_the_quota(good):
    """Taking the first 60 episodes to end would report 0.17 to 0.75 far too high; the truth is good / 20."""
    fake = Fake([i < good for i in range(20)])
    result = Evaluator(ACTS, fake, 60).evaluate(WEIGHTS)
    assert len(result.success_any) == 60
    assert result.success_any.mean() == pytest.approx(good / 20)
    assert result.version == 7


def test_first_success_return_and_last():
    result = Evaluator(ACTS, Fake([True, False], quick=3, horizon=10), 4).evaluate(WEIGHTS)
    order = np.argsort(result.first_success)
    assert result.first_success[order].tolist() == [-1, -1, 3, 3]
    assert result.episode_return[order].tolist() == [10, 10, 3, 3]
    assert result.success_last[order].tolist() == [False, False, True, True]


def test_uneven_quota_and_more_simulators_than_episodes():
    assert len(Evaluator(ACTS, Fake([True] * 3, quick=2, horizon=5), 7).evaluate(WEIGHTS).success_any) == 7
    assert len(Evaluator(ACTS, Fake([True] * 9, quick=2, horizon=5), 4).evaluate(WEIGHTS).success_any) == 4


def test_a_lost_simulator_costs_an_episode_that_is_repeated():
    result = Evaluator(ACTS, Fake([False, False], horizon=10, lost_at=4), 4).evaluate(WEIGHTS)
    assert result.lost == 1
    assert result.episode_return.tolist() == [10, 10, 10, 10]

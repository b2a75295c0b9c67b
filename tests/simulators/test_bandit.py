"""Bandits: what an arm pays, which episodes share their arms, and the return of the best possible learner, known exactly."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

import simulators
from core.errors import ConfigError

Posterior = tuple[tuple[int, int], ...]
"""of each arm, how often it paid and how often it did not; sorted, as arms have no names"""


def bayes(arms: int) -> Callable[[Posterior, int], float]:
    """(posterior, pulls left) -> expected return of the best learner: dynamic programming over what can be known."""

    @cache
    def value(known: Posterior, left: int) -> float:
        return max(pulled(known, left, i) for i in range(arms)) if left else 0.0

    def pulled(known: Posterior, left: int, i: int) -> float:
        if i and known[i] == known[i - 1]:
            return -1.0  # the same as the arm before
        paid, not_paid = known[i]
        p = (paid + 1) / (paid + not_paid + 2)
        rest = known[:i] + known[i + 1 :]
        win, lose = (tuple(sorted((*rest, arm))) for arm in ((paid + 1, not_paid), (paid, not_paid + 1)))
        return p * (1 + value(win, left - 1)) + (1 - p) * value(lose, left - 1)

    return value


def one_hot(arm: int, arms: int) -> np.ndarray:
    return np.eye(arms, dtype=np.float32)[arm]


@pytest.mark.parametrize(("arms", "pulls", "expected"), [(2, 10, 6.0218), (2, 20, 12.4313), (5, 10, 6.6600)])
def test_the_best_learners_return_is_known(arms, pulls, expected):
    assert bayes(arms)(((0, 0),) * arms, pulls) == pytest.approx(expected, abs=5e-5)


def test_the_best_learner_gets_that_return():
    """The simulator against the exact value: a wrong prior, payout or horizon would show."""
    simulator, value = simulators.make("bandit:bernoulli", 11, arms=2, horizon=10), bayes(2)
    start, returns = ((0, 0), (0, 0)), []

    @cache
    def best(known: Posterior, left: int) -> int:
        def worth(i: int) -> float:
            (paid, lost), other = known[i], known[1 - i]
            p = (paid + 1) / (paid + lost + 2)
            win, lose = (tuple(sorted((arm, other))) for arm in ((paid + 1, lost), (paid, lost + 1)))
            return p * (1 + value(win, left - 1)) + (1 - p) * value(lose, left - 1)

        return max(range(2), key=worth)

    for variation in range(3000):
        simulator.reset(variation)
        known, total = list(start), 0.0
        for t in range(10):
            arm = best(tuple(known), 10 - t)
            reward = simulator.step(one_hot(arm, 2)).reward
            known[arm] = (known[arm][0] + int(reward), known[arm][1] + 1 - int(reward))
            total += reward
        returns.append(total)
    assert np.mean(returns) == pytest.approx(6.0218, abs=4 * np.std(returns) / len(returns) ** 0.5)


def test_an_arm_pays_as_often_as_its_probability_says():
    simulator = simulators.make("bandit:bernoulli", 3, arms=3, horizon=6000)
    simulator.reset(0)
    paid = np.zeros((3, 2000))
    for i in range(6000):
        step = simulator.step(one_hot(i % 3, 3))
        paid[i % 3, i // 3] = step.reward
        assert step.success == (i % 3 == np.argmax(simulator.probability))
    np.testing.assert_allclose(paid.mean(1), simulator.probability, atol=0.045)
    assert set(np.unique(paid)) == {0, 1}


def test_arms_are_uniform_and_those_of_a_trial_are_the_same():
    """Other episodes of a trial pay by other luck."""
    simulator, luck, arms = simulators.make("bandit:bernoulli", 3, repeat=4), [], []
    for variation in range(800):
        simulator.reset(variation)
        luck.append([simulator.step(one_hot(0, 5)).reward for _ in range(10)])
        arms.append(simulator.probability)
    trials = np.reshape(arms, (200, 4, 5))
    assert (trials == trials[:, :1]).all()
    assert len({trial.tobytes() for trial in trials[:, 0]}) == 200
    np.testing.assert_allclose(np.quantile(trials[:, 0], [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.06)
    assert any(luck[0] != other for other in luck[1:4])


def test_the_largest_number_chooses_the_arm():
    simulator = simulators.make("bandit:bernoulli", 3)
    spec = simulator.spec
    assert (spec.discrete, spec.action_dim, spec.horizon) == (True, 5, 10)
    simulator.reset(0)
    best = int(np.argmax(simulator.probability))
    action = np.full(5, -0.5, np.float32)
    action[best] = -0.1
    assert simulator.step(action).success
    with pytest.raises(ConfigError, match="'arms' of simulator bandit is 1"):
        simulators.check("bandit:bernoulli", {"arms": 1})

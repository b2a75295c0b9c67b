"""Random MDPs: what they are drawn from, which episodes share one, and the best return, which value iteration knows."""

import numpy as np
import pytest

import simulators
from simulators.tabular import values


def one_hot(action: int) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[action]


def episode(simulator, variation, choose):
    """Return, and on how many steps the action was the best one."""
    state, total, best = int(np.argmax(simulator.reset(variation)["obs"])), 0.0, 0
    for t in range(10):
        step = simulator.step(one_hot(choose(t, state)))
        state, total, best = int(np.argmax(step.obs["obs"])), total + step.reward, best + step.success
    return total, best


def test_value_iteration_bounds_what_is_possible():
    """The best policy gets what is foretold, with success at every step; a policy that chooses at random gets less."""
    simulator, rng = simulators.make("tabular:mdp", 5, repeat=500), np.random.default_rng(0)
    simulator.reset(0)
    foretold = simulator.values.copy()
    best = [episode(simulator, v, lambda t, state: int(np.argmax(foretold[t, state]))) for v in range(500)]
    returns = np.array([total for total, _ in best])
    assert {hits for _, hits in best} == {10}
    assert returns.mean() == pytest.approx(foretold[0, 0].max(), abs=4 * returns.std() / 500**0.5)
    random = np.array([episode(simulator, v, lambda *_: int(rng.integers(5)))[0] for v in range(500)])
    assert random.mean() < foretold[0, 0].max() - 3


def test_value_iteration_by_hand():
    """Two states, of which the second pays 1 and keeps: with two steps left, action 1 goes there."""
    reward = np.array([[0.5, 0.0], [1.0, 1.0]])
    transition = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_allclose(values(reward, transition, 3)[:, 0], [[1.0 + 0.5, 2.0], [1.0, 1.0], [0.5, 0.0]])


def test_mdps_are_drawn_as_the_paper_says():
    simulator = simulators.make("tabular:mdp", 5)
    rewards, transitions = [], []
    for variation in range(200):
        assert np.argmax(simulator.reset(variation)["obs"]) == 0
        rewards.append(simulator.reward)
        transitions.append(simulator.transition)
    assert (np.mean(rewards), np.std(rewards)) == pytest.approx((1, 1), abs=0.05)
    np.testing.assert_allclose(np.sum(transitions, -1), 1)
    # A flat Dirichlet over 10: mean 1/10, variance 9 / 1100.
    assert (np.mean(transitions), np.var(transitions)) == pytest.approx((0.1, 9 / 1100), abs=3e-4)


def test_rewards_and_transitions_are_those_of_the_mdp():
    simulator = simulators.make("tabular:mdp", 5, horizon=20_000)
    simulator.reset(3)
    rewards, counts = [], np.zeros((10, 10))
    state = 0
    for _ in range(20_000):
        step = simulator.step(one_hot(2))
        after = int(np.argmax(step.obs["obs"]))
        rewards.append(step.reward - simulator.reward[state, 2])
        counts[state, after] += 1
        state = after
    assert (np.mean(rewards), np.std(rewards)) == pytest.approx((0, 1), abs=0.04)
    often = counts.sum(1) > 1000
    np.testing.assert_allclose((counts / counts.sum(1, keepdims=True))[often], simulator.transition[often, 2], atol=0.06)


def test_a_trial_is_in_one_mdp():
    simulator, drawn = simulators.make("tabular:mdp", 5, repeat=3), []
    for variation in range(6):
        episode(simulator, variation, lambda *_: 0)
        drawn.append((simulator.reward.tobytes(), simulator.transition.tobytes()))
    assert len(set(drawn[:3])) == len(set(drawn[3:])) == 1
    assert drawn[0] != drawn[3]
    same = [episode(simulator, variation, lambda *_: 0)[0] for variation in (0, 1, 0)]
    assert same[0] == same[2] != same[1]

"""The navigation against its definition: where goals lie, how the point moves, what it earns."""

import numpy as np
import pytest

import simulators
from core.errors import ConfigError

NAME = "navigation:point"


def goal_of(simulator, variation):
    simulator.reset(variation)
    return simulator.goal.copy()


def test_goals_are_uniform_in_the_square_and_not_observed():
    simulator = simulators.make(NAME, 0)
    goals = np.array([goal_of(simulator, v) for v in range(500)])
    assert np.abs(goals).max() <= 0.5
    assert np.abs(goals.mean(0)).max() < 0.05
    np.testing.assert_allclose(goals.std(0), 1 / np.sqrt(12), atol=0.02)
    assert {tuple(simulator.reset(v)["obs"]) for v in range(10)} == {(0, 0)}


def test_the_episodes_of_a_trial_share_their_goal():
    simulator, single = simulators.make(NAME, 3, repeat=4), simulators.make(NAME, 3)
    for variation in range(12):
        np.testing.assert_array_equal(goal_of(simulator, variation), goal_of(single, variation // 4))
    assert len({tuple(goal_of(simulator, v)) for v in range(12)}) == 3
    assert (goal_of(single, 0) != goal_of(simulators.make(NAME, 4), 0)).any()


def test_a_step_is_clipped_and_the_reward_is_of_where_it_led():
    simulator = simulators.make(NAME, 0, horizon=3)
    simulator.reset(0)
    for action, expected in (([0.5, -0.25], [0.05, -0.025]), ([7, -3], [0.15, -0.125])):
        step = simulator.step(np.array(action, np.float32))
        np.testing.assert_allclose(step.obs["obs"], expected, atol=1e-7)
        np.testing.assert_allclose(step.reward, -np.linalg.norm(step.obs["obs"] - simulator.goal), atol=1e-7)
        assert (step.terminated, step.truncated) == (False, False)
    assert simulator.step(np.zeros(2, np.float32)).truncated


def test_who_knows_the_goal_gets_there():
    """Returns about -0.5 to -1, as a walk of six steps or fewer costs; the episode goes on after success."""
    simulator, returns = simulators.make(NAME, 1, horizon=20), []
    for variation in range(20):
        obs, rewards, successes = simulator.reset(variation)["obs"], [], []
        for _ in range(20):
            step = simulator.step((simulator.goal - obs) * 10)
            obs = step.obs["obs"]
            rewards.append(step.reward)
            successes.append(step.success)
            assert not step.terminated
        assert successes[-1]
        returns.append(sum(rewards))
    assert -1 < np.mean(returns) < -0.3


@pytest.mark.parametrize("options", [{"repeat": 0}, {"horizon": 0}, {"repeat": 1.5}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match="of simulator navigation is"):
        simulators.make(NAME, 0, **options)

"""The semicircle: goals that stay, rewards by hand, and what the best walk gets."""

import numpy as np
import pytest

import simulators
from core.errors import ConfigError
from simulators import semicircle


def walk(simulator, target, horizon=20):
    """Straight to ``target`` (2,), as fast as actions allow. Returns the episode's rewards, and the last step."""
    rewards, step, position = [], None, np.zeros(2)
    for _ in range(horizon):
        step = simulator.step(np.clip((target - position) / semicircle.STRIDE, -1, 1).astype(np.float32))
        position = step.obs["obs"]
        rewards.append(step.reward)
    return rewards, step


def test_goals_lie_on_the_upper_half_and_do_not_move():
    train, test = semicircle.points("train", 40), semicircle.points("test", 20)
    for goals in (train, test):
        np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1)
        assert (goals[:, 1] >= 0).all()
    both = np.concatenate([train, test])
    assert len(np.unique(both, axis=0)) == 60
    np.testing.assert_array_equal(semicircle.points("train", 7), train[:7])
    np.testing.assert_allclose(train[:2], [[-0.823158, 0.567813], [-0.846217, 0.532838]], atol=1e-6)


def test_a_step_moves_by_a_tenth_and_pays_for_where_it_led():
    simulator = simulators.make("semicircle:dense@3", 0)
    assert simulator.reset(0)["obs"].tolist() == [0, 0]
    step = simulator.step(np.array([1.0, -0.5], np.float32))
    np.testing.assert_allclose(step.obs["obs"], [0.1, -0.05], rtol=1e-6)
    goal = semicircle.points("train", 40)[3]
    assert step.reward == pytest.approx(-np.hypot(goal[0] - 0.1, goal[1] + 0.05))
    far = simulator.step(np.array([9.0, 0.0], np.float32))
    np.testing.assert_allclose(far.obs["obs"], [0.2, -0.05], rtol=1e-6)


@pytest.mark.parametrize(("task", "best"), [("dense", -3.84), ("sparse", 13.33)])
def test_the_best_walk_over_the_test_goals(task, best):
    """About what another draw of 20 goals gave; of these it is -3.66 and 13.63. Each number of an action is bounded by itself, so goals
    between the axes are reached sooner than those on them."""
    returns = []
    for number in range(20):
        simulator = simulators.make(f"semicircle:{task}@{number}", 0, split="test")
        simulator.reset(0)
        rewards, last = walk(simulator, semicircle.points("test", 20)[number])
        returns.append(sum(rewards))
        assert last.success and last.truncated and not last.terminated
    assert np.mean(returns) == pytest.approx(best, abs=0.35)


def test_who_stays_gets_minus_the_distance():
    simulator = simulators.make("semicircle:dense", 5)
    simulator.reset(0)
    assert sum(walk(simulator, np.zeros(2))[0]) == pytest.approx(-20)
    simulator = simulators.make("semicircle:sparse", 5)
    simulator.reset(0)
    rewards, last = walk(simulator, np.zeros(2))
    assert sum(rewards) == 0 and not last.success


def test_a_goal_is_drawn_by_seed_and_trial():
    def goals(seed, **options):
        simulator = simulators.make("semicircle:dense", seed, **options)
        return [(simulator.reset(v), tuple(simulator.goal))[1] for v in range(12)]

    assert goals(1) == goals(1) != goals(2)
    assert len(set(goals(1))) > 5
    shared = goals(1, repeat=3)
    assert all(shared[i] == shared[i - i % 3] for i in range(12)) and len(set(shared)) > 1
    assert not set(goals(1)) & set(goals(1, split="test"))
    assert set(goals(1, train_goals=1)) == {tuple(semicircle.points("train", 1)[0])}


def test_impossible_options_are_refused():
    with pytest.raises(ConfigError, match="option 'split'"):
        simulators.check("semicircle:dense", {"split": "both"})
    with pytest.raises(ConfigError, match="option 'train_goals'"):
        simulators.check("semicircle:dense", {"train_goals": 0})

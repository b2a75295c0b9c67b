"""Meta-World's scripted policies as ours: all load, act within bounds, leave the observation alone, and some tasks they always solve."""

import warnings

import numpy as np
import pytest

from core.errors import ConfigError
from simulators.metaworld.experts import expert
from simulators.metaworld.goals import vectors
from simulators.metaworld.tasks import TASKS

pytestmark = pytest.mark.metaworld


def _begin(task, goal):
    from simulators.metaworld import stock

    env = stock.environment(task, "v2", hide_goal=False)
    return env, stock.begin(env, vectors(task, "test")[goal])


@pytest.fixture(scope="module")
def observations():
    """Real first observations of three tasks."""
    found = []
    for task in ("reach-v3", "push-v3", "door-open-v3"):
        env, obs = _begin(task, 0)
        found.append(obs)
        env.close()
    return found


@pytest.mark.parametrize("task", TASKS)
def test_every_expert_acts_within_bounds_and_leaves_the_observation_alone(task, observations):
    act = expert(task)
    with warnings.catch_warnings(record=True) as warned:
        for obs in (*observations, *(obs.astype(np.float32) for obs in observations)):
            before = obs.copy()
            action = act(obs)
            assert action.shape == (4,) and action.dtype == np.float32
            assert np.isfinite(action).all() and (np.abs(action) <= 1).all()
            np.testing.assert_array_equal(obs, before)
            obs.flags.writeable = False
            np.testing.assert_array_equal(act(obs), action)  # no memory, and a read-only view is enough
            obs.flags.writeable = True
    assert not warned


@pytest.mark.parametrize("task", ["reach-v3", "button-press-topdown-v3", "drawer-close-v3"])
def test_experts_solve_frozen_goals(task):
    act = expert(task)
    for goal in range(3):
        env, obs = _begin(task, goal)
        solved = False
        for _ in range(150):
            obs, _, _, _, info = env.step(act(obs))
            solved = solved or bool(info["success"])
            if solved:
                break
        env.close()
        assert solved, f"goal {goal}"


def test_what_is_no_task_or_no_observation_is_refused():
    with pytest.raises(ConfigError, match="reach-v3"):
        expert("reach")
    with pytest.raises(ValueError, match="39"):
        expert("reach-v3")(np.zeros(21))

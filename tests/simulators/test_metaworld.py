"""Meta-World against its stock path, and what its options do."""

import pickle

import numpy as np
import pytest

import simulators
from core.errors import SimulatorError
from simulators.metaworld.tasks import TASKS

pytestmark = pytest.mark.metaworld
REACH = "metaworld:reach-v3"


def _actions(steps=30):
    return np.random.default_rng(1).uniform(-1, 1, (steps, 4)).astype(np.float32)


def _goals(simulator, variations):
    return np.array([simulator.reset(v)["obs"][-3:] for v in variations])


def test_the_static_list_is_metaworlds():
    from metaworld.env_dict import ENV_CLS_MAP

    assert sorted(TASKS) == sorted(ENV_CLS_MAP)


@pytest.mark.parametrize("task", ["reach-v3", "push-v3", "door-lock-v3", "window-close-v3"])
@pytest.mark.parametrize("hide_goal", [False, True])
def test_equals_stock_set_task_bit_for_bit(task, hide_goal):
    from metaworld.env_dict import ENV_CLS_MAP
    from metaworld.types import Task

    ours = simulators.make(f"metaworld:{task}", 3, hide_goal=hide_goal)
    first = ours.reset(4)["obs"]
    data = {"env_cls": ENV_CLS_MAP[task], "rand_vec": ours.env._last_rand_vec, "partially_observable": hide_goal}
    stock = ENV_CLS_MAP[task](reward_function_version="v2")
    if not hide_goal:
        _ = stock.sawyer_observation_space
    stock.set_task(Task(env_name=task, data=pickle.dumps(data)))
    np.testing.assert_array_equal(stock.reset()[0].astype(np.float32), first)
    for action in _actions():
        step, (obs, reward, _, _, info) = ours.step(action), stock.step(action)
        np.testing.assert_array_equal(step.obs["obs"], obs.astype(np.float32))
        assert (step.reward, step.success) == (reward, bool(info["success"]))


def test_a_visible_goal_stays_visible_after_the_first_step():
    simulator = simulators.make(REACH, 0)
    goal = simulator.reset(0)["obs"][-3:]
    assert goal.any()
    np.testing.assert_array_equal(simulator.step(np.zeros(4, np.float32)).obs["obs"][-3:], goal)


def test_a_hidden_goal_is_zeros_and_nothing_else_changes():
    shown, hidden = simulators.make(REACH, 0), simulators.make(REACH, 0, hide_goal=True)
    pairs = [(shown.reset(1), hidden.reset(1), 0.0, 0.0)]
    pairs += [(a.obs, b.obs, a.reward, b.reward) for a, b in ((shown.step(x), hidden.step(x)) for x in _actions(5))]
    for seen, unseen, reward, reward_hidden in pairs:
        np.testing.assert_array_equal(unseen["obs"][-3:], np.zeros(3))
        np.testing.assert_array_equal(unseen["obs"][:-3], seen["obs"][:-3])
        assert reward == reward_hidden


def test_one_goal_is_fixed_for_every_seed_and_episode():
    goals = np.concatenate([_goals(simulators.make(REACH, seed, goals=1), range(3)) for seed in (0, 1)])
    assert (goals == goals[0]).all()
    assert (_goals(simulators.make(REACH, 0, goals=1, goal_seed=1), [0]) != goals[0]).any()


def test_a_small_set_is_shared_by_all_seeds_and_used_up():
    sets = [{tuple(goal) for goal in _goals(simulators.make(REACH, seed, goals=3), range(15))} for seed in (0, 1)]
    assert sets[0] == sets[1]
    assert len(sets[0]) == 3


def test_fresh_goals_never_repeat_and_depend_on_the_seed():
    one, two = (_goals(simulators.make(REACH, seed, goals=0), range(6)) for seed in (0, 1))
    assert len({tuple(goal) for goal in np.concatenate([one, two])}) == 12


def test_reward_versions_differ_and_are_labelled():
    rewards = {}
    for version in ("v1", "v2"):
        simulator = simulators.make("metaworld:push-v3", 0, reward_version=version)
        simulator.reset(0)
        rewards[version] = [simulator.step(action).reward for action in _actions(5)]
        assert ("reward_version", version) in simulator.spec.labels
    assert rewards["v1"] != rewards["v2"]


@pytest.mark.parametrize("horizon", [150, 500])
def test_horizon(horizon):
    simulator = simulators.make(REACH, 0, horizon=horizon)
    for variation in range(2):
        simulator.reset(variation)
        truncated = [simulator.step(np.zeros(4, np.float32)).truncated for _ in range(horizon)]
        assert truncated == [False] * (horizon - 1) + [True]


def test_unstable_physics_is_a_retryable_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log file into the working directory
    simulator = simulators.make(REACH, 0)
    simulator.reset(0)
    simulator.env.data.qvel[:] = 1e12
    with pytest.raises(SimulatorError, match="unstable") as error:
        simulator.step(np.zeros(4, np.float32))
    assert error.value.retryable
    simulator.reset(0)

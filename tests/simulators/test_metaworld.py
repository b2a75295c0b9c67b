"""Meta-World against its stock path, and what its options do."""

import pickle

import numpy as np
import pytest

import simulators
from core.errors import ConfigError, SimulatorError
from simulators.metaworld.experts import expert
from simulators.metaworld.goals import vectors
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
@pytest.mark.parametrize("step", ["auto", "stock"])
def test_equals_stock_set_task_bit_for_bit(task, hide_goal, step):
    """Against the environment as its users make it, with neither our cache of models nor our way to freeze a vector."""
    from metaworld.env_dict import ENV_CLS_MAP
    from metaworld.types import Task

    ours = simulators.make(f"metaworld:{task}", 3, hide_goal=hide_goal, step=step)
    first = ours.reset(4)["obs"]
    data = {"env_cls": ENV_CLS_MAP[task], "rand_vec": ours.vector(4).copy(), "partially_observable": hide_goal}
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
    np.testing.assert_array_equal(goals[0], vectors("reach-v3", "train")[0, 3:].astype(np.float32))


def test_the_splits_have_other_goals():
    drawn = {split: {tuple(g) for g in _goals(simulators.make(REACH, 0, split=split), range(20))} for split in ("train", "test")}
    assert not drawn["train"] & drawn["test"]
    assert ("goals", "50 test") in simulators.make(REACH, 0, split="test").spec.labels


def test_a_small_set_is_shared_by_all_seeds_and_used_up():
    sets = [{tuple(goal) for goal in _goals(simulators.make(REACH, seed, goals=3), range(15))} for seed in (0, 1)]
    assert sets[0] == sets[1]
    assert len(sets[0]) == 3


def test_in_turn_a_variation_is_a_goal_whatever_the_seed():
    frozen = vectors("reach-v3", "test")[:4, 3:].astype(np.float32)
    for seed in (0, 9):
        simulator = simulators.make(REACH, seed, goals=4, split="test", order="in_turn")
        np.testing.assert_array_equal(_goals(simulator, range(9)), frozen[[0, 1, 2, 3, 0, 1, 2, 3, 0]])


@pytest.mark.parametrize("order", ["drawn", "in_turn"])
def test_a_trial_repeats_its_goal(order):
    goals = _goals(simulators.make(REACH, 0, order=order, repeat=3), range(9)).reshape(3, 3, 3)
    assert (goals == goals[:, :1]).all()
    assert len({tuple(trial[0]) for trial in goals}) == 3


def test_fresh_goals_repeat_only_within_a_trial():
    goals = _goals(simulators.make(REACH, 0, goals=0, repeat=2), range(4))
    assert (goals[0] == goals[1]).all()
    assert (goals[1] != goals[2]).any()


def test_fresh_goals_never_repeat_and_depend_on_the_seed():
    one, two = (_goals(simulators.make(REACH, seed, goals=0), range(6)) for seed in (0, 1))
    assert len({tuple(goal) for goal in np.concatenate([one, two])}) == 12


@pytest.mark.parametrize("step", ["auto", "stock"])
def test_without_the_previous_frame(step):
    whole, lean = simulators.make(REACH, 0, step=step), simulators.make(REACH, 0, frames=1, step=step)
    assert lean.spec.obs_dim == 21
    kept = np.r_[:18, 36:39]
    np.testing.assert_array_equal(lean.reset(0)["obs"], whole.reset(0)["obs"][kept])
    for action in _actions(5):
        np.testing.assert_array_equal(lean.step(action).obs["obs"], whole.step(action).obs["obs"][kept])


@pytest.mark.parametrize("step", ["auto", "stock"])
def test_a_sparse_reward_is_the_success_flag(step):
    simulator = simulators.make("metaworld:drawer-close-v3", 0, reward="sparse", step=step)
    obs, act, found = simulator.reset(0)["obs"], expert("drawer-close-v3"), []
    for _ in range(150):
        got = simulator.step(act(obs))
        obs = got.obs["obs"]
        assert got.reward == float(got.success)
        found.append(got.success)
    assert any(found)
    assert not all(found)


@pytest.mark.parametrize("step", ["auto", "stock"])
def test_reset_free_episodes_go_on_where_the_last_one_ended(step):
    simulator = simulators.make(REACH, 0, horizon=5, reset_every=3, step=step)
    first, last = [], []
    for variation in range(6, 10):
        first.append(simulator.reset(variation)["obs"])
        for action in _actions(5):
            got = simulator.step(action)
        last.append(got.obs["obs"])
        assert got.truncated
    for group in (1, 2):
        np.testing.assert_array_equal(first[group], last[group - 1])
    assert (first[3] != last[2]).any()
    assert (first[3][-3:] != first[0][-3:]).any()
    np.testing.assert_array_equal(simulators.make(REACH, 0, reset_every=3, step=step).reset(7)["obs"], first[0])


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


@pytest.mark.parametrize("step", ["auto", "stock"])
def test_unstable_physics_is_a_retryable_error(tmp_path, monkeypatch, step):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log file into the working directory
    simulator = simulators.make(REACH, 0, step=step)
    simulator.reset(0)
    simulator.stepper.data.qvel[:] = 1e12
    with pytest.raises(SimulatorError, match="unstable") as error:
        simulator.step(np.zeros(4, np.float32))
    assert error.value.retryable
    before = simulator.reset(0)["obs"]
    np.testing.assert_array_equal(simulators.make(REACH, 0).reset(0)["obs"], before)
    simulator.step(np.zeros(4, np.float32))


@pytest.mark.parametrize("step", ["auto", "stock"])
def test_reset_free_without_a_step_in_between_begins_at_the_reset(step):
    simulator = simulators.make(REACH, 0, reset_every=2, hide_goal=True, step=step)
    simulator.reset(0)
    simulator.step(np.ones(4, np.float32))
    first = simulator.reset(2)["obs"]
    np.testing.assert_array_equal(simulator.reset(3)["obs"], first)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"goals": 51}, "'goals' .* is 51. Allowed: 0 to 50"),
        ({"horizon": 501}, "'horizon' .* is 501. Allowed: 1 to 500"),
        ({"order": "in_turn", "goals": 0}, "fresh goals have no turn"),
        ({"frames": 3}, "'frames' .* is 3. Allowed: 1, 2"),
        ({"reset_every": 0}, "'reset_every' .* is 0"),
    ],
)
def test_impossible_options_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        simulators.check(REACH, options)

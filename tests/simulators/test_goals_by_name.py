"""A goal as a part of a task's name: ``reach-v3@7``, through every way a simulator is made, checked and stepped."""

import numpy as np
import pytest

import simulators
from core.errors import ConfigError
from simulators import semicircle
from simulators.pool import SimulatorPool

METAWORLD = {"hide_goal": True, "horizon": 10}


def test_the_parts_of_a_name():
    assert simulators.split("metaworld:reach-v3@7") == ("metaworld", "reach-v3@7")
    assert simulators.split_goal("reach-v3@7") == ("reach-v3", "7")
    assert simulators.split_goal("reach-v3") == ("reach-v3", None)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("semicircle:dense@40", {}, "Allowed with these options: 0 to 39"),
        ("semicircle:dense@20", {"split": "test"}, "0 to 19"),
        ("semicircle:dense@5", {"train_goals": 5}, "0 to 4"),
        ("semicircle:dense@-1", {}, "names goal '-1'"),
        ("semicircle:dense@07", {}, "names goal '07'"),
        ("semicircle:dense@", {}, "names goal ''"),
        ("semicircle:dense@1@2", {}, "names goal '1@2'"),
        ("semicircle:dence@1", {}, "Perhaps you meant 'dense'"),
        ("metaworld:reach-v3@50", {}, "0 to 49"),
        ("metaworld:reach-v3@1", {"goals": 1}, "0 to 0"),
        ("metaworld:reach-v3@1", {"goals": 0}, "every episode has a fresh one"),
        ("dummy:point@1", {}, "one of: metaworld, metaworld_vision, semicircle"),
        ("gym:Pendulum-v1@1", {}, "has none to name"),
    ],
)
def test_a_mistake_is_one_clear_line(name, options, says):
    for call in (lambda: simulators.check(name, options), lambda: simulators.make(name, 0, **options)):
        with pytest.raises(ConfigError) as error:
            call()
        assert says in str(error.value)
        assert "\n" not in str(error.value)


def test_good_names_pass():
    for name, options in (("metaworld:reach-v3@49", {}), ("semicircle:sparse@0", {}), ("semicircle:dense@19", {"split": "test"})):
        simulators.check(name, options)


def test_every_episode_of_every_seed_has_the_goal():
    for seed in (0, 1):
        simulator = simulators.make("semicircle:dense@3", seed, repeat=2)
        assert simulator.spec.task == "semicircle:dense@3"
        assert dict(simulator.spec.labels)["goals"] == "number 3 of train"
        for variation in range(5):
            simulator.reset(variation)
            assert simulator.goal.tolist() == semicircle.points("train", 40)[3].tolist()


def test_a_pool_of_goals_keeps_them_apart():
    """Through orders, processes and workers; a worker that had to be replaced would be told the same."""
    names = [f"semicircle:dense@{i}" for i in (3, 0, 3, 7)]
    with SimulatorPool(names, [0, 1, 2, 3], workers=2) as pool:
        assert [spec.task for spec in pool.specs] == names
        pool.reset([0, 1, 2, 3])
        for _ in range(25):
            step = pool.step(np.zeros((4, 2), np.float32))
        np.testing.assert_allclose(step.reward, -1, rtol=1e-6)
        step = pool.step(np.tile(np.array([1, 0], np.float32), (4, 1)))
    x = step.closing["obs"][:, 0]
    goals = semicircle.points("train", 40)[[3, 0, 3, 7]]
    np.testing.assert_allclose(step.reward, -np.hypot(goals[:, 0] - x, goals[:, 1]), rtol=1e-5)
    assert step.reward[0] == step.reward[2] != step.reward[1]
    with pytest.raises(ConfigError, match="0 to 39"):
        SimulatorPool(["semicircle:dense@3", "semicircle:dense@40"], [0, 1])


@pytest.mark.metaworld
@pytest.mark.parametrize("split", ["train", "test"])
def test_meta_world_plays_that_goal_of_its_split_only(split):
    from simulators.metaworld.goals import vectors

    simulator = simulators.make("metaworld:reach-v3@7", 5, split=split, **METAWORLD)
    assert simulator.spec.task == "metaworld:reach-v3@7"
    assert dict(simulator.spec.labels)["goals"] == f"number 7 of {split}"
    for variation in (0, 1, 12):
        assert simulator.vector(variation).tolist() == vectors("reach-v3", split)[7].tolist()
    simulator.close()


@pytest.mark.metaworld
def test_a_block_of_named_goals_steps_as_each_alone():
    """Different goals of one task share a model and one call of the fast step."""
    names, rng = ["metaworld:reach-v3@7", "metaworld:reach-v3@8", "metaworld:push-v3@7"], np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (12, 3, 4)).astype(np.float32)
    alone = []
    for i, name in enumerate(names):
        simulator = simulators.make(name, 0, **METAWORLD)
        simulator.reset(0)
        rewards = [simulator.step(actions[t, i]).reward for t in range(10)]
        simulator.reset(1)
        alone.append(rewards + [simulator.step(actions[t, i]).reward for t in (10, 11)])
        simulator.close()
    with SimulatorPool(names, [0, 0, 0], METAWORLD) as pool:
        assert [spec.task for spec in pool.specs] == names
        pool.reset([0, 0, 0])
        together = [pool.step(actions[t]).reward.copy() for t in range(12)]
    np.testing.assert_array_equal(np.array(together), np.array(alone, np.float32).T)
    assert together[0][0] != together[0][1]

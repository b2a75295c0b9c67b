"""Demonstrations of the vision benchmark: they succeed, their actions do so again, also with a policy's error, and they are whole."""

import numpy as np
import pytest

import simulators
from core.errors import SimulatorError
from core.poses import action_of, target_of
from core.types import Keyframes
from protocols.vision import META_WORLD, RESERVES
from simulators.metaworld_vision.names import BOUNDS
from simulators.pool import SimulatorPool
from tests.drawing import draws

pytestmark = [pytest.mark.metaworld, draws]
OPTIONS = {"image_size": 8, "split": "test", "order": "in_turn"}
GOALS = 3
KEYFRAMES = Keyframes(BOUNDS, ("front",), rotation=False)


def _coarse(action, levels=(0.8, 0.2), cells=16):
    """The middle of the cell that a coarse-to-fine policy would choose: of the workspace, then of a cube of 20 cm around that."""
    at, low = target_of(KEYFRAMES, action).position, np.array(BOUNDS[:3])
    for i, side in enumerate(levels):
        cell = side / cells
        middle = low + (np.floor((at - low) / cell) + 0.5) * cell
        low = middle - levels[i + 1] / 2 if i + 1 < len(levels) else low
    return action_of(KEYFRAMES, middle, action[3])


def _play(simulator, variation, actions):
    simulator.reset(variation)
    for action in actions:
        step = simulator.step(action)
        if step.terminated:
            break
    return step


@pytest.mark.parametrize("name", [*META_WORLD.tasks, *RESERVES[:3]])
def test_the_expert_succeeds_and_so_do_its_actions_again_exact_and_coarse(name):
    shows, repeats = simulators.make(name, 0, **OPTIONS), simulators.make(name, 9, **OPTIONS)
    for variation in range(GOALS):
        demo = shows.demonstrate(variation)
        assert 1 <= len(demo.actions) <= 6
        assert demo.success and _play(repeats, variation, demo.actions).success
        np.testing.assert_array_equal(repeats.hand.obs[:3], demo.motion["gripper_pose"][-1, :3])
        assert _play(repeats, variation, map(_coarse, demo.actions)).success


def test_a_demonstration_is_whole():
    simulator = simulators.make("metaworld_vision:pick-place-v3", 3)
    demo = simulator.demonstrate(4)
    T, F, k = len(demo.motion["gripper_pose"]), len(demo.frames), len(demo.keyframes)
    assert {name: (value.shape, value.dtype) for name, value in demo.motion.items()} == {
        "gripper_pose": ((T, 7), np.float64),
        "gripper_open": ((T,), np.float32),
        "joint_velocities": ((T, 7), np.float64),
    }
    assert demo.actions.shape == (k, 4) and demo.actions.dtype == np.float32
    assert (np.diff(demo.frames) > 0).all() and (np.diff(demo.keyframes) > 0).all()
    assert demo.keyframes[-1] == demo.frames[-1] == T - 1 and demo.frames[0] == 0
    assert set(demo.keyframes) | set(range(0, T, 10)) == set(demo.frames)
    assert list(demo.observations) == [field.name for field in simulator.spec.observation]
    for field in simulator.spec.observation:
        assert (demo.observations[field.name].shape, demo.observations[field.name].dtype) == ((F, *field.shape), field.dtype)
    np.testing.assert_allclose(demo.observations["gripper_pose"], demo.motion["gripper_pose"][demo.frames], atol=1e-9)
    np.testing.assert_array_equal(demo.observations["gripper_open"], demo.motion["gripper_open"][demo.frames])
    assert np.ptp(demo.motion["joint_velocities"], axis=0).min() > 0
    assert demo.task == "metaworld_vision:pick-place-v3" and demo.info["seed"] == "3" and demo.info["variation"] == "4"


def test_an_observation_of_a_demonstration_is_the_one_of_its_replay():
    name = "metaworld_vision:push-v3"
    demo = simulators.make(name, 3).demonstrate(4)
    seen = dict(zip(demo.frames.tolist(), range(len(demo.frames)), strict=True))
    with SimulatorPool(name, [3]) as pool:
        pool.reset([4])
        for keyframe, action in zip(demo.keyframes.tolist(), demo.actions, strict=True):
            step = pool.step(action[None])
            for field, values in demo.observations.items():
                np.testing.assert_array_equal(step.closing[field][0], values[seen[keyframe]], err_msg=field)
        assert step.success[0] and step.terminated[0] and step.reward[0] == 1


def test_an_expert_that_fails_says_so_and_the_simulator_goes_on():
    simulator = simulators.make("metaworld_vision:window-close-v3", 0, image_size=8, horizon=2)
    with pytest.raises(SimulatorError, match="window-close-v3 failed in episode 5") as failed:
        simulator.demonstrate(5)
    assert failed.value.retryable
    simulator.reset(0)
    assert simulator.step(np.zeros(4, np.float32)).obs["gripper_pose"].shape == (7,)

"""Meta-World by cameras and keyframes: what a step does, how episodes end, whose goals are played, what is refused."""

import numpy as np
import pytest

import simulators
from core.abilities import Demonstrating
from core.errors import ConfigError
from core.poses import action_of
from core.types import Keyframes
from simulators.metaworld import native
from simulators.metaworld_vision import Options, gl
from simulators.metaworld_vision.names import BOUNDS
from tests.drawing import draws

pytestmark = [pytest.mark.metaworld, draws]
SMALL = {"image_size": 16}


def _make(task="push-v3", seed=0, goal=None, **options):
    name = f"metaworld_vision:{task}" + ("" if goal is None else f"@{goal}")
    return simulators.make(name, seed, **{**SMALL, **options})


def _to(xyz, opened=True):
    return action_of(Keyframes(BOUNDS, ("front",), rotation=False), xyz, float(opened))


def test_a_step_brings_the_hand_to_the_pose_and_then_moves_the_fingers():
    simulator = _make("reach-v3", markers="hidden")
    obs = simulator.reset(0)
    assert obs["gripper_open"] == 1 == obs["obs"][0]
    for target, opened in (([-0.2, 0.5, 0.3], True), ([0.25, 0.8, 0.1], False), ([0.0, 0.6, 0.2], True)):
        step = simulator.step(_to(target, opened))
        assert not step.terminated
        assert np.linalg.norm(step.obs["gripper_pose"][:3] - target) < 0.012
        assert step.obs["gripper_open"] == float(opened) == step.obs["obs"][0]
        assert (step.obs["obs"][4] > 0.9) == opened
        assert np.linalg.norm(step.obs["gripper_pose"][3:]) == pytest.approx(1.0)
        np.testing.assert_allclose(step.obs["obs"][1:4], step.obs["gripper_pose"][:3], atol=1e-6)


def test_time_goes_from_one_to_minus_one_over_the_observations_that_are_acted_on():
    simulator = _make(horizon=5)
    times = [simulator.reset(0)["obs"][-1]] + [simulator.step(_to([0, 0.6, 0.3])).obs["obs"][-1] for _ in range(4)]
    np.testing.assert_allclose(times, np.linspace(1, -1, 5), atol=1e-6)


@pytest.mark.parametrize("target", [(0.0, 0.3, 0.3), (0.0, 0.6, 0.65), (0.0, 0.6, -0.1), (np.nan, 0.6, 0.2)])
def test_a_target_out_of_reach_fails_the_episode_and_leaves_the_observation(target):
    simulator = _make(failure_reward=-1.0)
    simulator.reset(0)
    before = simulator.step(_to([0.0, 0.6, 0.3])).obs
    action = _to(target)
    action[0] = target[0] if np.isnan(target[0]) else action[0]
    obs, *end = simulator.step(action)
    assert end == [-1.0, True, False, False]
    for name, value in before.items():
        np.testing.assert_array_equal(obs[name], value)


def test_success_ends_the_episode_with_reward_one():
    simulator = _make("reach-v3", goal=3)
    simulator.reset(0)
    goal = simulator.hand.obs[-3:]
    assert simulator.step(_to(goal + np.array([0, 0, 0.045])))[1:] == (1.0, True, False, True)


def test_the_workspace_is_a_cube_alike_for_all_tasks():
    assert np.ptp(np.diff(np.reshape(BOUNDS, (2, 3)), axis=0)) < 1e-12
    assert {_make(task).spec.keyframes.bounds for task in ("reach-v3", "box-close-v3")} == {BOUNDS}


def test_goals_are_those_of_metaworld():
    for options in ({"order": "in_turn", "goals": 7}, {"split": "test"}, {"goals": 0}, {"repeat": 3}):
        ours = simulators.make("metaworld_vision:push-v3", 4, **SMALL, **options)
        theirs = simulators.make("metaworld:push-v3", 4, **options)
        for variation in (0, 2, 8):
            ours.reset(variation)
            np.testing.assert_array_equal(ours.hand.obs.astype(np.float32), theirs.reset(variation)["obs"])


def test_stock_s_step_sees_and_does_the_same(monkeypatch):
    """Two simulators, since stock refuses to go on after 500 steps and ten keyframes are longer."""
    actions = [_to([0.1 * (-1) ** i, 0.5 + 0.03 * i, 0.3], opened=bool(i % 2)) for i in range(10)]

    def play():
        simulator = _make("door-unlock-v3")
        return [simulator.reset(2)] + [simulator.step(action).obs for action in actions]

    fast = play()
    monkeypatch.setattr(native, "unavailable", lambda: "a test")
    with pytest.warns(RuntimeWarning, match="stepped by stock"):
        stock = play()
    for one, other in zip(fast, stock, strict=True):
        for name, value in one.items():
            if name != "front_rgb":  # of models made separately, whose textures may be noise
                np.testing.assert_array_equal(value, other[name])


def test_it_can_show_how_it_is_done():
    assert isinstance(_make(), Demonstrating)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cameras": "fornt"}, "front"),
        ({"cameras": "front,front"}, "each camera once"),
        ({"image_size": 4096}, "at most 1024"),
        ({"servo_steps": 400}, "at most 250"),
        ({"goals": 51}, "at most 50"),
        ({"goals": 0, "order": "in_turn"}, "Set goals"),
    ],
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(ConfigError, match=says):
        Options(**options)


def test_a_machine_without_opengl_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv(gl.FOUND, raising=False)
    monkeypatch.setattr(gl, "_problem", lambda name: f"no lib{name}")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(ConfigError, match=r"egl: no libegl; osmesa: no libosmesa.*apt-get install libosmesa6"):
        gl.backend.__wrapped__()
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(ConfigError, match="needs a screen"):
        gl.backend.__wrapped__()


def test_the_first_backend_that_draws_is_taken_and_told_to_children(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv(gl.FOUND, "")
    monkeypatch.setattr(gl, "_problem", lambda name: "" if name == "osmesa" else "broken")
    assert gl.backend.__wrapped__() == "osmesa"
    monkeypatch.setattr(gl, "_problem", lambda name: "asked again")
    assert gl.backend.__wrapped__() == "osmesa"

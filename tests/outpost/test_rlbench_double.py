"""The double refuses what the real one would not survive, and has its quirks: else tests on it would prove nothing."""

import os

import numpy as np
import pytest


@pytest.fixture
def parts(rlbench_double):
    """What is needed to launch it by hand, with an environment that is launched."""
    from pyrep.const import RenderMode  # pyright: ignore[reportMissingImports]
    from rlbench.action_modes.action_mode import MoveArmThenGripper  # pyright: ignore[reportMissingImports]
    from rlbench.action_modes.arm_action_modes import EndEffectorPoseViaPlanning  # pyright: ignore[reportMissingImports]
    from rlbench.action_modes.gripper_action_modes import Discrete  # pyright: ignore[reportMissingImports]
    from rlbench.environment import Environment  # pyright: ignore[reportMissingImports]
    from rlbench.observation_config import CameraConfig, ObservationConfig  # pyright: ignore[reportMissingImports]
    from rlbench.tasks.reach_target import ReachTarget  # pyright: ignore[reportMissingImports]
    from rlbench_double import Misuse  # pyright: ignore[reportMissingImports]

    config = ObservationConfig(front_camera=CameraConfig(image_size=(32, 32), render_mode=RenderMode.OPENGL))
    mode = MoveArmThenGripper(EndEffectorPoseViaPlanning(), Discrete())
    env = Environment(mode, obs_config=config, headless=True)
    return {"env": env, "config": config, "mode": mode, "task": ReachTarget, "Misuse": Misuse, "Environment": Environment}


def test_defaults_are_slow_and_point_clouds_wide(parts, rlbench_double):
    _, seen = parts["env"].get_task(parts["task"]).reset()
    assert rlbench_double.done["slow_picture"] == 4 and rlbench_double.done["mask"] == 5
    assert seen.front_point_cloud.dtype == np.float64 and seen.front_point_cloud.shape == (32, 32, 3)
    assert seen.front_depth.dtype == np.float32 and 0 < seen.front_depth.min() < seen.front_depth.max() < 1
    assert type(seen.gripper_open) is float and seen.gripper_joint_positions is None
    assert seen.misc["front_camera_intrinsics"][0, 0] < 0 and "variation_index" in seen.misc


def test_slips_of_the_pen_are_refused(parts):
    for thing, name in ((parts["config"], "front_cam"), (parts["mode"], "arm_mode"), (parts["env"], "task")):
        with pytest.raises(parts["Misuse"]):
            setattr(thing, name, 1)
        with pytest.raises(AttributeError):
            getattr(thing, name)
    with pytest.raises(TypeError):
        parts["Environment"](parts["mode"], obs_conf=parts["config"])


def test_it_is_launched_once_and_used_where_it_was(parts):
    env = parts["env"]
    env.launch()
    with pytest.raises(RuntimeError, match="Already called launch"):
        env.launch()
    with pytest.raises(parts["Misuse"], match="launched twice"):
        parts["Environment"](parts["mode"], obs_config=parts["config"], headless=True).launch()
    child = os.fork()
    if not child:
        try:
            env.get_task(parts["task"])
        except parts["Misuse"]:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    env.shutdown()
    with pytest.raises(parts["Misuse"]):
        env._scene.get_observation()


@pytest.mark.parametrize("name", ["DISPLAY", "QT_QPA_PLATFORM_PLUGIN_PATH"])
def test_it_needs_its_environment(parts, monkeypatch, name):
    monkeypatch.delenv(name)
    with pytest.raises(parts["Misuse"], match=r"Aborted|display"):
        parts["env"].launch()


def test_demonstrations_that_are_not_recorded_run_into_rlbenchs_bug(parts):
    task = parts["env"].get_task(parts["task"])
    task.reset()
    with pytest.raises(UnboundLocalError):
        parts["env"]._scene.get_demo(record=False)


@pytest.mark.parametrize(
    "numbers", [[0.2, 0, 5, 1, 0, 0, 0, 1], [0.2, 0, 1, 2, 0, 0, 0, 1], [0.2, 0, 1, 1, 0, 0], [0.72, 0.6, 1.7, 1, 0, 0, 0, 1]]
)
def test_whatever_cannot_be_done_is_an_invalid_action(parts, numbers):
    from rlbench.backend.exceptions import InvalidActionError  # pyright: ignore[reportMissingImports]

    task = parts["env"].get_task(parts["task"])
    with pytest.raises(RuntimeError, match="Call 'reset' before"):
        task.step(np.array(numbers, float))
    task.reset()
    with pytest.raises(InvalidActionError):
        task.step(np.array(numbers, float))

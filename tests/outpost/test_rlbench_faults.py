"""What an RLBench simulator asks of RLBench, and what it makes of what goes wrong there: on the double only."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from outpost import Failed
from outpost.rlbench import BOUNDS, PLACINGS, RLBench
from tests.outpost.test_rlbench_life import SMALL, action, near


def test_only_the_pictures_that_are_asked_for_are_drawn_by_the_fast_renderer(rlbench_double):
    simulator = RLBench("reach_target", 0, cameras=2, **SMALL)
    seen = simulator.reset(0)
    simulator.step(action(near(seen)))
    done = rlbench_double.done
    assert done["picture"] == 2 * done["observe"] == 4
    assert not [name for name in ("slow_picture", "mask", "point_cloud", "joint_forces") if done[name]]


def test_a_demonstration_is_drawn_once_and_keeps_few_pictures(rlbench_double, monkeypatch):
    simulator = RLBench("push_buttons", 0, **SMALL)
    frames = []
    see = simulator._film.see
    monkeypatch.setattr(simulator._film, "see", lambda seen: (frames.append(seen), see(seen)))
    demo = simulator.demonstrate(0)
    total = len(demo["motion"]["gripper_pose"])
    assert rlbench_double.done["picture"] == total + 1  # and the reset's
    kept = [frame for frame in frames[1:] if frame.front_rgb is not None]
    assert len(demo["frames"]) <= len(kept) <= 0.55 * total
    assert all((frame.front_rgb is None) == (frame.front_depth is None) for frame in frames)


@pytest.mark.parametrize("cameras", [1, 3])
def test_a_pixel_shows_the_point_that_its_depth_and_the_matrices_say(rlbench_double, cameras):
    from pyrep.backend._sim_cffi import world  # pyright: ignore[reportMissingImports]

    simulator = RLBench("reach_target", 0, size=64, cameras=cameras)
    seen = simulator.reset(0)
    found = 0
    for camera in simulator.settings.cameras:
        depth = seen[f"{camera}_depth"].astype(float)
        v, u = np.mgrid[:64, :64]
        rays = np.stack([u * depth, v * depth, depth], -1) @ np.linalg.inv(seen[f"{camera}_intrinsics"]).T
        points = rays @ seen[f"{camera}_extrinsics"][:3, :3].T + seen[f"{camera}_extrinsics"][:3, 3]
        for ball in world.balls.values():
            shown = (seen[f"{camera}_rgb"] == (ball.colour * 255).astype(np.uint8)).all(-1)
            found += shown.sum()
            np.testing.assert_allclose(np.linalg.norm(points[shown] - ball.centre, axis=1), ball.radius, atol=1e-5)
    assert found > 20


@pytest.mark.parametrize("task", ["reach_target", "push_buttons"])  # which draw from numpy's generator, and from Python's
def test_an_episode_has_the_same_bits_whatever_was_before(rlbench_variants, task):
    simulator = RLBench(task, 3, **SMALL)

    def played(episode):
        seen = simulator.reset(episode)
        return [seen, *(simulator.step(action(near(seen, dx=0.01 * i)))[0] for i in range(3))]

    first = played(6)
    played(7)
    simulator.demonstrate(8)
    for before, after in zip(first, played(6), strict=True):
        for name, value in before.items():
            np.testing.assert_array_equal(value, after[name])


def test_what_cannot_be_placed_is_drawn_again(rlbench_variants):
    simulator = RLBench("pick_and_lift", 0, **SMALL)
    episodes = [simulator.reset(episode)["front_rgb"] for episode in range(8)]
    resets = rlbench_variants.done["reset"]
    assert 8 < resets < 8 * PLACINGS
    np.testing.assert_array_equal(episodes[0], simulator.reset(0)["front_rgb"])
    for episode in range(8):  # demonstrations redraw likewise, and so begin alike
        np.testing.assert_array_equal(simulator.demonstrate(episode)["observations"]["front_rgb"][0], episodes[episode])


def test_what_can_never_be_placed_fails_the_episode(rlbench_variants):
    simulator = RLBench("stack_chairs", 0, **SMALL)
    for begin in (simulator.reset, simulator.demonstrate):
        with pytest.raises(Failed, match="cannot be placed in episode 4, tried 5 times: TaskEnvironmentError: Could not place") as failure:
            begin(4)
        assert failure.value.retryable and "\n" not in failure.value.message


def test_a_task_without_waypoints_cannot_be_shown_but_played(rlbench_variants):
    simulator = RLBench("open_box", 0, **SMALL)
    with pytest.raises(Failed, match=r"open_box failed in episode 2: Error in task open_box\. No waypoints were found") as failure:
        simulator.demonstrate(2)
    assert failure.value.retryable
    assert simulator.step(action(near(simulator.reset(2))))[2] is False
    assert rlbench_variants.done["demo"] == 1


def test_where_rlbench_does_not_log_why_it_is_told_what_it_raised(rlbench_double, monkeypatch):
    import logging

    simulator = RLBench("open_box", 0, **SMALL)
    from rlbench import task_environment  # pyright: ignore[reportMissingImports]

    with pytest.raises(Failed, match="No waypoints"):
        simulator.demonstrate(2)
    assert task_environment.logging is logging
    monkeypatch.setattr("outpost.rlbench_words._MODULE", "elsewhere")
    with pytest.raises(Failed, match="failed in episode 2: RuntimeError: Could not collect demos"):
        simulator.demonstrate(2)


def test_a_failed_demonstration_leaves_nothing_thinned_out(rlbench_double):
    simulator = RLBench("open_box", 0, **SMALL)
    with pytest.raises(Failed):
        simulator.demonstrate(0)
    seen = simulator.reset(0)
    for i in range(5):
        seen = simulator.step(action(near(seen, dx=0.01 * i, dz=-0.01)))[0]
    assert seen["front_rgb"].shape == (32, 32, 3)


def test_a_fail_condition_ends_the_episode_without_the_penalty(rlbench_variants):
    simulator = RLBench("push_buttons", 0, penalty=-1.0, **SMALL)
    low = near(simulator.reset(0))
    low[2] = 0.76
    assert simulator.step(action(low))[1:] == (0.0, True, False, False)


def test_the_reward_is_sparse_where_rlbench_would_shape_it(rlbench_variants):
    simulator = RLBench("reach_target", 0, **SMALL)
    assert simulator.step(action(near(simulator.reset(0))))[1] == 0.0


def test_ways_go_through_things_only_where_that_is_asked_for(rlbench_variants):
    from pyrep.backend._sim_cffi import world  # pyright: ignore[reportMissingImports]

    free, asked = RLBench("push_buttons", 0, **SMALL), None
    for episode, (ninth, fails) in enumerate([(None, False), (-1.0, True), (1.0, False)]):
        if ninth is not None and asked is None:
            free.close()
            asked = RLBench("push_buttons", 0, collisions=True, **SMALL)
        simulator = free if asked is None else asked
        seen = simulator.reset(episode)
        pose = np.concatenate([world.balls["button3"].centre, seen["gripper_pose"][3:]])
        assert simulator.step(action(pose, 1.0, *([] if ninth is None else [ninth])))[2] is fails


def test_inverse_kinematics_goes_a_small_way_only(rlbench_variants):
    simulator = RLBench("reach_target", 0, arm="ik", **SMALL)
    assert simulator.step(action(near(simulator.reset(0), dz=-0.05)))[2] is False
    assert simulator.step(action(near(simulator.reset(0), dz=-0.3)))[2] is True


@pytest.mark.parametrize("error", ["InvalidActionError", "ConfigurationPathError", "IKError"])
def test_failed_plans_end_the_episode_and_the_next_one_is_well(rlbench_variants, error):
    rlbench_variants.script({"at": "step", "nth": 1, "do": f"{error}: no way"})
    simulator = RLBench("reach_target", 0, penalty=-2, **SMALL)
    first = simulator.step(action(near(simulator.reset(0))))[0]
    seen, *outcome = simulator.step(action(near(first)))
    assert outcome == [-2.0, True, False, False] and seen["obs"].tolist() == first["obs"].tolist()
    assert simulator.step(action(near(simulator.reset(1))))[2] is False


@pytest.mark.parametrize(("at", "where"), [("reset", "episode 3"), ("step", "step")])
def test_anything_else_is_told_in_one_line_and_retryable(rlbench_variants, at, where):
    rlbench_variants.script({"at": at, "do": "RuntimeError: The call failed on the V-REP side.\n Return value: -1"})
    simulator = RLBench("reach_target", 0, **SMALL)
    told = f"RLBench failed at {where} of reach_target: RuntimeError: The call failed on the V-REP side. Return value: -1"
    with pytest.raises(Failed, match=told) as failure:
        simulator.step(action(near(simulator.reset(3))))
    assert failure.value.retryable
    # Of what it broke inside, nothing is left: the next episode is one of a fresh launch.
    assert simulator.step(action(near(simulator.reset(3))))[2] is False
    assert rlbench_variants.done["launch"] == 2 and rlbench_variants.done["shutdown"] == 1


def test_a_launch_that_fails_can_be_tried_again_from_the_same_folder(rlbench_variants, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rlbench_variants.script({"at": "task", "do": "RuntimeError: Handle reach_target does not exist."})
    with pytest.raises(Failed, match="does not launch with reach_target: RuntimeError: Handle") as failure:
        RLBench("reach_target", 0, **SMALL)
    assert failure.value.retryable and str(tmp_path) == str(tmp_path.cwd())
    RLBench("reach_target", 0, **SMALL).reset(0)


def test_a_shutdown_that_fails_is_told_and_over(rlbench_double):
    rlbench_double.script({"at": "shutdown", "do": "RuntimeError: stuck"})
    simulator = RLBench("reach_target", 0, **SMALL)
    with pytest.raises(Failed, match="at shutdown"):
        simulator.close()
    simulator.close()


@pytest.mark.parametrize(("task", "says"), [("wipe_desk", "no class WipeDesk"), ("no_such_task", "No module named"), ("../x", "no task")])
def test_a_task_that_is_not_there_is_no_matter_of_trying_again(rlbench_variants, task, says):
    with pytest.raises(Failed, match=says) as failure:
        RLBench(task, 0)
    assert not failure.value.retryable


def test_a_launch_anew_that_fails_is_tried_again_and_closed_stays_closed(rlbench_double):
    rlbench_double.script({"at": "step", "do": "RuntimeError: x"}, {"at": "task", "nth": 1, "do": "RuntimeError: y"})
    simulator = RLBench("reach_target", 0, **SMALL)
    seen = simulator.reset(0)
    with pytest.raises(Failed, match="RuntimeError: x"):
        simulator.step(action(near(seen)))
    with pytest.raises(Failed, match="does not launch with reach_target: RuntimeError: y"):
        simulator.reset(0)
    np.testing.assert_array_equal(simulator.reset(0)["front_rgb"], seen["front_rgb"])
    simulator.close()
    with pytest.raises(Failed, match="was closed"):
        simulator.reset(0)


def test_a_reset_that_breaks_in_a_demonstration_is_not_the_experts_failure(rlbench_variants):
    rlbench_variants.script({"at": "reset", "do": "RuntimeError: Expected to be resetting 7 objects, but there were 6."})
    simulator = RLBench("reach_target", 0, **SMALL)
    with pytest.raises(Failed, match="RLBench failed at episode 1 of reach_target"):
        simulator.demonstrate(1)
    assert simulator.demonstrate(1)["success"] and rlbench_variants.done["launch"] == 2


@pytest.mark.parametrize("name", ["COPPELIASIM_ROOT", "LD_LIBRARY_PATH"])
def test_a_process_without_its_environment_is_told_which(rlbench_double, monkeypatch, name):
    monkeypatch.delenv(name)
    monkeypatch.setattr("outpost.rlbench_places._PARENTS", ())
    with pytest.raises(Failed, match=f"{name} (is not set|does not name)") as failure:
        RLBench("reach_target", 0)
    assert not failure.value.retryable


def test_what_can_be_set_late_is_set(rlbench_double, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", "is put back at the end")
    del os.environ["QT_QPA_PLATFORM_PLUGIN_PATH"]
    RLBench("reach_target", 0, **SMALL).reset(0)
    assert os.environ["QT_QPA_PLATFORM_PLUGIN_PATH"] == os.environ["COPPELIASIM_ROOT"]


@pytest.mark.parametrize("code", ["class Repository: ...\n", "import a_package_that_is_not_there\n"])
def test_the_other_package_called_pyrep_is_told_apart(rlbench_double, monkeypatch, tmp_path, code):
    (tmp_path / "pyrep").mkdir()
    (tmp_path / "pyrep" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Failed, match="pip uninstall pyrep") as failure:
        RLBench("reach_target", 0)
    assert not failure.value.retryable


def test_a_pyrep_that_was_not_compiled_is_told(rlbench_double, monkeypatch, tmp_path):
    (tmp_path / "pyrep" / "backend").mkdir(parents=True)
    (tmp_path / "pyrep" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Failed, match="without its compiled part"):
        RLBench("reach_target", 0)


ENDING = """
import atexit, sys, rlbench_double
atexit.register(lambda: print(rlbench_double.done["shutdown"], flush=True))
from outpost.rlbench import RLBench
simulator = RLBench("reach_target", 0, size=8)
simulator.reset(0)
{then}
"""


@pytest.mark.parametrize(
    ("then", "shut_down"), [("", 1), ("simulator.close()", 1), ("sys.exit(raised)", 1), ("simulator._broken = True", 0)]
)
def test_a_process_that_ends_shuts_its_simulator_down(rlbench_double, then, shut_down):
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", ENDING.format(then=then)], cwd=root, capture_output=True, text=True)
    assert done.stdout == f"{shut_down}\n" and ("NameError" in done.stderr) == ("raised" in then)


def test_what_rlbench_lacks_itself_is_told(rlbench_double):
    rlbench_double.script({"at": "import", "do": "ModuleNotFoundError: No module named 'gymnasium'"})
    with pytest.raises(Failed, match=r"cannot be imported: No module named 'gymnasium'\. docs/rlbench\.md"):
        RLBench("reach_target", 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cameras": 0}, "Allowed: 1 to 5"),
        ({"cameras": "front,front"}, "each once"),
        ({"size": 4}, "8 to 1024"),
        ({"horizon": True}, "1 to 1000000"),
        ({"variation": -2}, "-1 to"),
        ({"penalty": float("nan")}, "a number"),
        ({"arm": "legs"}, "planning, ik"),
        ({"collisions": True, "arm": "ik"}, "False with arm ik"),
        ({"colisions": True}, "unknown option"),
    ],
)
def test_options_are_checked_before_anything_starts(options, says):
    with pytest.raises(Failed, match=says):
        RLBench("reach_target", 0, **options)


def test_the_bounds_are_those_of_c2farm():
    assert BOUNDS == (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)

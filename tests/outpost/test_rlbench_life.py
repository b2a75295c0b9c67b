"""The life of an RLBench simulator, on each double, and with ``-m rlbench`` on the real one."""

import contextlib
import io
import os
import random
import threading

import numpy as np
import pytest

from outpost import Failed, poses
from outpost.rlbench import BOUNDS, RLBench, fields

SMALL = {"size": 32}


def action(pose, opened=1.0, *ninth):
    """The action (8,) or (9,) that goes to a pose (7,)."""
    low, high = np.array(BOUNDS).reshape(2, 3)
    return np.array([*((pose[:3] - low) / (high - low) * 2 - 1), *pose[3:], opened, *ninth], np.float32)


def near(seen, dx=0.0, dy=0.0, dz=-0.1):
    """A pose not far from where the gripper is."""
    return seen["gripper_pose"] + [dx, dy, dz, 0, 0, 0, 0]


@pytest.fixture
def make(rlbench_place):
    """Makes a simulator, one at a time."""
    made = []

    def one(task="reach_target", seed=0, **options):
        while made:
            made.pop().close()
        made.append(RLBench(task, seed, **{**SMALL, **options}))
        return made[-1]

    return one


def test_what_is_seen_is_what_was_promised(make):
    for options in ({}, {"cameras": ["wrist", "overhead"], "size": 24}):
        simulator = make(**options)
        for seen in (simulator.reset(3), simulator.step(action(near(simulator.reset(3))))[0]):
            promised = fields({**SMALL, **options})
            assert list(seen) == [name for name, *_ in promised]
            for name, shape, dtype, _ in promised:
                assert (seen[name].shape, seen[name].dtype) == (shape, dtype), name


def test_the_low_dimensional_state_is_gripper_fingers_and_time(make):
    simulator = make(horizon=3)
    seen = simulator.reset(0)
    state = seen["obs"]
    assert state[0] == seen["gripper_open"] == 1
    np.testing.assert_array_equal(state[1:8], seen["gripper_pose"].astype(np.float32))
    assert (state[8:10] >= 0).all() and (state[8:10] <= np.float32(0.04)).all() and state[8] > 0.035
    times = [state[-1]] + [simulator.step(action(near(seen, dz=-0.03 * i)))[0]["obs"][-1] for i in (1, 2)]
    assert times == [1, 0, -1]


def test_focal_lengths_stay_negative_and_depths_are_metres(make):
    seen = make().reset(1)
    intrinsics = seen["front_intrinsics"]
    assert intrinsics[0, 0] < 0 and intrinsics[1, 1] < 0 and intrinsics[0, 0] == pytest.approx(-16 / np.tan(np.radians(20)), rel=1e-3)
    assert 0.5 < seen["front_depth"].min() < seen["front_depth"].max() < 4.5
    np.testing.assert_allclose(seen["front_extrinsics"][3], [0, 0, 0, 1])
    turned = seen["front_extrinsics"][:3, :3]
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-5)


def test_the_gripper_goes_where_it_is_told_and_closes(make):
    simulator = make()
    pose = near(simulator.reset(0), dx=0.03, dy=0.05)
    seen, reward, terminated, truncated, success = simulator.step(action(pose, -1.0))
    np.testing.assert_allclose(seen["gripper_pose"][:3], pose[:3], atol=0.01)
    assert (reward, terminated, truncated, success) == (0.0, False, False, False)
    assert seen["gripper_open"] == seen["obs"][0] == 0
    assert simulator.step(action(pose, 1.0))[0]["gripper_open"] == 1


def test_the_horizon_truncates(make):
    simulator = make(horizon=2)
    seen = simulator.reset(0)
    assert [simulator.step(action(near(seen, dz=-0.02 * i)))[2:4] for i in (1, 2)] == [(False, False), (False, True)]


OUT = {
    "beyond the workspace of the action": [1.5, 0, 0, 1, 0, 0, 0, 1],
    "below the table": [0, 0, -1, 1, 0, 0, 0, 1],
    "out of reach": [1, 1, 1, 1, 0, 0, 0, 1],
    "no rotation": [0, 0, 0, 0, 0, 0, 0, 1],
    "not a number": [np.nan, 0, 0, 1, 0, 0, 0, 1],
    "a rotation that is not a number": [0, 0, 0, np.nan, 0, 0, 0, 1],
}


@pytest.mark.parametrize("numbers", OUT.values(), ids=OUT)
def test_what_cannot_be_reached_ends_the_episode_with_the_penalty(make, numbers):
    simulator = make(penalty=-0.5)
    simulator.reset(0)
    before = simulator.step(action(near(simulator.reset(0))))[0]
    seen, *outcome = simulator.step(np.array(numbers, np.float32))
    assert outcome == [-0.5, True, False, False]
    for name, value in before.items():
        np.testing.assert_array_equal(seen[name], value)
    again = simulator.reset(1)
    assert again["obs"][-1] == 1 and simulator.step(action(near(again)))[2] is False


def test_a_quaternion_of_any_length_is_a_rotation(make):
    simulator = make()
    pose = near(simulator.reset(0))
    pose[3:] *= -0.3
    assert simulator.step(action(pose))[2] is False


@pytest.mark.parametrize("task", ["reach_target", "pick_and_lift"])
def test_the_keyframes_of_a_demonstration_lead_to_success(make, task):
    simulator = make(task, 1)
    for episode in range(2):
        demo = simulator.demonstrate(episode)
        frames, keyframes, moved = demo["frames"], demo["keyframes"], demo["motion"]
        total = len(moved["gripper_pose"])
        assert demo["success"] is True and keyframes[-1] == total - 1 and keyframes[0] > 0
        assert frames.tolist() == sorted({*range(0, total, 10), *keyframes.tolist(), total - 1})
        assert frames.dtype == keyframes.dtype == np.int64
        np.testing.assert_array_equal(keyframes, poses.keyframes(moved["gripper_open"], moved["joint_velocities"]))
        for name, shape, dtype, _ in fields(SMALL):
            assert (demo["observations"][name].shape, demo["observations"][name].dtype) == ((len(frames), *shape), dtype)
        np.testing.assert_array_equal(demo["observations"]["gripper_pose"], moved["gripper_pose"][frames])
        assert (demo["observations"]["obs"][:, -1] == 1).all()
        simulator.reset(episode)
        aims = [action(moved["gripper_pose"][key], 1.0 if moved["gripper_open"][key] else -1.0) for key in keyframes]
        ends = [simulator.step(aim)[1:] for aim in aims]
        assert (1.0, True, False, True) in ends, ends


def test_a_demonstration_says_where_it_comes_from(make):
    info = make(seed=4, variation=1).demonstrate(7)["info"]
    assert {"simulator": "rlbench", "seed": "4", "variation": "7", "rlbench_variation": "1"}.items() <= info.items()
    assert "target" in info["description"] and all(isinstance(value, str) for value in info.values())


def test_a_demonstration_begins_as_the_reset_of_its_episode(make):
    simulator = make(seed=2)
    seen, demo = simulator.reset(5), simulator.demonstrate(5)
    for name in ("gripper_pose", "front_extrinsics"):
        np.testing.assert_allclose(demo["observations"][name][0], seen[name], atol=5e-3)
    assert np.abs(demo["observations"]["front_rgb"][0].astype(int) - seen["front_rgb"]).mean() < 1


def test_an_episode_is_a_function_of_seed_and_number(make):
    simulator = make(seed=3)
    first, other = simulator.reset(6), simulator.reset(7)
    simulator.step(action(near(other)))
    again, elsewhere = simulator.reset(6), make(seed=4).reset(6)
    assert np.abs(again["front_rgb"].astype(int) - first["front_rgb"]).mean() < 1
    assert (other["front_rgb"] != first["front_rgb"]).any() and (elsewhere["front_rgb"] != first["front_rgb"]).any()


def test_variations_are_chosen_or_drawn(make):
    drawn = {make(variation=-1).demonstrate(episode)["info"]["rlbench_variation"] for episode in range(6)}
    assert len(drawn) > 1 and drawn <= {str(number) for number in range(20)}
    with pytest.raises(Failed, match="999 is none of them") as failure:
        make(variation=999)
    assert not failure.value.retryable
    make(variation=0).reset(0)


def test_the_global_random_states_are_left_alone(make):
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    simulator = make("push_buttons")
    simulator.step(action(near(simulator.reset(0))))
    simulator.demonstrate(1)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]


def test_it_prints_nothing(make):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        simulator = make("push_buttons")
        simulator.reset(0)
        simulator.demonstrate(0)
        simulator.close()
    assert said.getvalue() == ""


def test_it_stays_in_its_folder(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().close()
    assert os.getcwd() == str(tmp_path)


def test_one_per_process_one_thread_and_no_fork(make):
    simulator = make()
    with pytest.raises(Failed, match="this process has a simulator of reach_target already"):
        RLBench("reach_target", 0)
    problems = []

    def use():
        try:
            simulator.reset(0)
        except Failed as failure:
            problems.append(failure.message)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "another process or thread" in problems[0]
    child = os.fork()
    if not child:
        use()
        simulator.close()
        os._exit(len(problems) == 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    simulator.reset(0)


def test_closed_is_closed_and_another_may_be_launched(make):
    simulator = make()
    simulator.close()
    simulator.close()
    with pytest.raises(Failed, match="was closed"):
        simulator.reset(0)
    make().reset(0)


def test_steps_need_an_episode_and_actions_their_shape(make):
    simulator = make()
    with pytest.raises(Failed, match="call reset before step"):
        simulator.step(np.zeros(8, np.float32))
    simulator.demonstrate(0)
    with pytest.raises(Failed, match="call reset before step"):
        simulator.step(np.zeros(8, np.float32))
    simulator.reset(0)
    with pytest.raises(Failed, match=r"shape \(9,\). Allowed: \(8,\)"):
        simulator.step(np.zeros(9, np.float32))


def test_what_was_seen_is_not_written_again(make):
    simulator = make()
    first = simulator.reset(0)
    kept = {name: value.copy() for name, value in first.items()}
    simulator.step(action(near(first)))
    simulator.reset(1)
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])

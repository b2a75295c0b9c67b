"""Keyframes by hand and of real RLBench demonstrations, and the chains from keyframe to keyframe."""

from pathlib import Path

import numpy as np
import pytest

from core.demos import Demo, chains, check, keyframes
from core.errors import DemoError

REAL = sorted((Path(__file__).parents[1] / "data" / "rlbench").glob("*.npz"))


def motion(opened, still=()):
    """Of an arm that stands still at the frames ``still``."""
    speed = np.ones((len(opened), 7))
    speed[list(still)] = 0.05
    pose = np.zeros((len(opened), 7))
    pose[:, 0], pose[:, 6] = np.arange(len(opened)), 1
    return {"gripper_open": np.array(opened, np.float32), "joint_velocities": speed, "gripper_pose": pose}


OPEN = [1] * 20
BY_HAND = {
    "the end alone": (OPEN, [], [19]),
    "a standstill": (OPEN, [7], [7, 19]),
    "a long one is noticed again after four frames": (OPEN, range(5, 13), [5, 10, 19]),
    "not at the first frame, but it begins a pause": (OPEN, range(8), [5, 19]),
    "the gripper closes and opens": ([1] * 6 + [0] * 6 + [1] * 8, [], [6, 12, 19]),
    "not around a change: two frames before, one after": ([1] * 8 + [0] * 12, range(7, 10), [8, 19]),
    "again when the change is past": ([1] * 8 + [0] * 12, [10], [8, 10, 19]),
    "not one frame before the end": (OPEN, [18], [19]),
    "two before it": (OPEN, [17], [17, 19]),
    "of two at the end the first is left out": ([1] * 18 + [0] * 2, [], [19]),
    "of three the one in the middle": ([1] * 17 + [0, 1, 1], [], [17, 19]),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_keyframes_by_hand(case):
    opened, still, expected = BY_HAND[case]
    assert keyframes(motion(opened, still)).tolist() == expected


def test_the_frames_before_the_first_are_the_last():
    """Frame 1 stands still with an open gripper, but frame -1 of a demonstration that ends closed does not agree."""
    still_open = motion(OPEN, [1])
    assert keyframes(still_open).tolist() == [1, 19]
    assert keyframes(motion([1] * 10 + [0] * 10, [1])).tolist() == [10, 19]


def test_how_slow_is_standing_still():
    slow = motion(OPEN, [7])
    assert keyframes(slow, stopping_delta=0.05).tolist() == [7, 19]
    assert keyframes(slow, stopping_delta=0.049).tolist() == [19]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_keyframes_of_real_demonstrations(path):
    with np.load(path) as file:
        assert keyframes({name: file[name] for name in ("gripper_open", "joint_velocities")}).tolist() == file["keyframes"].tolist()


def test_there_are_real_demonstrations():
    assert len(REAL) == 2


def test_a_motion_without_velocities():
    with pytest.raises(DemoError, match="found by joint_velocities, which the motion lacks; it has gripper_open, gripper_pose"):
        keyframes({name: values for name, values in motion(OPEN).items() if name != "joint_velocities"})


def demo(**changes):
    """20 frames, of which 0, 7, 10, 13 and 19 are observed; keyframes 7, 13, 19."""
    frames = np.array([0, 7, 10, 13, 19])
    obs = np.stack([frames, np.full(5, 9)], 1).astype(np.float32)
    made = Demo(
        "toy:task",
        motion([1] * 13 + [0] * 7),
        frames,
        {"obs": obs, "front_rgb": np.zeros((5, 2, 2, 3), np.uint8)},
        np.array([7, 13, 19]),
        np.array([[7], [13], [19]], np.float32),
    )
    return made._replace(**changes)


def test_chains_go_from_each_tenth_frame_over_the_keyframes_behind_it():
    first, second = chains(demo())
    assert first.at.tolist() == [0, 1, 3, 4] and second.at.tolist() == [2, 3, 4]
    assert first.poses[:, 0].tolist() == [7, 13, 19] and second.poses[:, 0].tolist() == [13, 19]
    assert first.opened.tolist() == [1, 0, 0] and second.opened.tolist() == [0, 0]
    assert first.actions.tolist() == [[7], [13], [19]] and second.actions.tolist() == [[13], [19]]
    assert first.reward.tolist() == [0, 0, 1] and second.terminated.tolist() == [False, True]
    assert (first.opened.dtype, first.reward.dtype, first.terminated.dtype) == (np.float32, np.float32, bool)


def test_starts():
    """A start that is a keyframe does not lead to itself; where no keyframe is left, there is no chain."""
    starts = {n: [chain.at[0] for chain in chains(demo(), n)] for n in (1, 7, 13, 19, 20)}
    assert starts == {1: [0, 1, 2, 3], 7: [0, 1], 13: [0, 3], 19: [0], 20: [0]}
    assert chains(demo(), 7)[1].poses[:, 0].tolist() == [13, 19]


def test_the_time_is_counted_in_the_chain():
    shown, (first, second) = demo(), chains(demo())
    assert first.observations(shown, 5)["obs"].tolist() == [[0, 1], [7, 0.5], [13, 0], [19, -0.5]]
    seen = second.observations(shown, 3)
    assert seen["obs"].tolist() == [[10, 1], [13, 0], [19, -1]]
    assert seen["front_rgb"].shape == (3, 2, 2, 3)
    assert (shown.observations["obs"][:, 1] == 9).all(), "a copy"


def test_a_failed_demonstration_pays_nothing():
    (chain, _) = chains(demo(success=False, actions=None))
    assert chain.reward.tolist() == [0, 0, 0] and chain.actions is None and chain.terminated.tolist() == [False, False, True]


WRONG = {
    "has no gripper_pose": {"motion": {"gripper_open": np.ones(20)}},
    "frames are not ascending": {"frames": np.array([0, 10, 7, 13, 19])},
    "keyframes are not ascending numbers of its 20 frames": {"keyframes": np.array([7, 13, 20])},
    "a keyframe has no observation": {"keyframes": np.array([7, 12, 19])},
    "the last frame is not the last keyframe": {"keyframes": np.array([7, 13])},
    "observations obs has 4 rows instead of 5": {"observations": {"obs": np.zeros((4, 2), np.float32)}},
    "observations obs is not finite": {"observations": {"obs": np.full((5, 2), np.nan, np.float32)}},
    r"3 keyframes, and actions of shape \(2, 1\)": {"actions": np.zeros((2, 1), np.float32)},
}


@pytest.mark.parametrize("says", WRONG)
def test_what_is_not_a_demonstration(says):
    check(demo())
    with pytest.raises(DemoError, match=f"not a demonstration of toy:task: .*{says}"):
        check(demo(**WRONG[says]))


def test_a_demonstration_of_another_camera():
    import simulators

    large, small = (simulators.make("blocks:touch", 0, size=size) for size in (32, 16))
    shown = small.demonstrate(0)
    check(shown, small.spec)
    with pytest.raises(DemoError, match=r"the observed front_rgb is uint8\(16, 16, 3\), wanted is uint8\(32, 32, 3\)"):
        check(shown, large.spec)
    flat = simulators.make("blocks:touch", 0, size=16, rotation=False)
    with pytest.raises(DemoError, match=r"the observed obs is float32\(9,\), wanted is float32\(5,\)"):
        check(shown, flat.spec)

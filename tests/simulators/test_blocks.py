"""The table with coloured things: its cameras against geometry by hand, its tasks, its expert, its failures on purpose."""

import numpy as np
import pytest

import simulators
from core.demos import keyframes
from core.errors import ConfigError, SimulatorError
from core.poses import action_of, target_of
from core.types import Keyframes
from simulators import blocks
from simulators._raycast import Ball, Box, Camera

TASKS = [f"blocks:{task}" for task in blocks.tasks()]


def points(observation, camera):
    """(H, W, 3) world points of a camera's picture, as ``core.types.Keyframes`` says."""
    depth = observation[f"{camera}_depth"].astype(np.float64)
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    seen = np.stack([u * depth, v * depth, depth], -1) @ np.linalg.inv(observation[f"{camera}_intrinsics"]).T
    extrinsics = observation[f"{camera}_extrinsics"]
    return seen @ extrinsics[:3, :3].T + extrinsics[:3, 3]


@pytest.mark.parametrize("options", [{}, {"rotation": False, "cameras": 3, "size": 24}])
@pytest.mark.parametrize("name", TASKS)
def test_the_experts_actions_succeed(name, options):
    simulator = simulators.make(name, 3, **options)
    for variation in range(5):
        demo = simulator.demonstrate(variation)
        first = simulator.reset(variation)
        for field, value in first.items():
            np.testing.assert_array_equal(demo.observations[field][0], value)
        steps = [simulator.step(action) for action in demo.actions]
        assert [(step.reward, step.terminated, step.success) for step in steps[:-1]] == [(0.0, False, False)] * (len(steps) - 1)
        assert (steps[-1].reward, steps[-1].terminated, steps[-1].truncated, steps[-1].success) == (1.0, True, False, True)
        at = np.searchsorted(demo.frames, demo.keyframes)
        for place, step in zip(at, steps, strict=True):
            np.testing.assert_array_equal(demo.observations["front_rgb"][place], step.obs["front_rgb"])
            np.testing.assert_array_equal(demo.observations["gripper_pose"][place], step.obs["gripper_pose"])


@pytest.mark.parametrize("name", TASKS)
def test_frames_are_what_a_demo_says(name):
    simulator = simulators.make(name, 1)
    demo = simulator.demonstrate(4)
    total = len(demo.motion["gripper_pose"])
    assert demo.task == name and demo.success
    assert demo.frames.tolist() == sorted({*range(0, total, 10), *demo.keyframes.tolist(), total - 1})
    assert demo.keyframes[-1] == total - 1
    for field in simulator.spec.observation:
        assert demo.observations[field.name].shape == (len(demo.frames), *field.shape)
        assert demo.observations[field.name].dtype == field.dtype
    np.testing.assert_allclose(demo.observations["gripper_pose"], demo.motion["gripper_pose"][demo.frames], atol=1e-12)
    assert (demo.observations["obs"][:, -1] == 1).all()
    # What is filmed on the way is not one step: no frame jumps.
    assert np.abs(np.diff(demo.motion["gripper_pose"][:, :3], axis=0)).max() <= 0.0201


@pytest.mark.parametrize("name", TASKS)
def test_keyframes_could_be_found_by_standing_still(name):
    demo = simulators.make(name, 1, size=8).demonstrate(4)
    found = keyframes(demo.motion)
    assert len(found) <= len(demo.keyframes) + 1, "a gripper that a button stops stands still once more"
    assert (np.abs(found[:, None] - demo.keyframes).min(0) <= 2).all()


def test_every_pixel_of_the_table_lies_on_it_and_of_the_ball_on_the_ball():
    simulator = simulators.make("blocks:touch", 0, cameras=3, distractors=0)
    for variation in range(4):
        observation = simulator.reset(variation)
        for camera in ("front", "left", "overhead"):
            world, rgb = points(observation, camera), observation[f"{camera}_rgb"].astype(int)
            red = (rgb[..., 0] > 90) & (rgb[..., 1] < 50)
            assert red.sum() > 20
            np.testing.assert_allclose(np.linalg.norm(world[red] - simulator.centre, axis=-1), 0.035, atol=2e-6)
            brown = (rgb == (120, 96, 72)).all(-1) | (rgb == (132, 108, 84)).all(-1)
            np.testing.assert_allclose(world[brown][:, 2], 0, atol=1e-6)
            assert brown.sum() > 2000


def test_pictures_by_hand():
    """A camera above the table: what is farther away is smaller; what is nearer hides it; left is where the x of the camera goes."""
    camera = Camera((0, 0, 2), (0, 0, 0), (1, 0, 0), 65, field_deg=90)
    red, blue = (200, 0, 0), (0, 0, 200)
    colours, depths = camera.picture(
        [Box(np.array([0, 0, 0.5]), (0.3, 0.3, 0.5), np.eye(3), blue), Ball(np.array([0, 0.6, 0.25]), 0.25, red)]
    )
    row = column = 32  # the ray of pixel 32.5 goes straight down
    assert depths[row, column] == pytest.approx(1.0) and colours[row, column, 2] > 0 and colours[row, column, 0] == 0
    assert depths[46, 46] == pytest.approx(2.0)
    # +y is to the left where +x is up.
    red_columns = np.flatnonzero((colours[..., 0] > 60) & (colours[..., 1] == 0))
    assert (red_columns % 65 < 32).all() and len(red_columns)
    assert depths.min() >= 1.0 - 1e-6


def test_touch_needs_to_be_near():
    simulator = simulators.make("blocks:touch", 2)
    keyframes = simulator.spec.keyframes
    simulator.reset(3)
    for offset, success in ((0.05, False), (0.03, True)):
        step = simulator.step(action_of(keyframes, [*np.add(simulator.centre, [offset, 0, 0]), 1, 0, 0, 0], 0.0))
        assert step.success == success


def test_press_needs_closed_fingers_and_force():
    simulator = simulators.make("blocks:press", 2, rotation=False)
    keyframes = simulator.spec.keyframes
    simulator.reset(0)
    top = simulator.centre.copy()
    down, near, above = (top + np.array([0, 0, z]) for z in (-0.03, -0.005, 0.1))
    expected = [(down, 1, False), (above, 0, False), (near, 0, False), (down, 0, True)]
    for position, opened, success in expected:
        step = simulator.step(action_of(keyframes, position, opened))
        assert step.success == success
    # The button stops the gripper: where it is does not say where it was sent.
    assert step.obs["gripper_pose"][2] == pytest.approx(top[2] - blocks.TRAVEL)


def test_lift_needs_fingers_across_the_box():
    simulator = simulators.make("blocks:lift", 2)
    for turn_deg, success in ((0, True), (15, True), (-15, True), (30, False), (90, False), (180, True)):
        simulator.reset(1)
        _, grasp, up = simulator._plan()
        turned = _turn(grasp[1], np.radians(turn_deg))
        simulator.step(action_of(simulator.spec.keyframes, [*grasp[0], *turned], 0))
        step = simulator.step(action_of(simulator.spec.keyframes, [*up[0], *turned], 0))
        assert step.success == success, turn_deg


def _turn(quaternion, angle):
    """About the vertical of the world: (0, 0, s, c) before ``quaternion``."""
    x, y, z, w = quaternion
    s, c = np.sin(angle / 2), np.cos(angle / 2)
    return np.array([c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z])


def test_what_is_let_go_of_falls_down():
    simulator = simulators.make("blocks:lift", 2, rotation=False)
    simulator.reset(1)
    (_, _, _), grasp, up = simulator._plan()
    half_up = (grasp[0] + up[0]) / 2
    for position, opened in ((grasp[0], 0), (half_up, 0)):
        simulator.step(action_of(simulator.spec.keyframes, position, opened))
    assert simulator.centre[2] == pytest.approx(half_up[2], abs=1e-6)
    simulator.step(action_of(simulator.spec.keyframes, half_up, 1))
    assert simulator.centre[2] == simulator.began[2] and not simulator.holds


@pytest.mark.parametrize("what", ["beyond", "no rotation", "out of reach"])
def test_what_cannot_be_reached_ends_the_episode_and_is_seen_from_where_it_was(what):
    simulator = simulators.make("blocks:touch", 0, reach=0.3)
    before = simulator.reset(0)
    action = {
        "beyond": [0, 0, 1.1, 1, 0, 0, 0, 1],
        "no rotation": np.zeros(8),
        "out of reach": [-1, -1, -1, 1, 0, 0, 0, 1],
    }[what]
    step = simulator.step(np.array(action, np.float32))
    assert (step.reward, step.terminated, step.truncated, step.success) == (0.0, True, False, False)
    for field, value in before.items():
        np.testing.assert_array_equal(step.obs[field], value)


def test_time_runs_from_one_to_minus_one():
    simulator = simulators.make("blocks:touch", 0, size=8, horizon=5)
    times = [simulator.reset(0)["obs"][-1]]
    times += [simulator.step(np.array([-1, -1, -1, 1, 0, 0, 0, 1], np.float32)).obs["obs"][-1] for _ in range(5)]
    assert times == [1, 0.5, 0, -0.5, -1, -1]


def test_the_expert_fails_on_purpose():
    simulator = simulators.make("blocks:touch", 0, size=8, fail_every=3)
    simulator.demonstrate(1)
    with pytest.raises(SimulatorError, match="the expert failed in variation 3") as caught:
        simulator.demonstrate(3)
    assert caught.value.retryable


def test_impossible_options():
    with pytest.raises(ConfigError, match=r"option 'cameras' of simulator blocks is 4. Allowed: 1, 2, 3"):
        simulators.check("blocks:touch", {"cameras": 4})


@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize("collisions", [False, True])
def test_an_action_says_its_pose(rotation, collisions):
    keyframes = Keyframes((-1, 0, 0.5, 1, 4, 1.5), ("front",), rotation, collisions)
    action = action_of(keyframes, [0.5, 1, 0.75, 0, 0, 0.6, -0.8], 1.0, ignore_collisions=True)
    assert action.tolist() == pytest.approx([0.5, -0.5, -0.5, *[0, 0, -0.6, 0.8] * rotation, 1, *[1] * collisions])
    target = target_of(keyframes, action)
    np.testing.assert_allclose(target.position, [0.5, 1, 0.75], atol=1e-7)
    assert target.open and target.inside and target.ignore_collisions == collisions
    if rotation:
        np.testing.assert_allclose(target.quaternion, [0, 0, -0.6, 0.8], atol=1e-7)

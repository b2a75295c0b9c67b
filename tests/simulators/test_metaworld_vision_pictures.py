"""Pictures of Meta-World: pixels are points of the world, models do not disturb each other, markers come and go."""

import numpy as np
import pytest

import simulators
from simulators.metaworld_vision.names import CAMERAS
from tests.drawing import draws

pytestmark = [pytest.mark.metaworld, draws]
RADIUS_M = 0.02


def _points(obs, camera):
    """(rows, columns, 3) metres, world."""
    depth = obs[f"{camera}_depth"].astype(np.float64)
    v, u = np.indices(depth.shape)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(obs[f"{camera}_intrinsics"]).T * depth[..., None]
    extrinsics = obs[f"{camera}_extrinsics"]
    return rays @ extrinsics[:3, :3].T + extrinsics[:3, 3]


def test_every_pixel_of_the_goal_lies_on_its_sphere_in_every_camera():
    options = {"cameras": ",".join(CAMERAS)}
    shown, hidden = (simulators.make("metaworld_vision:push-v3", 0, markers=markers, **options) for markers in ("shown", "hidden"))
    action = np.array([0.2, 0.1, -0.4, 1.0], np.float32)  # so that the camera on the hand stands where it has been brought
    shown.reset(1), hidden.reset(1)
    with_goal, without = shown.step(action).obs, hidden.step(action).obs
    goal = shown.hand.obs[-3:]
    for camera in CAMERAS:
        distance = np.linalg.norm(_points(with_goal, camera) - goal, axis=-1)
        nearer = with_goal[f"{camera}_depth"] < without[f"{camera}_depth"] - 1e-4
        sphere = distance[nearer & (distance < 0.05)]
        assert sphere.size >= 3, camera
        assert np.abs(sphere - RADIUS_M).max() < 3e-4, camera
    seen = np.linalg.norm(_points(with_goal, "front") - goal, axis=-1) < 0.021
    assert seen.sum() >= 20, "one camera must be enough"


def test_the_hand_is_where_the_picture_shows_it():
    simulator = simulators.make("metaworld_vision:reach-v3", 0, segmentation=True, cameras="left")
    obs = simulator.reset(0)
    model = simulator.hand.model
    fingers = np.isin(obs["left_mask"], [model.body(name).id for name in ("leftpad", "rightpad")])
    assert fingers.sum() > 10
    assert np.linalg.norm(_points(obs, "left")[fingers] - obs["gripper_pose"][:3], axis=-1).max() < 0.12


def test_models_that_take_turns_do_not_disturb_each_other():
    """Each simulator of one task shares the model, each task has a context of its own."""
    action = np.array([0.1, 0.1, -0.3, 1.0], np.float32)

    def play(simulator, *others):
        seen = [simulator.reset(0)]
        for other in others:
            other.reset(5)
        seen.append(simulator.step(action).obs)
        for other in others:
            other.step(action)
        return [*seen, simulator.step(-0.5 * action).obs]

    make = simulators.make
    one = make("metaworld_vision:push-v3", 0)
    alone = play(one)
    others = (
        make("metaworld_vision:push-v3", 1),
        make("metaworld_vision:window-close-v3", 0),
        make("metaworld_vision:push-v3", 0, image_size=64),
    )
    for mine, shared in zip(alone, play(one, *others), strict=True):
        for name, value in mine.items():
            np.testing.assert_array_equal(value, shared[name], err_msg=name)


def test_markers_are_shown_where_nothing_else_shows_the_goal():
    def green(task, markers):
        rgb = simulators.make(f"metaworld_vision:{task}", 0, markers=markers).reset(0)["front_rgb"].astype(int)
        return int(((rgb[..., 1] > 120) & (rgb[..., 0] < 90) & (rgb[..., 2] < 90)).sum())

    assert green("push-v3", "auto") == green("push-v3", "shown") > 10
    assert green("push-v3", "hidden") == 0
    assert green("door-close-v3", "auto") == green("door-close-v3", "hidden") < green("door-close-v3", "shown")


def test_masks_name_the_bodies_of_what_is_seen():
    simulator = simulators.make("metaworld_vision:box-close-v3", 0, segmentation=True)
    obs, model = simulator.reset(0), simulator.hand.model
    lid = obs["front_mask"] == model.body("top_link").id
    assert lid.sum() > 200
    where = _points(obs, "front")[lid].mean(axis=0)
    assert np.linalg.norm(where - simulator.eyes.scratch.body("top_link").xpos) < 0.1

"""RLBench's own folders as demonstrations: a real episode, what differs between versions, and what can be wrong."""

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from core import demofile
from core.errors import ConfigError, DemoError
from manyhands.demos import png, rlbench, rlbench_tree
from manyhands.demos.rlbench_tree import Episode, episodes, read
from tests.manyhands import trees
from tests.simulators.test_blocks import points

BOTH = ("front", "wrist")


def only(root):
    (episode,) = episodes(root)
    return episode


@pytest.fixture
def folder(tmp_path):
    """A made episode."""
    return trees.write(tmp_path, trees.demo())


def test_a_real_episode(tmp_path):
    episode = only(trees.REAL)
    assert episode == Episode(trees.EPISODE, "reach_target", 1, 0)
    demo, real = read(episode, BOTH), trees.loaded(trees.EPISODE / "low_dim_obs.pkl")._observations
    assert demo.task == "rlbench:reach_target" and demo.success and demo.actions is None
    assert demo.frames.tolist() == [0, 10, 20, 30, 40, 46] and demo.keyframes.tolist() == [46]
    for name in ("gripper_pose", "joint_velocities", "task_low_dim_state", "joint_forces"):
        np.testing.assert_array_equal(demo.motion[name], [getattr(each, name) for each in real])
    for at, frame in enumerate(demo.frames.tolist()):
        for camera in BOTH:
            seen = {name: values[at] for name, values in demo.observations.items()}
            with Image.open(trees.EPISODE / f"{camera}_rgb" / f"{frame}.png") as image:
                np.testing.assert_array_equal(seen[f"{camera}_rgb"], np.array(image))
            np.testing.assert_array_equal(seen[f"{camera}_extrinsics"], real[frame].misc[f"{camera}_camera_extrinsics"])
            assert seen[f"{camera}_intrinsics"][0, 0] < 0
        assert seen["obs"][:8].tolist() == pytest.approx([1.0, *real[frame].gripper_pose], rel=1e-6)
    assert len(np.unique(demo.observations["wrist_extrinsics"][:, 0, 3])) == 6, "the wrist moves"
    told = {"rlbench_variation": "0", "number": "1", "description": "reach the red target", "cameras": "front wrist"}
    assert told.items() <= demo.info.items() and len(json.loads(demo.info["descriptions"])) == 3
    assert demo.info["source"] == "reach_target/variation0/episodes/episode1"
    demofile.write(tmp_path / "000.demo", demo)


@pytest.mark.parametrize("camera", BOTH)
def test_the_table_of_a_real_episode_is_where_it_should_be(camera):
    """World points from depth in metres, by the same formula as all cameras: RLBench's table is 0.75 m high."""
    demo = read(only(trees.REAL), BOTH)
    world = points({name: values[0] for name, values in demo.observations.items()}, camera)
    heights, count = np.unique(world[..., 2].round(3), return_counts=True)
    assert heights[count.argmax()] == pytest.approx(0.75, abs=0.001)


def test_depth_of_24_bits():
    coded = np.array([[[0, 0, 0], [255, 255, 255], [127, 255, 255], [0, 0, 1], [0, 1, 0]]], np.uint8)
    steps = np.array([0, 2**24 - 1, 2**23 - 1, 1, 256]) / (2**24 - 1)
    np.testing.assert_allclose(png.depth(coded, 0.01, 4.5)[0], 0.01 + steps * 4.49, rtol=1e-6)
    assert png.depth(coded, 0.01, 4.5).dtype == np.float32


def test_keyframes_are_found(folder, tmp_path):
    demo = read(only(tmp_path))
    assert demo.keyframes.tolist() == [12, 23] and demo.frames.tolist() == [0, 10, 12, 20, 23]
    rlbench_spec = rlbench.spec("reach_target", 8)
    assert [field.name for field in rlbench_spec.observation] == list(demo.observations)


def test_what_other_versions_have_and_lack(tmp_path):
    """1.1: a demo without the number of attempts, no variation in misc. A fork: further fields, of the demo and of its observations."""
    made = trees.demo(fields={"variation_number": 3}, ignore_collisions=True, joint_forces=None, task_low_dim_state=None)
    for each in made._observations:
        del each.misc["variation_index"]
        each.misc["descriptions"] = ["a", "b"]
    trees.write(tmp_path, made, "lamp_on/variation4/episodes/episode12")
    demo = read(only(tmp_path))
    assert demo.info["rlbench_variation"] == "4" and demo.info["number"] == "12" and demo.task == "rlbench:lamp_on"
    assert not {"joint_forces", "task_low_dim_state"} & demo.motion.keys() and "description" not in demo.info


def test_fields_of_changing_size_are_left_out(tmp_path):
    made = trees.demo()
    made._observations[5].task_low_dim_state = np.arange(6.0)
    trees.write(tmp_path, made)
    assert "task_low_dim_state" not in read(only(tmp_path)).motion


def test_a_folder_with_all_variations(tmp_path):
    place = "push_button/all_variations/episodes/episode{}"
    for number, told in ((0, True), (1, False)):
        folder = trees.write(tmp_path, trees.demo(), place.format(number))
        (folder / "variation_descriptions.pkl").write_bytes(pickle.dumps([f"push {number}", "press"]))
        if told:
            (folder / "variation_number.pkl").write_bytes(pickle.dumps(7))
    found = episodes(tmp_path)
    assert [(each.number, each.variation) for each in found] == [(0, None), (1, None)]
    assert [read(each).info["rlbench_variation"] for each in found] == ["7", "0"], "the second is in misc"
    assert [read(each).info["description"] for each in found] == ["push 0", "push 1"]


def test_descriptions_are_words_and_nothing_else(folder, tmp_path):
    (folder / "variation_descriptions.pkl").write_bytes(pickle.dumps(["\x1b[2Jgone", 5, "push it " * 200, "now"]))
    said = json.loads(read(only(tmp_path)).info["descriptions"])
    assert said == [("push it " * 200)[:500], "now"]


def test_all_episodes_in_order(tmp_path):
    for place in (
        "b/variation10/episodes/episode2",
        "b/variation2/episodes/episode10",
        "b/variation2/episodes/episode9",
        "a/variation0/episodes/episode0",
    ):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "low_dim_obs.pkl").write_bytes(b"")
    assert [(each.task, each.variation, each.number) for each in episodes(tmp_path)] == [
        ("a", 0, 0),
        ("b", 2, 9),
        ("b", 2, 10),
        ("b", 10, 2),
    ]
    assert episodes(tmp_path / "b/variation10/episodes/episode2")[0].task == "b"
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "low_dim_obs.pkl").write_bytes(b"")
    with pytest.raises(DemoError, match=r"loose is no place of RLBench's. Allowed: TASK/variation0/episodes/episode0"):
        episodes(tmp_path)


WRONG = {
    "a picture is missing": (lambda f: (f / "front_rgb" / "10.png").unlink(), "front_rgb/10.png is missing"),
    "a picture is damaged": (
        lambda f: (f / "front_depth" / "12.png").write_bytes(b"\x89PNG\r\n\x1a\nxxxx"),
        "12.png cannot be read as PNG",
    ),
    "a picture is text": (lambda f: (f / "front_depth" / "12.png").write_bytes(b"hello"), "12.png cannot be read as PNG"),
    "a picture is grey": (lambda f: Image.new("L", (8, 8)).save(f / "front_rgb" / "0.png"), "is of mode L, wanted is RGB"),
    "a picture is wide": (
        lambda f: Image.new("RGB", (9, 8)).save(f / "front_rgb" / "0.png"),
        "of 9 x 8 and 8 x 8 pixels. Allowed: squares",
    ),
    "a picture is large": (lambda f: Image.new("RGB", (9, 9)).save(f / "front_rgb" / "0.png"), "of 9 x 9 and 8 x 8 pixels"),
    "a picture is huge": (lambda f: Image.new("RGB", (5000, 1)).save(f / "front_rgb" / "0.png"), "5000 x 1 pixels. Allowed: up to 2048"),
    "no camera": (lambda f: shutil.rmtree(f / "front_rgb"), "no pictures of the camera front. Fix: --cameras with some of: wrist"),
    "no pickle inside": (lambda f: (f / "low_dim_obs.pkl").write_bytes(b"\x80\x04]."), "it has no list of observations"),
    "a hostile word": (lambda f: (f.parents[1] / "variation_descriptions.pkl").write_bytes(b"cos\nsystem\n."), "it names 'os.system'"),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_can_be_wrong_with_files(folder, tmp_path, which):
    change, says = WRONG[which]
    change(folder)
    with pytest.raises(DemoError, match=says):
        read(only(tmp_path))


def _nan(made):
    made._observations[3].gripper_pose = np.full(7, np.nan)


def _no_misc(made):
    for each in made._observations:
        del each.__dict__["misc"]


def _far_is_near(made):
    made._observations[0].misc["front_camera_far"] = 0.001


def _short(made):
    for each in made._observations:
        each.gripper_joint_positions = np.zeros(3)


def _flat(made):
    for each in made._observations:
        each.joint_velocities = 1.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_nan, "gripper_pose is not finite"),
        (_no_misc, "no camera matrices of front in misc: it was recorded by an RLBench before 1.1"),
        (_far_is_near, "camera matrices of front that cannot be"),
        (_short, r"the observed obs is float32\(12,\)"),
        (_flat, "its arrays do not fit each other"),
        (lambda made: made._observations[3].__dict__.update(joint_velocities=None), "has not joint_velocities in each frame"),
        (lambda made: made._observations[3].__dict__.pop("gripper_open"), "has not gripper_open in each frame"),
        (lambda made: made._observations[3].__dict__.update(gripper_open=2**600), "has not gripper_open in each frame"),
        (lambda made: made._observations[0].misc.update(front_camera_near=2**600), "no camera matrices of front"),
        (lambda made: made._observations[0].misc.update(front_camera_near=np.zeros(3)), "its arrays do not fit each other"),
        (lambda made: made._observations.__setitem__(2, 5), "it has no list of observations"),
        (lambda made: made._observations.clear(), "it has no list of observations"),
        (lambda made: made.__dict__["_observations"].__delitem__(slice(1, None)), "has 1 frames. Allowed: 2 to 20000"),
    ],
)
def test_what_can_be_wrong_with_observations(tmp_path, change, says):
    made = trees.demo()
    folder = trees.write(tmp_path, made)
    change(made)
    (folder / "low_dim_obs.pkl").write_bytes(trees.dumped(made))
    with pytest.raises(DemoError, match=says):
        read(only(tmp_path))


def test_one_array_for_all_frames_is_not_multiplied(tmp_path, monkeypatch):
    """A file of 8 MB could ask for 20 000 times as much."""
    monkeypatch.setattr(rlbench_tree, "LARGEST_FIELD", 24 * 8 * 7)
    trees.write(tmp_path, trees.demo(task_low_dim_state=np.zeros(8)))
    demo = read(only(tmp_path))
    assert "task_low_dim_state" not in demo.motion and demo.motion["joint_positions"].shape == (24, 7)


@pytest.mark.parametrize("cameras", [(), ("front", "front"), ("side",)])
def test_cameras_that_cannot_be(cameras):
    with pytest.raises(ConfigError, match=r"--cameras is .*Allowed: one or more of front, left_shoulder"):
        rlbench.checked(cameras)

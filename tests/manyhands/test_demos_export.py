"""Demonstrations as HDF5 and as LeRobotDataset: what is written is read again by h5py and pyarrow, and compared with the demonstration."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from core import demofile
from core.errors import ConfigError, DemoError, MissingExtra
from manyhands.demos import export, hdf5, lerobot, lerobot_stats
from manyhands.demos.export import rows
from manyhands.demos.rlbench_tree import episodes, read
from simulators import blocks
from tests.manyhands import trees

ABOUT = {"action": "next-keyframe"}


@pytest.fixture(scope="module")
def pressed():
    """A demonstration whose expert aims beyond what it reaches."""
    return blocks.make("press", 0, size=16).demonstrate(3)


@pytest.fixture(scope="module")
def real():
    return read(episodes(trees.REAL)[0], ("front", "wrist"))


@pytest.fixture
def files(pressed, tmp_path):
    demos = [pressed, blocks.make("press", 0, size=16).demonstrate(4), blocks.make("touch", 0, size=16).demonstrate(0)]
    paths = [tmp_path / "demos" / f"{i}.demo" for i in range(3)]
    for path, demo in zip(paths, demos, strict=True):
        demofile.write(path, demo)
    return paths


def test_rows_go_to_the_next_keyframe_or_frame(pressed):
    poses, k = pressed.motion["gripper_pose"], pressed.keyframes
    by_keyframe, by_frame = rows(pressed, "next-keyframe"), rows(pressed, "next-frame")
    n = len(pressed.frames) - 1
    assert len(by_keyframe.frames) == n and by_keyframe.done.tolist() == [False] * (n - 1) + [True]
    assert by_keyframe.reward.tolist() == [0.0] * (n - 1) + [1.0]
    for i, frame in enumerate(by_keyframe.frames.tolist()):
        goal = int(k[k > frame][0])
        np.testing.assert_array_equal(by_keyframe.action[i], [*poses[goal], pressed.motion["gripper_open"][goal]])
        np.testing.assert_array_equal(by_keyframe.expert[i], pressed.actions[k.tolist().index(goal)])
        np.testing.assert_array_equal(by_frame.action[i, :7], poses[pressed.frames[i + 1]])
    assert not np.array_equal(by_keyframe.action, by_frame.action)
    np.testing.assert_array_equal(by_keyframe.observations["state"], pressed.observations["obs"][:-1, :-1])
    assert "obs" not in by_keyframe.observations


def test_one_that_failed_has_no_reward(pressed):
    made = rows(pressed._replace(success=False), "next-frame")
    assert not made.reward.any() and made.done[-1]


@pytest.mark.parametrize(
    ("task", "info", "says"),
    [
        ("rlbench:push_button", {}, "push button"),
        ("metaworld_vision:reach-v3", {}, "reach v3"),
        ("rlbench:a", {"description": "go on"}, "go on"),
    ],
)
def test_the_task_in_words(pressed, task, info, says):
    assert export.in_words(pressed._replace(task=task, info=info)) == says


def test_hdf5(files, tmp_path):
    h5py = pytest.importorskip("h5py")
    assert export.export(files, tmp_path / "out", "next-keyframe", hdf5.write) == (3, sum(len(demofile.read(f).frames) - 1 for f in files))
    with h5py.File(tmp_path / "out" / "demos.hdf5") as file:
        assert list(file["data"]) == ["demo_0", "demo_1", "demo_2"]
        assert file["data"].attrs["total"] == sum(group.attrs["num_samples"] for group in file["data"].values())
        assert json.loads(file["data"].attrs["tasks"]) == {"blocks:press": "press", "blocks:touch": "touch"}
        assert json.loads(file["data"].attrs["env_args"])["env_name"] == "blocks:press blocks:touch"
        assert file["data"].attrs["action"] == "next-keyframe"
        for path, group in zip(files, file["data"].values(), strict=True):
            made = rows(demofile.read(path), "next-keyframe")
            assert group["obs"].keys() == made.observations.keys()
            for name, values in made.observations.items():
                np.testing.assert_array_equal(group["obs"][name], values)
                assert group["obs"][name].dtype == values.dtype
            for name, values in (("actions", made.action), ("rewards", made.reward), ("dones", made.done), ("expert_actions", made.expert)):
                np.testing.assert_array_equal(group[name], values)
            assert group.attrs["task"] == made.task and group.attrs["success"] and json.loads(group.attrs["info"]) == made.info


def test_lerobot(files, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out"
    export.export(files, out, "next-keyframe", lambda folder, demos, about: lerobot.write(folder, demos, about, 5))
    made = [rows(demofile.read(path), "next-keyframe") for path in files]
    info, n = json.loads((out / "meta/info.json").read_text()), [len(each.frames) for each in made]
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"], info["total_tasks"]) == (
        "v3.0",
        5,
        3,
        sum(n),
        2,
    )
    assert info["splits"] == {"train": "0:3"} and info["video_path"] is None
    table = pq.read_table(out / info["data_path"].format(chunk_index=0, file_index=0)).to_pydict()
    assert set(table) == set(info["features"])
    assert table["index"] == list(range(sum(n))) and table["task_index"] == [0] * (n[0] + n[1]) + [1] * n[2]
    assert table["frame_index"] == [i for each in n for i in range(each)]
    np.testing.assert_allclose(table["timestamp"], np.array(table["frame_index"]) / 5, rtol=1e-6)
    np.testing.assert_array_equal(table["action"], np.concatenate([each.action for each in made]).astype(np.float32))
    np.testing.assert_array_equal(table["observation.front_depth"], np.concatenate([each.observations["front_depth"] for each in made]))
    np.testing.assert_array_equal(table["observation.front_extrinsics"][0], made[0].observations["front_extrinsics"][0])
    for cell, wanted in zip(
        table["observation.images.front"], np.concatenate([each.observations["front_rgb"] for each in made]), strict=True
    ):
        with Image.open(io.BytesIO(cell["bytes"])) as image:
            np.testing.assert_array_equal(np.array(image), wanted)
    assert info["features"]["observation.images.front"] == {
        "dtype": "image",
        "shape": [16, 16, 3],
        "names": ["height", "width", "channels"],
    }
    assert info["features"]["next.done"] == {"dtype": "bool", "shape": [1], "names": None}


def test_the_index_of_a_lerobot_data_set(files, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(lerobot, "FILE_MB", 0)  # a file for each episode
    monkeypatch.setattr(lerobot, "CHUNK_FILES", 2)
    export.export(files, tmp_path / "out", "next-frame", lerobot.write)
    table = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    places = [(each["data/chunk_index"], each["data/file_index"]) for each in table]
    assert places == [(0, 0), (0, 1), (1, 0)]
    for each, (chunk, file) in zip(table, places, strict=True):
        data = pq.read_table(tmp_path / f"out/data/chunk-{chunk:03d}/file-{file:03d}.parquet").to_pydict()
        assert data["index"] == list(range(each["dataset_from_index"], each["dataset_to_index"])) and len(data["index"]) == each["length"]
        assert set(data["episode_index"]) == {each["episode_index"]}
    assert [each["tasks"] for each in table] == [["press"], ["press"], ["touch"]]
    tasks = pq.read_table(tmp_path / "out/meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["press", "touch"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    told = json.loads((tmp_path / "out/meta/manyhands.json").read_text())
    assert told["action"] == "next-frame" and told["episodes"][2]["task"] == "blocks:touch" and told["episodes"][0]["variation"] == "3"


def test_statistics_of_a_real_demonstration(real, tmp_path):
    pytest.importorskip("pyarrow")
    lerobot.write(tmp_path, iter([rows(real, "next-frame")] * 2), ABOUT)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    pixels = real.observations["wrist_rgb"][:-1].reshape(-1, 3) / 255
    np.testing.assert_allclose(np.ravel(stats["observation.images.wrist"]["mean"]), pixels.mean(axis=0))
    assert np.shape(stats["observation.images.wrist"]["std"]) == (3, 1, 1) and stats["action"]["count"] == [2 * (len(real.frames) - 1)]
    assert json.loads((tmp_path / "meta/info.json").read_text())["features"]["observation.state"]["shape"] == [10]


def test_statistics_together():
    rng = np.random.default_rng(0)
    parts = [rng.normal(i, 1 + i, (n, 3)) for i, n in enumerate((5, 40, 7))]
    found = lerobot_stats.together([{"x": lerobot_stats.of_feature(part)} for part in parts])["x"]
    wanted = lerobot_stats.of_feature(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12)
    np.testing.assert_allclose(lerobot_stats.of_feature(parts[1])["q50"], np.median(parts[1], axis=0))


def _fail(folder, demos, about):
    (folder / "half").write_text("")
    next(iter(demos))
    raise OSError(28, "No space left on device")


def test_a_failure_leaves_nothing(files, tmp_path):
    with pytest.raises(DemoError, match="out cannot be written: No space left on device"):
        export.export(files, tmp_path / "out", "next-frame", _fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demos"]


def test_an_empty_folder_will_do_and_a_full_one_not(files, tmp_path):
    def write(folder, demos, about):
        (folder / "x").write_text("new")
        return sum(len(each.frames) for each in demos)

    (tmp_path / "out").mkdir()
    assert export.export(files, tmp_path / "out", "next-frame", write)[0] == 3
    with pytest.raises(ConfigError, match=r"out is there and not an empty folder. Fix: another one"):
        export.export(files, tmp_path / "out", "next-frame", write)
    assert (tmp_path / "out" / "x").read_text() == "new"


def test_demonstrations_of_other_shapes_do_not_go_together(files, tmp_path):
    demofile.write(files[0].with_name("9.demo"), blocks.make("press", 0, size=20).demonstrate(1))

    def write(folder, demos, about):
        return len(list(demos))

    with pytest.raises(
        DemoError, match=r"9.demo does not go with .*demos/0.demo: front_depth is float32\[20, 20\], there float32\[16, 16\]"
    ):
        export.export([*files, files[0].with_name("9.demo")], tmp_path / "out", "next-frame", write)


@pytest.mark.parametrize(("write", "package", "extra"), [(hdf5.write, "h5py", "hdf5"), (lerobot.write, "pyarrow", "lerobot")])
def test_without_the_package(write, package, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"needs {package}: pip install 'manyhands\[{extra}\]'"):
        write(tmp_path, iter(()), ABOUT)

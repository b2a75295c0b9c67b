"""Collecting demonstrations: the same files however it goes, and experts that fail, hang or die; importing those of RLBench."""

import fcntl
import io
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from core.demofile import read, read_head
from core.demos import chains
from core.errors import ConfigError, DemoError, MissingExtra, SimulatorError
from manyhands.demos import collect as collecting
from manyhands.demos import collector, rlbench, store
from manyhands.demos.collect import STRIDE, Plan, State, collect
from manyhands.demos.hand import Hand, Job, wait
from manyhands.demos.progress import ProgressLine, words
from simulators import blocks
from tests.core.test_demofile import same

REAL = Path(__file__).parents[1] / "data" / "rlbench"
SMALL = {"size": 16}
PROVENANCE = {"made_by", "manyhands", "created", "replayed", "seed", "variation", "options", "tries", "simulator", "python", "numpy"}


def plan(folder, tasks=("blocks:touch",), count=4, **changes):
    return Plan(tuple(tasks), count, folder, **{"options": SMALL, "timeout_s": 20.0, **changes})


def bare(path):
    """A demonstration without the time it was made at."""
    demo = read(path)
    return demo._replace(info={name: value for name, value in demo.info.items() if name != "created"})


def test_the_same_files_whatever_the_number_of_processes(tmp_path):
    tasks, options = ("blocks:touch", "blocks:lift"), {**SMALL, "fail_every": 3}
    states = [collect(plan(tmp_path / str(n), tasks, 4, options=options, processes=n, replay=True)) for n in (1, 3)]
    assert [(state.total, state.done, state.there, state.retries) for state in states] == [(8, 8, 0, 4)] * 2
    for task in tasks:
        one, three = (store.find(tmp_path / str(n), task, 9, options) for n in (1, 3))
        assert [path.name for path in one] == ["000.demo", "001.demo", "002.demo", "003.demo"]
        for a, b in zip(one, three, strict=True):
            same(bare(a), bare(b))
        tried = [read_head(path).info["variation"] for path in one]
        assert tried == [str(STRIDE), "1", "2", str(3 + STRIDE)], "0 and 3 fail"
        assert [read_head(path).info["tries"] for path in one] == ["2", "1", "1", "2"]
    info = read_head(one[1]).info
    assert info.keys() == PROVENANCE and info["replayed"] == "yes"


def test_what_is_there_is_kept_and_counts(tmp_path):
    collect(plan(tmp_path, count=3))
    paths = store.find(tmp_path, "blocks:touch", 9, SMALL)
    paths[1].unlink()
    before = {path: path.stat().st_mtime_ns for path in (paths[0], paths[2])}
    state = collect(plan(tmp_path, count=4, seed=7))
    assert (state.total, state.there, state.done) == (4, 2, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [read_head(path).info["seed"] for path in store.find(tmp_path, "blocks:touch", 9, SMALL)] == ["0", "7", "0", "7"]


def test_an_expert_that_hangs_is_left(tmp_path):
    state = collect(plan(tmp_path, count=2, options={**SMALL, "hang_variation": 1}, timeout_s=1.0, processes=2))
    assert (state.done, state.retries) == (2, 1)
    assert state.last_failure == "the process that demonstrated blocks:touch in variation 1 took longer than 1 s"


def test_one_that_always_fails(tmp_path):
    with pytest.raises(
        DemoError, match=r"2 of 2 demonstrations could not be collected, after 1 retries each: blocks:touch: the expert failed"
    ):
        collect(plan(tmp_path, count=2, options={**SMALL, "fail_every": 1}, retries=1))
    assert not list(tmp_path.rglob("*.demo"))


@pytest.mark.parametrize("how", ["dies", "prints and dies"])
def test_a_process_that_dies(tmp_path, how):
    hand = Hand(0, {**SMALL, "hang_variation": 0}, False, 20.0, tmp_path / "log")
    hand.take(Job("blocks:touch", 0, tmp_path / "000.demo"))
    while not hand.asked:
        assert not wait([hand], 5.0)
    if how == "prints and dies":
        with hand.log.open("a") as log:
            log.write("first\nlast words\n")
    os.kill(hand.process.pid, signal.SIGKILL)
    (ended,) = wait([hand], 20.0)
    job, failure = ended.let_go()
    said = ": last words" if how == "prints and dies" else ""
    assert failure == f"the process that demonstrated blocks:touch in variation 0 died, killed by SIGKILL{said}"
    hand.take(Job("blocks:touch", 1, job.path))  # in a new one
    while not wait([hand], 5.0):
        pass
    assert hand.let_go()[1] == "" and read_head(job.path).info["variation"] == "1"
    hand.close()


def test_what_the_simulator_says_of_itself_is_in_the_file(monkeypatch):
    """Versions above all: of RLBench, PyRep and CoppeliaSim, which no other part of this project knows."""
    demo = blocks.make("touch", 0, size=16).demonstrate(4)
    told = {"rlbench": "1.2.0", "pyrep": "4.1.0.3", "coppeliasim": "4.1.0", "rlbench_variation": "2", "numpy": "1.24 of another process"}
    order = {"seed": 5, "options": {"size": 16}, "replay": False}
    made = collector.with_provenance(demo._replace(info=told), order, {"variation": 4 + 2 * STRIDE}).info
    assert told.items() <= made.items() and made["tries"] == "3" and made["options"] == '{"size": 16}'
    assert (made["seed"], made["variation"]) == ("5", str(4 + 2 * STRIDE))


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (MissingExtra("RLBench is not installed"), True),
        (ConfigError("no such task"), True),
        (SimulatorError("it does not launch", retryable=True), False),
        (SimulatorError("it never will", retryable=False), True),
    ],
)
def test_a_simulator_that_does_not_start_is_tried_again_if_it_may_do_better(error, final):
    assert collector.final(error) is final


def test_what_a_killed_process_had_begun_is_cleared_away(tmp_path):
    hand = Hand(0, {**SMALL, "hang_variation": 0}, False, 0.2, tmp_path / "log")
    (tmp_path / ".000.demo.12ab").write_bytes(b"half")
    (tmp_path / ".001.demo.12ab").write_bytes(b"another's")
    hand.take(Job("blocks:touch", 0, tmp_path / "000.demo"))
    while not wait([hand], 5.0):
        pass
    hand.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".001.demo.12ab", "log"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tasks": ("dummy:point",), "options": {}}, "the simulator of dummy:point has no expert that demonstrates"),
        ({"tasks": ("blocks:tuoch",)}, "Perhaps you meant 'touch'"),
        ({"tasks": ("blocks:touch", "blocks:touch")}, "each once"),
        ({"options": {"sise": 3}}, "Perhaps you meant 'size'"),
        ({"count": 0}, "--count is 0. Allowed: 1 and up"),
        ({"count": STRIDE + 1}, "Allowed: up to"),
        ({"timeout_s": 0.0}, "--timeout is 0.0"),
        ({"retries": -1}, "--retries is -1"),
    ],
)
def test_plans_that_cannot_be(tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says):
        collect(plan(tmp_path, **changes))
    assert not list(tmp_path.rglob("*.demo"))


def test_find_and_folders(tmp_path):
    usual, small = store.folder_of(tmp_path, "blocks:touch"), store.folder_of(tmp_path, "blocks:touch", SMALL)
    assert usual == tmp_path / "blocks" / "touch"
    assert small != usual and small.name.startswith("touch-")
    assert store.folder_of(tmp_path, "blocks:touch", {"size": 128, "rotation": True}) == usual
    assert store.folder_of(tmp_path, "rlbench:lamp_on") == tmp_path / "rlbench" / "lamp_on"
    assert store.find(tmp_path, "blocks:touch", 3) == []
    collect(plan(tmp_path, count=2))
    assert store.find(tmp_path, "blocks:touch", 1, SMALL) == [small / "000.demo"]
    shutil.copytree(small, store.folder_of(tmp_path, "blocks:lift", SMALL))
    with pytest.raises(DemoError, match=r"000.demo is a demonstration of blocks:touch, in the folder of blocks:lift. Fix: move it to"):
        store.find(tmp_path, "blocks:lift", 1, SMALL)


def test_options_that_demonstrations_do_not_depend_on_make_no_other_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "of_demos", lambda options: {k: v for k, v in options.items() if k == "size"}, raising=False)
    usual, small = store.folder_of(tmp_path, "blocks:touch"), store.folder_of(tmp_path, "blocks:touch", SMALL)
    assert store.folder_of(tmp_path, "blocks:touch", {"horizon": 3}) == usual
    assert store.folder_of(tmp_path, "blocks:touch", {"horizon": 3, **SMALL}) == small != usual


def test_ensure_collects_what_is_missing_and_waits_for_others(tmp_path):
    first = store.ensure("blocks:press", 2, SMALL, tmp_path, seed=3)
    assert [path.name for path in first] == ["000.demo", "001.demo"]
    with (tmp_path / ".collecting").open("a") as lock:
        assert store.ensure("blocks:press", 2, SMALL, tmp_path, seed=3) == first, "nothing to wait for"
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = []
        waiting = threading.Thread(target=lambda: found.extend(store.ensure("blocks:press", 3, SMALL, tmp_path, seed=3)))
        waiting.start()
        time.sleep(0.2)
        assert not found
    waiting.join(20)
    assert len(found) == 3


def test_progress_in_words(monkeypatch):
    monkeypatch.setattr(collecting.time, "monotonic", lambda: 160.0)
    state = State(50, 10, began=100.0)
    assert words(state) == "10 of 50 demonstrations"
    state.done, state.retries, state.task = 12, 3, "blocks:touch"
    assert words(state) == "22 of 50 demonstrations (blocks:touch), 3 tries failed, about 2 min left"
    state.under_way, state.longest_s, state.launching_s = 2, 31.0, 1.0
    assert words(state).endswith(", 3 tries failed, 2 under way, the longest for 31 s, about 2 min left")


def test_before_the_first_demonstration_it_is_told_what_is_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(collecting.time, "monotonic", lambda: 100.0)
    state, seen = State(3, 0), io.StringIO()
    hands = [Hand(0, {}, False, 60.0, tmp_path / "log") for _ in range(3)]
    for hand, (asked, since) in zip(hands, ((False, 5.0), (True, 20.0), (True, 90.0)), strict=True):
        hand.job, hand.asked, hand.since = Job("blocks:touch", 0, tmp_path / "x"), asked, 100.0 - since
    state.look(hands)
    with ProgressLine(seen) as line:
        line.show(state)
        line.show(state)
    assert seen.getvalue() == "0 of 3 demonstrations, starting a simulator for 5 s, 2 under way, the longest for 90 s\n"
    with ProgressLine(None) as line:
        line.show(state)


@pytest.mark.parametrize("name", ["reach_target.1.npz", "push_button.4.npz"])
def test_real_demonstrations(name, tmp_path):
    demo = rlbench.read(REAL / name)
    spec = rlbench.spec(name.split(".")[0], 128)
    assert demo.task == spec.task and spec.action_dim == 8 and spec.obs_dim == 11
    with np.load(REAL / name) as file:
        assert demo.keyframes.tolist() == file["keyframes"].tolist()
        np.testing.assert_array_equal(demo.observations["front_depth"], file["front_depth_m"])
        obs, frames = demo.observations["obs"], demo.frames
        np.testing.assert_array_equal(obs[:, 0], file["gripper_open"][frames])
        np.testing.assert_array_equal(obs[:, 1:8], file["gripper_pose"][frames].astype(np.float32))
        assert (obs[:, 8:10] >= 0).all() and (obs[:, 8:10] <= np.float32(0.04)).all() and (obs[:, 10] == 1).all()
    longest = chains(demo)[0].observations(demo, spec.horizon)["obs"]
    np.testing.assert_allclose(longest[:, 10], 1 - 2 * np.arange(len(demo.keyframes) + 1) / 9, rtol=1e-6)


def test_the_table_of_a_real_demonstration_is_where_it_should_be():
    """World points by the same formula as all cameras: RLBench's table is 0.75 m high."""
    from tests.simulators.test_blocks import points

    demo = rlbench.read(REAL / "push_button.4.npz")
    world = points({name: values[0] for name, values in demo.observations.items()}, "front")
    heights, count = np.unique(world[..., 2].round(3), return_counts=True)
    assert heights[count.argmax()] == pytest.approx(0.75, abs=0.001)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("front_depth_m"), "it lacks front_depth_m"),
        (lambda arrays: arrays.update(keyframes=np.array([3, 39])), r"has keyframes \[3, 39\], but they are found at \[39\]"),
        (lambda arrays: arrays.update(front_rgb=np.array([{}], object)), "cannot be read: .*allow_pickle"),
        (lambda arrays: arrays.update(frames=arrays["frames"] + 10_000), "its arrays do not fit each other"),
        (lambda arrays: arrays.update(joint_velocities=arrays["joint_velocities"][:3]), "its arrays do not fit each other"),
        (lambda arrays: arrays.update(front_intrinsics=np.ones((2, 3, 3))), "its arrays do not fit each other"),
    ],
)
def test_what_is_not_a_demonstration_of_rlbench(tmp_path, change, says):
    with np.load(REAL / "reach_target.1.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(tmp_path / "reach_target.1.npz", **arrays)
    with pytest.raises(DemoError, match=says):
        rlbench.read(tmp_path / "reach_target.1.npz")


def test_names_and_damage_of_numpy_files(tmp_path):
    (tmp_path / "reach_target.0.npz").write_bytes((REAL / "reach_target.1.npz").read_bytes()[:5000])
    with pytest.raises(DemoError, match="cannot be read"):
        rlbench.read(tmp_path / "reach_target.0.npz")
    with pytest.raises(DemoError, match=r"Allowed: TASK.NUMBER.npz"):
        rlbench.read(tmp_path / "reach_target.npz")

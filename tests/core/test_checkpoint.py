"""Checkpoints: whole or absent after a kill at any moment, every kind of damage named, what is kept and what is removed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from core import checkpoint, treefile
from core.checkpoint import Checkpoints
from core.errors import CheckpointError, ConfigError

REPOSITORY = Path(__file__).parents[2]


def tree(step):
    return {"weights": {"w": np.full((4, 3), step, np.float32)}, "step": step, "state": 2**127 + step}


def save(checkpoints, *steps):
    for step in steps:
        checkpoints.save(step, {"learner": tree(step), "actors": {"count": step}}, {"replay": [step]})


def assert_is(loaded, step):
    assert loaded.step == step
    assert loaded.meta == {"replay": [step]}
    assert loaded.components["actors"] == {"count": step}
    assert loaded.components["learner"]["state"] == 2**127 + step
    assert np.array_equal(loaded.components["learner"]["weights"]["w"], tree(step)["weights"]["w"])


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_saves_and_loads(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep_last=3)
    save(checkpoints, 5, 100)
    assert checkpoints.steps() == [5, 100]
    assert_is(checkpoints.load(), 100)
    assert_is(checkpoints.load(5), 5)
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_000000100\n"
    assert [manifest["meta"] for manifest in checkpoints.manifests()] == [{"replay": [5]}, {"replay": [100]}]
    assert sorted(path.name for path in (tmp_path / "checkpoints" / "step_000000005").iterdir()) == [
        "actors.json", "actors.safetensors", "done", "learner.json", "learner.safetensors", "manifest.json",
    ]  # fmt: skip


def test_keeps_the_last_few(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    save(checkpoints, 1, 2, 3, 4)
    assert checkpoints.steps() == [3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_000000003", "step_000000004"]


def test_leaves_the_abandoned_course(tmp_path):
    """After resuming from an earlier checkpoint, the later ones must neither be loaded nor push the new ones out."""
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    save(checkpoints, 100, 200)
    checkpoints.load(100)
    save(checkpoints, 150)
    assert checkpoints.steps() == [100, 150]
    assert_is(checkpoints.load(), 150)


def test_the_same_step_again_replaces(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, {"a": {"x": 1}})
    checkpoints.save(7, {"a": {"x": 2}})
    assert checkpoints.load().components == {"a": {"x": 2}}
    assert checkpoints.steps() == [7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_000000007"]


def test_one_that_is_being_read_is_not_removed(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    save(checkpoints, 1)
    read = treefile.read

    def read_slowly(folder, name):
        if checkpoints.steps() == [1]:
            save(Checkpoints(tmp_path, keep_last=1), 2)  # what the training process does meanwhile
        return read(folder, name)

    monkeypatch.setattr(treefile, "read", read_slowly)
    assert_is(checkpoints.load(1), 1)
    assert checkpoints.steps() == [1, 2]
    save(checkpoints, 3)
    assert checkpoints.steps() == [3]


def test_none_there(tmp_path):
    with pytest.raises(CheckpointError, match="no complete checkpoint in"):
        Checkpoints(tmp_path / "missing").load()
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 3)
    with pytest.raises(CheckpointError, match=r"of step 4 in .* There are: 3"):
        checkpoints.load(4)


def test_every_flipped_bit_is_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, 2)
    names = [path.name for path in (tmp_path / "step_000000002").iterdir()]
    assert len(names) == 6
    for name in names:
        path = tmp_path / "step_000000002" / name
        for at in {0, path.stat().st_size // 2, -1}:
            flip(path, at)
            with pytest.raises(CheckpointError, match=r"damaged.*The checkpoint step_000000001 is intact: pass --step 1"):
                checkpoints.load()
            flip(path, at)
    assert_is(checkpoints.load(), 2)


@pytest.mark.parametrize("name", ["learner.safetensors", "learner.json", "manifest.json", "done"])
def test_a_missing_file_is_named(tmp_path, name):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, 2)
    (tmp_path / "step_000000002" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"step_000000002/{name} is missing.*pass --step 1"):
        checkpoints.load()
    assert_is(checkpoints.load(1), 1)


def test_a_truncated_file_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    path = tmp_path / "step_000000001" / "learner.safetensors"
    size = path.stat().st_size
    os.truncate(path, size - 3)
    with pytest.raises(CheckpointError, match=rf"learner.safetensors has {size - 3} bytes instead of {size}. There is no other intact"):
        checkpoints.load()


def test_another_schema_is_refused(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    save(checkpoints, 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has schema 2, this version reads 1"):
        checkpoints.load()


def test_messages_are_one_line(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, 2)
    flip(tmp_path / "step_000000002" / "learner.json")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load()
    assert "\n" not in str(caught.value)


def test_a_damaged_manifest_needs_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, 2)
    flip(tmp_path / "step_000000001" / "manifest.json")
    assert [manifest["step"] for manifest in checkpoints.manifests()] == [2]


def test_a_full_disk_is_said_before_writing(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(5_000_000))
    with pytest.raises(CheckpointError, match=r"needs 9.0 MB and .* has 5.0 MB free. Free some space"):
        checkpoints.save(2, {"a": {"x": np.zeros(1_000_000)}})
    assert checkpoints.steps() == [1]


def test_a_failing_disk_leaves_the_earlier_ones(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(treefile, "sync_folder", fail)
    with pytest.raises(CheckpointError, match=r"No space left on device. Earlier checkpoints are intact"):
        save(checkpoints, 2)
    monkeypatch.undo()
    assert_is(checkpoints.load(), 1)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "manifest", "done", ".hidden"])
def test_bad_component_names(tmp_path, name):
    with pytest.raises(CheckpointError, match="component name"):
        Checkpoints(tmp_path).save(1, {name: {}})


def test_bad_settings_and_meta(tmp_path):
    with pytest.raises(ConfigError, match="keep_last"):
        Checkpoints(tmp_path, keep_last=0)
    with pytest.raises(CheckpointError, match="meta of a checkpoint must be JSON"):
        Checkpoints(tmp_path).save(1, {}, {"x": object()})
    assert not list(tmp_path.iterdir())


class Killed(BaseException):
    """Ends a save at one place, as a kill would: nothing handles it."""


def count_down(monkeypatch, left):
    """Lets ``left`` steps of a save happen, of all those that change the disk, and dies at the next."""
    remaining = [left]

    def wrap(owner, name):
        original = getattr(owner, name)

        def step(*args, **options):
            if remaining[0] == 0:
                raise Killed
            remaining[0] -= 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, step)

    for owner, name in ((treefile, "write"), (Path, "rename"), (Path, "mkdir"), (Path, "unlink"), (shutil, "rmtree"), (os, "unlink")):
        wrap(owner, name)


@pytest.mark.parametrize("again", [False, True])
def test_dying_at_each_step_of_a_save(tmp_path, monkeypatch, again):
    """Exhaustive: whatever the step, the earlier checkpoint or the new one is there, whole, and the next save works."""
    new = 2 if again else 3
    for left in range(100):
        folder = tmp_path / str(left)
        save(Checkpoints(folder, keep_last=2), 1, 2)
        with monkeypatch.context() as patch:
            count_down(patch, left)
            try:
                save(Checkpoints(folder, keep_last=2), new)
                finished = True
            except Killed:
                finished = False
        checkpoints = Checkpoints(folder, keep_last=2)
        loaded = checkpoints.load()
        assert_is(loaded, new if finished else loaded.step)
        assert loaded.step in (2, new)
        for step in checkpoints.steps():
            assert_is(checkpoints.load(step), step)
        save(checkpoints, 4)
        assert len(checkpoints.steps()) == 2
        assert len(list(folder.iterdir())) == 3
        if finished:
            assert left > 10
            return
    raise AssertionError("the save never ended")


SAVER = """
import sys
import numpy as np
from core.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep_last=2)
step = checkpoints.steps()[-1] if checkpoints.steps() else 0
while True:
    step += 1
    checkpoints.save(step, {"a": {"x": np.full(50_000, step)}, "b": {"step": step}}, {"step": step})
    print(step, flush=True)
"""


def test_kill_9_at_random_moments(tmp_path):
    rng = random.Random(0)
    for _ in range(15):
        child = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        said = []
        reader = threading.Thread(target=lambda lines=child.stdout, said=said: said.extend(lines))
        try:
            said.append(child.stdout.readline())
            reader.start()
            reader.join(rng.uniform(0.0, 0.15))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            reader.join()
        acknowledged = int(said[-1])
        checkpoints = Checkpoints(tmp_path)
        loaded = checkpoints.load()
        assert loaded.step in (acknowledged, acknowledged + 1)
        for step in checkpoints.steps():
            loaded = checkpoints.load(step)
            assert loaded.meta == {"step": step}
            assert loaded.components["b"] == {"step": step}
            assert (loaded.components["a"]["x"] == step).all()


def test_no_import_of_torch():
    code = "import sys, core.checkpoint, core.metrics, core.limiter, core.clocks; print(bool({'torch', 'tensorboardX'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY).stdout == "False\n"


def test_manifest_is_plain_json(tmp_path):
    save(Checkpoints(tmp_path), 1)
    manifest = json.loads((tmp_path / "step_000000001" / "manifest.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["components"]["learner"]["learner.safetensors"]["size"] == (
        tmp_path / "step_000000001" / "learner.safetensors"
    ).stat().st_size  # fmt: skip

"""Files of demonstrations: every bit comes back, others can open them, and no damage goes unnoticed."""

import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from safetensors.numpy import load_file

import simulators
from core import demofile, treefile
from core.demos import Demo
from core.errors import DemoError


def same(one: Demo, other: Demo) -> None:
    assert (one.task, one.success, dict(one.info)) == (other.task, other.success, dict(other.info))
    assert list(one.motion) == list(other.motion) and list(one.observations) == list(other.observations)
    pairs = [(one.frames, other.frames), (one.keyframes, other.keyframes), (one.actions, other.actions)]
    pairs += [(one.motion[name], other.motion[name]) for name in one.motion]
    pairs += [(one.observations[name], other.observations[name]) for name in one.observations]
    for a, b in pairs:
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.fixture(scope="module")
def demo():
    return simulators.make("blocks:lift", 1, size=16).demonstrate(2)


@pytest.fixture
def path(demo, tmp_path):
    demofile.write(tmp_path / "a" / "000.demo", demo)
    return tmp_path / "a" / "000.demo"


def test_every_bit_comes_back(demo, path):
    same(demofile.read(path), demo)
    assert [each.name for each in path.parent.iterdir()] == ["000.demo"]
    back = demofile.read(path)
    back.observations["obs"][0] = 0  # one's own, to be changed


def test_the_order_of_bytes_is_this_machines(demo, tmp_path):
    swapped = {name: values.astype(values.dtype.newbyteorder(">")) for name, values in demo.motion.items()}
    demofile.write(tmp_path / "x.demo", demo._replace(motion=swapped))
    same(demofile.read(tmp_path / "x.demo"), demo)


def test_where_no_folder_can_be(demo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match=r"x.demo cannot be written: (Not a directory|File exists)"):
        demofile.write(tmp_path / "file" / "x.demo", demo)


@pytest.mark.parametrize("success", [True, False])
def test_without_actions_and_with_odd_arrays(demo, tmp_path, success):
    motion = {**demo.motion, "nothing": np.zeros((len(demo.motion["gripper_open"]), 0), np.float32)}
    strided = {**demo.observations, "turned": np.asfortranarray(np.random.default_rng(0).normal(size=(len(demo.frames), 4, 3)))}
    odd = demo._replace(actions=None, motion=motion, observations=strided, success=success, info={"größe": '"\n'})
    demofile.write(tmp_path / "odd.demo", odd)
    same(demofile.read(tmp_path / "odd.demo"), odd)


def test_any_safetensors_reader_opens_it(demo, path):
    tensors = load_file(path)
    raw = zstandard.ZstdDecompressor().decompress(tensors["observations/front_rgb"].tobytes())
    assert raw == demo.observations["front_rgb"].tobytes()
    head = demofile.read_head(path)
    assert (head.task, head.success, head.info) == ("blocks:lift", True, dict(demo.info))
    assert head.arrays["observations/front_depth"] == {"dtype": "float32", "shape": [len(demo.frames), 16, 16], "shuffled": True}


def test_no_flipped_bit_goes_unnoticed(path):
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, header, 31), *draw.integers(header, len(whole), 60).tolist(), header, len(whole) - 1]
    for at in places:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(draw.integers(8))
        path.write_bytes(broken)
        with pytest.raises(DemoError):
            demofile.read(path)


def test_cut_off_or_with_something_behind(path):
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DemoError):
            demofile.read(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(DemoError, match="is damaged"):
        demofile.read(path)


def test_foreign_files(tmp_path):
    for name, content in {"text": b"hello", "pickle": b"\x80\x04N." * 9, "huge": b"\xff" * 64, "zip": b"PK\x03\x04" * 9}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DemoError, match="is not a demonstration of manyhands, or its beginning is damaged"):
            demofile.read(tmp_path / name)
    with pytest.raises(DemoError, match="cannot be read: No such file"):
        demofile.read(tmp_path / "none")
    with pytest.raises(DemoError, match="cannot be read: Is a directory"):
        demofile.read(tmp_path)


def rewritten(path: Path, change) -> None:
    """The file with other metadata."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])


def test_a_newer_version(path):
    rewritten(path, lambda metadata: metadata.update(version="2"))
    with pytest.raises(DemoError, match=r"has version 2 of the format, this manyhands reads up to 1. Fix: a newer manyhands"):
        demofile.read(path)


@pytest.mark.parametrize(
    ("old", "new"), [('"float32"', '"object"'), (", 16, 16", ", 99999999, 99999999"), ('"frames"', '"fames"'), ('"shuffled"', '"muffled"')]
)
def test_metadata_that_cannot_be(path, old, new):
    rewritten(path, lambda metadata: metadata.update(demo=metadata["demo"].replace(old, new)))
    with pytest.raises(DemoError, match="damaged"):
        demofile.read(path)


def test_a_frame_that_unpacks_to_more_than_it_should(demo, tmp_path, monkeypatch):
    """The size is looked at before memory is asked for."""
    packed = demofile._packed
    zeros = np.frombuffer(zstandard.ZstdCompressor().compress(bytes(1 << 24)), np.uint8)
    bomb = treefile.Blob("U8", zeros.shape, zeros)
    monkeypatch.setattr(demofile, "_packed", lambda values: bomb if values.dtype == np.uint8 else packed(values))
    demofile.write(tmp_path / "bomb.demo", demo)
    with pytest.raises(DemoError, match="array observations/front_rgb does not have the"):
        demofile.read(tmp_path / "bomb.demo")


def test_an_interrupted_write_leaves_what_was_there(demo, path, monkeypatch):
    before = path.read_bytes()

    def full(target, pieces):
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(treefile, "write", full)
    with pytest.raises(DemoError, match=r"000.demo cannot be written: no space left"):
        demofile.write(path, demo)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_what_cannot_be_written(demo, tmp_path):
    for changes, says in (
        ({"keyframes": demo.keyframes[:-1], "actions": None}, "the last frame is not the last keyframe"),
        ({"motion": {**demo.motion, "z": demo.motion["gripper_pose"].astype(np.complex64)}}, "the array motion/z is of complex64"),
    ):
        with pytest.raises(DemoError, match=says):
            demofile.write(tmp_path / "x.demo", demo._replace(**changes))
    assert not list(tmp_path.iterdir())

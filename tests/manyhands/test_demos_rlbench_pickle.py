"""Pickles of RLBench are read as Python reads them, and hostile ones are refused in one line: nothing is run, little memory is taken."""

import builtins
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from core.errors import DemoError
from manyhands.demos import rlbench_pickle
from manyhands.demos.rlbench_pickle import Array, Record, load
from tests.manyhands import trees

HEAD = b"\x80\x04"


def written(path, data):
    (path / "low_dim_obs.pkl").write_bytes(data)
    return path / "low_dim_obs.pkl"


def plain(value):
    """What ``load`` returned as what Python's pickle returns; a record as its fields."""
    if isinstance(value, Record):
        return plain(value.fields)
    if isinstance(value, Array):
        return value.values
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


def fields(value):
    if isinstance(value, (trees.Demo, trees.Observation)):
        return fields(value.__dict__)
    if isinstance(value, dict):
        return {key: fields(each) for key, each in value.items()}
    return type(value)(map(fields, value)) if isinstance(value, (list, tuple)) else value


def equal(a, b):
    np.testing.assert_equal(a, b)
    assert type(a) is type(b) or np.isscalar(a)


def test_a_real_one_as_python_reads_it():
    equal(plain(load(trees.EPISODE / "low_dim_obs.pkl")), fields(trees.loaded(trees.EPISODE / "low_dim_obs.pkl")))
    words = load(trees.REAL / "reach_target" / "variation0" / "variation_descriptions.pkl")
    assert words == ["reach the red target", "touch the red ball with the panda gripper", "reach the red sphere"]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_all_that_a_demonstration_may_have(tmp_path, protocol):
    odd = {
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big": np.arange(5, dtype=">i4"),
        "empty": np.zeros((0, 3), np.float32),
        "bools": np.array([True, False]),
        "number": np.float32(2.5),
        "numbers": [1, -1, 70000, 2**40, -(2**70), 0.5, True, None],
        "words": "ü" * 300,
        7: (1, 2, 3, 4, ()),
        "image": np.zeros((4, 4, 3), np.uint8),
        "seed": np.random.RandomState(3).get_state(),
    }
    made = trees.demo(6, misc=odd)
    found = plain(load(written(tmp_path, trees.dumped(made, protocol))))
    equal(found, fields(made))
    assert found["_observations"][0]["misc"]["big"].dtype == np.dtype(">i4")


def test_names_of_numpy_before_and_after_its_second_version(tmp_path):
    data = trees.dumped(np.arange(3.0))
    assert b"numpy._core.multiarray" in data
    old = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    old = old.replace(old[3:11], struct.pack("<Q", len(old) - 11), 1)
    np.testing.assert_array_equal(load(written(tmp_path, old)).values, np.arange(3.0))


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def canary(path):
    return f"touch {path}"


HOSTILE = {
    "system": lambda path: pickle.dumps(Calls(os.system, canary(path))),
    "eval": lambda path: pickle.dumps(Calls(builtins.eval, f"open({str(path)!r}, 'w')")),
    "getattr": lambda path: pickle.dumps(Calls(getattr, "x", "upper")),
    "protocol 2": lambda path: pickle.dumps(Calls(os.system, canary(path)), 2),
    "protocol 0": lambda path: pickle.dumps(Calls(os.system, canary(path)), 0),
    "inst": lambda path: b"(S'" + canary(path).encode() + b"'\nios\nsystem\n.",
    "obj": lambda path: b"(cos\nsystem\nS'" + canary(path).encode() + b"'\no.",
    "numpy's own loader": lambda path: pickle.dumps(Calls(np.load, str(path))),
    "a method of a known class": lambda path: HEAD + b"\x8c\x0crlbench.demo\x8c\x12Demo.restore_state\x93.",
    "a class of another name": lambda path: pickle.dumps(OrderedDict(a=1)),
    "an array of objects": lambda path: pickle.dumps(np.array([Calls(os.system, canary(path))], object)),
    "an array of strings": lambda path: pickle.dumps(np.array(["a"])),
    "an array with fields": lambda path: pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "f4")])),
    "an array with a time": lambda path: pickle.dumps(np.zeros(2, "M8[s]")),
    "another array": lambda path: pickle.dumps(np.ma.masked_array([1.0])),
    "an extension": lambda path: HEAD + b"\x82\x01.",
    "a persistent name": lambda path: HEAD + b"\x8c\x01aQ.",
    "a call of a class": lambda path: HEAD + b"crlbench.demo\nDemo\n)R.",
    "a call of a string": lambda path: HEAD + b"\x8c\x01a)R.",
    "a state for a class": lambda path: HEAD + b"crlbench.demo\nDemo\n}b.",
    "a new array type": lambda path: HEAD + b"cnumpy\nndarray\n)\x81.",
    "a demo with arguments": lambda path: HEAD + b"crlbench.demo\nDemo\nK\x01\x85\x81.",
    "keys that are deep": lambda path: HEAD + b"})" + b"\x85" * 100_000 + b"K\x01s.",
    "keys that are long": lambda path: HEAD + b"}X" + struct.pack("<I", 9999) + b"a" * 9999 + b"K\x01s.",
    "more shape than bytes": lambda path: _of_shape((1 << 25, 1 << 25, 1 << 25)),
    "a negative shape": lambda path: _of_shape((-1, -3)),
    "many dimensions": lambda path: _of_shape((1,) * 40),
}


def _of_shape(shape):
    """Three numbers that say they have this shape."""
    made, numbers = pickle.dumps(np.arange(3.0), 4), b"".join(b"J" + struct.pack("<i", n) for n in shape)
    assert made.count(b"K\x03\x85") == 1
    return made[:2] + made[11:].replace(b"K\x03\x85", b"(" + numbers + b"t")  # without its frame


@pytest.mark.parametrize("which", HOSTILE)
def test_hostile_ones_are_refused_in_one_line(tmp_path, which):
    data = HOSTILE[which](tmp_path / "ran")
    with pytest.raises(
        DemoError, match=r"low_dim_obs.pkl is refused: it (names|has|calls|gives|makes|begins) .*Pickles can run code"
    ) as refused:
        load(written(tmp_path, data))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400 + len(str(tmp_path))
    assert not (tmp_path / "ran").exists()


BOMBS = {
    "bytes that are not there": HEAD + b"\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "a string that is not there": HEAD + b"\x8d" + struct.pack("<Q", 1 << 40) + b"abc.",
    "a frame that is not there": HEAD + b"\x95" + struct.pack("<Q", 1 << 60) + b".",
    "an empty file": b"",
    "no end": HEAD + b"]",
    "an empty stack": HEAD + b"0.",
    "nothing to take": HEAD + b".",
    "nothing below a mark": HEAD + b"](\x85.",
    "no mark": HEAD + b"]e.",
    "nothing under this number": HEAD + b"h\x07.",
    "an odd dict": HEAD + b"}(K\x01u.",
    "another format": b"\x89PNG\r\n\x1a\n",
    "half a name": HEAD + b"cnumpy",
    "not UTF-8": HEAD + b"\x8c\x01\xff.",
}


@pytest.mark.parametrize("which", BOMBS)
def test_damage_takes_no_memory(tmp_path, which):
    path = written(tmp_path, BOMBS[which])
    tracemalloc.start()
    try:
        with pytest.raises(DemoError, match=r"is no pickle of RLBench, or it is damaged|is refused") as refused:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000 and "\n" not in str(refused.value)
    finally:
        tracemalloc.stop()


def test_a_far_number_to_remember_under_takes_no_memory(tmp_path):
    """Python's pickle makes a list as long as that."""
    path = written(tmp_path, HEAD + b"]r" + struct.pack("<I", 2**32 - 1) + b".")
    tracemalloc.start()
    try:
        assert load(path) == [] and tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_what_is_deep_or_contains_itself_is_only_data(tmp_path):
    value = load(written(tmp_path, HEAD + b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert isinstance(value, list) and isinstance(value[0], list)
    ring = []
    ring.append(ring)
    value = load(written(tmp_path, pickle.dumps(ring)))
    assert value[0] is value


def test_too_many_operations_or_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(rlbench_pickle, "MOST_OPERATIONS", 1000)
    with pytest.raises(DemoError, match="it has more than 1000 operations"):
        load(written(tmp_path, HEAD + b"}" * 2000 + b"."))
    monkeypatch.setattr(rlbench_pickle, "LARGEST_FILE", 1 << 20)
    with pytest.raises(DemoError, match="it has more than 1 MB"):
        load(written(tmp_path, HEAD + b"}" * (1 << 20) + b"."))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DemoError, match="cannot be read: No such file"):
        load(tmp_path / "none.pkl")


def test_flipped_bytes_never_surprise(tmp_path):
    """Each flip of a byte reads as something, or is refused by name."""
    data, rng = trees.dumped(trees.demo(3)), np.random.default_rng(0)
    outcomes = set()
    for _ in range(400):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] = rng.integers(256)
        try:
            load(written(tmp_path, bytes(flipped)))
            outcomes.add("read")
        except DemoError as error:
            outcomes.add("refused" if "is refused" in str(error) else "damaged")
    assert outcomes == {"read", "refused", "damaged"}

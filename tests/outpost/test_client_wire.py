"""Frames: what was packed comes back; whatever else arrives is ``Malformed`` in one line, and takes no memory."""

import struct
import zlib

import msgpack
import numpy as np
import pytest

from core.rows import row_dtype
from core.types import Field, TaskSpec
from outpost import PROTOCOL, wire
from replay.layout import describe as ring_describe

DTYPE = row_dtype(TaskSpec("a:b", (Field("obs", (3,)), Field("image", (2, 2), "uint8"), Field("pose", (7,), "float64")), 2, 9))
LAYOUT = wire.fingerprint(wire.describe(DTYPE))
SENT = wire.Chunk("run", 1, 2, 3, 0, LAYOUT, 4, [3, 1.5, 1, 0], [7, 8])


def rows(n=4):
    made = np.frombuffer(np.random.default_rng(0).bytes(n * DTYPE.itemsize), np.uint8).copy()
    return made.view(DTYPE)


def test_a_chunk_comes_back_bit_by_bit():
    chunk, back = wire.unpack_chunk(wire.pack_chunk(SENT, rows()), DTYPE, LAYOUT)
    assert chunk == SENT
    assert back.tobytes() == rows().tobytes() and back.dtype == DTYPE


def test_a_described_row_type_is_the_rings():
    described = msgpack.unpackb(msgpack.packb(wire.describe(DTYPE)))
    assert described == ring_describe(DTYPE)
    assert wire.undescribe(described) == DTYPE
    assert wire.fingerprint(described) == LAYOUT != wire.fingerprint(wire.describe(row_dtype(TaskSpec("a:b", (Field("obs", (3,)),), 2, 9))))


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_come_back(compress):
    arrays = {"w": np.zeros((50, 40), np.float32), "b": np.arange(3), "s": np.float64(2.5), "none": np.zeros((0, 2)), "t": np.array([True])}
    data = wire.pack_arrays(wire.WEIGHTS, {"version": 3}, arrays, compress=compress)
    header, back = wire.unpack_arrays(data, wire.WEIGHTS)
    assert header == {"version": 3} and list(back) == list(arrays)
    for name, value in arrays.items():
        assert (back[name].dtype, back[name].shape, back[name].tobytes()) == (np.asarray(value).dtype, value.shape, value.tobytes())
    assert (len(data) < 2000) == compress


def test_a_frame_cut_anywhere_is_refused():
    data = wire.pack_chunk(SENT, rows())
    for n in range(len(data)):
        with pytest.raises(wire.Malformed) as error:
            wire.unpack_chunk(data[:n], DTYPE, LAYOUT)
        assert "\n" not in str(error.value)
    with pytest.raises(wire.Malformed, match="overlong"):
        wire.unpack_chunk(data + b"x", DTYPE, LAYOUT)


def test_a_flipped_bit_anywhere_is_refused():
    data = wire.pack_chunk(SENT, rows())
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        with pytest.raises(wire.Malformed):
            wire.unpack_chunk(bytes(flipped), DTYPE, LAYOUT)


def test_another_version_is_told_from_damage():
    data = bytearray(wire.pack_chunk(SENT, rows()))
    data[4:6] = (PROTOCOL + 1).to_bytes(2, "little")
    with pytest.raises(wire.Malformed, match=f"protocol version {PROTOCOL + 1}, this is version {PROTOCOL}; fix") as error:
        wire.unpack_chunk(bytes(data), DTYPE, LAYOUT)
    assert error.value.foreign


def test_another_kind_of_frame_is_refused():
    with pytest.raises(wire.Malformed, match="kind 4 where one of kind 1"):
        wire.unpack_chunk(wire.pack_arrays(wire.WEIGHTS, {}, {}), DTYPE, LAYOUT)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 5},
        {"rows": -1},
        {"layout": 1},
        {"writer": -1},
        {"sequence": 2.0},
        {"sequence": True},
        {"task": None},
        {"run": 3},
        {"sequence": 1 << 63},
        {"episode": [1, 2]},
        {"episode": [1, 2, "3", 4]},
        {"discarded": ["x"]},
        {"discarded": list(range(65))},
    ],
)
def test_a_chunk_that_says_what_cannot_be_is_refused(changes):
    payload = rows().view(np.uint8).data
    with pytest.raises(wire.Malformed):
        wire.unpack_chunk(wire.frame(wire.CHUNK, {**SENT._asdict(), **changes}, payload), DTYPE, LAYOUT)


@pytest.mark.parametrize("missing", SENT._fields)
def test_a_chunk_without_one_of_its_numbers_is_refused(missing):
    header = {name: value for name, value in SENT._asdict().items() if name != missing}
    with pytest.raises(wire.Malformed):
        wire.unpack_chunk(wire.frame(wire.CHUNK, header, rows().view(np.uint8).data), DTYPE, LAYOUT)


def raw(head, payload=b""):
    """A frame around any bytes as its header."""
    check = zlib.crc32(payload, zlib.crc32(head))
    return wire.PREFIX.pack(wire.MAGIC, PROTOCOL, wire.WEIGHTS, len(head), len(payload), check) + head + payload


@pytest.mark.parametrize(
    "head", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\x01\x02", b"\xdd\xff\xff\xff\xff", b"\xd4\x05\x00", b"\x91" * 5000]
)
def test_a_header_that_is_no_map_of_names_is_refused(head):
    with pytest.raises(wire.Malformed):
        wire.unframe(raw(head), wire.WEIGHTS)


@pytest.mark.parametrize(
    ("arrays", "inflated"),
    [
        ([["w", "<f4", [1 << 40]]], 0),
        ([["w", "<f4", [1 << 20, 1 << 20]]], 1 << 28),
        ([["w", "|O8", [1]]], 0),
        ([["w", "<f4", [-1]]], 0),
        ([["w", "|V8", [1]]], 0),
        ([["w", 3, [1]]], 0),
        ([["w", "<f4", [3]]], 0),
        ("no list", 0),
        ([], -1),
    ],
)
def test_arrays_that_cannot_be_are_refused(arrays, inflated):
    head = msgpack.packb({"header": {}, "arrays": arrays, "inflated": inflated})
    with pytest.raises(wire.Malformed):
        wire.unpack_arrays(raw(head, b"12345678"), wire.WEIGHTS)


def test_a_bomb_is_not_inflated():
    bomb = zlib.compress(bytes(1 << 24))
    head = msgpack.packb({"header": {}, "arrays": [["w", "|u1", [100]]], "inflated": 100})
    with pytest.raises(wire.Malformed, match="another size than the 100 bytes"):
        wire.unpack_arrays(raw(head, bomb), wire.WEIGHTS)


def test_sizes_in_the_prefix_are_believed_only_where_the_bytes_are_there():
    prefix = struct.pack("<4sHHIII", wire.MAGIC, PROTOCOL, wire.CHUNK, 1 << 19, 1 << 27, 0)
    with pytest.raises(wire.Malformed, match="truncated"):
        wire.unframe(prefix + b"x" * 100, wire.CHUNK)

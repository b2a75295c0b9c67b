"""What client and gateway say to each other, byte by byte: frames with version, sizes and checksum. The only file that imports msgpack.

    4 bytes ``MHGW``, version u16, kind u16, header bytes u32, payload bytes u32, crc32 of header and payload u32 (little-endian)
    header: a msgpack map of plain values      payload: raw bytes, whose meaning the header tells

Nothing here is code when it is read, and every size is checked before memory is taken for it. What is odd is ``Malformed``, in one line.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack
import numpy as np

from outpost import PROTOCOL

CHUNK, ORDER, BEAT, WEIGHTS, CHILD, EVALUATION, RECORD = 1, 2, 3, 4, 5, 6, 7
"""Kinds of frames: transitions, what the gateway tells a client, what a client says of itself, parameters, a simulator's process; episodes
to play for an evaluation and the parameters to play them with, what came of one."""
PREFIX = struct.Struct("<4sHHIII")
MAGIC = b"MHGW"
MOST_HEADER = 1 << 20
MOST_PAYLOAD = 1 << 28
"""bytes of a payload; a chunk of 50 steps with five cameras has 25 MB"""
_NUMBERS = "biuf"
"""kinds of numpy types that travel"""
_WORTH = 0.95
"""What does not shrink below this share travels as it is."""
_SAMPLE = 1 << 16


class Malformed(Exception):  # noqa: N818 - reads better at the raise
    """A frame is not what this protocol says. One line.

    Args:
        foreign: it is of another version.
    """

    def __init__(self, message: str, foreign: bool = False) -> None:
        super().__init__(message)
        self.foreign = foreign


class Frame(NamedTuple):
    """One that was read."""

    header: dict[str, Any]
    payload: memoryview


def frame(kind: int, header: Mapping[str, Any], payload: Any = b"") -> bytes:
    """The bytes of a frame."""
    head: Any = msgpack.packb(dict(header), use_bin_type=True)
    body = memoryview(payload).cast("B")
    if len(head) > MOST_HEADER or len(body) > MOST_PAYLOAD:
        raise Malformed(f"a frame of {len(head)} + {len(body)} bytes; at most {MOST_HEADER} + {MOST_PAYLOAD} can travel")
    check = zlib.crc32(body, zlib.crc32(head))
    return b"".join([PREFIX.pack(MAGIC, PROTOCOL, kind, len(head), len(body), check), head, body])


def unframe(data: Any, kind: int) -> Frame:
    """Reads a frame of this kind.

    Raises:
        Malformed: anything else.
    """
    whole = memoryview(data).cast("B")
    if len(whole) < PREFIX.size:
        raise Malformed(f"truncated: {len(whole)} bytes, a frame has at least {PREFIX.size}")
    magic, version, found, head, body, check = PREFIX.unpack(whole[: PREFIX.size])
    if magic != MAGIC:
        raise Malformed(f"it is no frame: it begins {bytes(magic)!r}")
    if version != PROTOCOL:
        raise Malformed(f"protocol version {version}, this is version {PROTOCOL}; fix: the same version of manyhands on both sides", True)
    if found != kind:
        raise Malformed(f"a frame of kind {found} where one of kind {kind} is expected")
    if head > MOST_HEADER or body > MOST_PAYLOAD or PREFIX.size + head + body != len(whole):
        raise Malformed(f"truncated or overlong: {len(whole)} bytes for a frame that says {PREFIX.size + head + body}")
    rest = whole[PREFIX.size :]
    if zlib.crc32(rest) != check:
        raise Malformed("its checksum is wrong: damaged on its way")
    return Frame(_header(bytes(rest[:head])), rest[head:])


def _header(packed: bytes) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(packed, raw=False, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Malformed(f"its header cannot be read: {reason}") from None
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise Malformed("its header is no map of names")
    return header


# ---- chunks -----------------------------------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """Rows on their way to replay, and what else is told with them. Counts are of this incarnation of the client."""

    run: str
    """which run has asked for them: another one refuses them"""
    writer: int
    incarnation: int
    sequence: int
    """0, 1, 2 ...: with writer and incarnation the key by which a chunk that was sent twice is stored once"""
    task: int
    """index of the run's task"""
    layout: int
    """``fingerprint`` of the type of its rows"""
    rows: int
    """number of rows"""
    episode: list
    """of the episode that ends here: env steps, return, success at some step, at the last (0 or 1); empty where none does"""
    discarded: list
    """numbers of the latest episodes that were lost with their simulators"""


_CHUNK = {name: list if name in ("episode", "discarded") else str if name == "run" else int for name in Chunk._fields}
_MOST_LISTED = 64


def pack_chunk(chunk: Chunk, rows: np.ndarray) -> bytes:
    """``rows`` is one-dimensional, of the run's row type."""
    return frame(CHUNK, chunk._asdict(), np.ascontiguousarray(rows).view(np.uint8).data if len(rows) else b"")


def unpack_chunk(data: Any, dtype: np.dtype, layout: int) -> tuple[Chunk, np.ndarray]:
    """Reads a chunk with rows of ``dtype``, of which ``layout`` is the fingerprint.

    Raises:
        Malformed: as ``unframe``; or values of other types, rows of another type, another number of them than it says.
    """
    header, payload = unframe(data, CHUNK)
    if set(header) != set(_CHUNK):
        raise Malformed("its header has %s" % (", ".join(sorted(header)) or "nothing"))
    for name, kind in _CHUNK.items():
        if type(header[name]) is not kind:
            raise Malformed(f"{name} is {header[name]!r:.40}; {kind.__name__} is expected")
    chunk = Chunk(**header)
    _check_lists(chunk)
    if not all(0 <= getattr(chunk, name) < 1 << 62 for name in ("writer", "incarnation", "sequence", "task", "rows")):
        raise Malformed("a number in its header is negative or too large")
    if chunk.layout != layout:
        raise Malformed("its rows are of another type than those of this run")
    if chunk.rows * dtype.itemsize != len(payload):
        raise Malformed(f"{len(payload)} bytes for {chunk.rows} rows of {dtype.itemsize} bytes")
    return chunk, np.frombuffer(payload, dtype).copy()  # where it lies in the frame, no number would be aligned


def _check_lists(chunk: Chunk) -> None:
    if len(chunk.episode) not in (0, 4) or not all(type(value) in (int, float) for value in chunk.episode):
        raise Malformed(f"episode is {chunk.episode!r:.60}; four numbers are expected, or none")
    if len(chunk.discarded) > _MOST_LISTED or not all(type(value) is int and 0 <= value < 1 << 31 for value in chunk.discarded):
        raise Malformed(f"discarded is {chunk.discarded!r:.60}; at most {_MOST_LISTED} numbers of episodes are expected")


def describe(dtype: np.dtype) -> dict[str, Any]:
    """The type of a record as plain data, offsets included."""
    fields: Any = dtype.fields
    names = list(dtype.names or ())
    return {
        "names": names,
        "formats": [[fields[name][0].base.str, list(fields[name][0].shape)] for name in names],
        "offsets": [fields[name][1] for name in names],
        "itemsize": dtype.itemsize,
    }


def undescribe(data: Mapping[str, Any]) -> np.dtype:
    """The inverse of ``describe``."""
    parts: Any = {**data, "formats": [(base, tuple(shape)) for base, shape in data["formats"]]}
    return np.dtype(parts)


def fingerprint(described: Mapping[str, Any]) -> int:
    """A number by which two row types are told apart."""
    return zlib.crc32(repr([list(described[name]) for name in ("names", "formats", "offsets")] + [described["itemsize"]]).encode())


# ---- named arrays: parameters, observations --------------------------------------------------------------------------


def pack_arrays(kind: int, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], compress: bool = False) -> bytes:
    """Arrays of plain numbers by name, with a header of one's own; with ``compress`` by zlib where that pays."""
    solid = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    payload: Any = b"".join(value.tobytes() for value in solid.values())
    packed = len(payload) if compress and len(zlib.compress(payload[:_SAMPLE], 1)) < _WORTH * len(payload[:_SAMPLE]) else 0
    described = [[name, value.dtype.str, list(value.shape)] for name, value in solid.items()]
    head = {"header": dict(header), "arrays": described, "inflated": packed}
    return frame(kind, head, zlib.compress(payload, 1) if packed else payload)


def unpack_arrays(data: Any, kind: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays, which are copies.

    Raises:
        Malformed: as ``unframe``; or types that are no numbers, sizes that do not fit.
    """
    head, payload = unframe(data, kind)
    own, described, inflated = head.get("header"), head.get("arrays"), head.get("inflated")
    if not isinstance(own, dict) or not isinstance(described, list) or type(inflated) is not int or not 0 <= inflated <= MOST_PAYLOAD:
        raise Malformed("its header does not describe arrays")
    plans = [_plan(entry) for entry in described]
    total = sum(plan[3] for plan in plans)
    if total != (inflated or len(payload)):
        raise Malformed(f"{inflated or len(payload)} bytes for arrays of {total}")
    content = _inflate(payload, inflated) if inflated else payload
    arrays, at = {}, 0
    for name, dtype, shape, size in plans:
        arrays[name] = np.frombuffer(content[at : at + size], dtype).reshape(shape).copy()
        at += size
    return own, arrays


def _plan(entry: Any) -> tuple[str, np.dtype, tuple[int, ...], int]:
    """Name, type, shape and bytes of an array that a header describes."""
    good = isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str) and isinstance(entry[1], str)
    if not good or not isinstance(entry[2], list) or len(entry[2]) > 8:
        raise Malformed(f"{entry!r:.60} describes no array")
    name, kind, shape = entry
    if len(kind) > 4 or kind[1:2] not in _NUMBERS or not all(type(n) is int and 0 <= n <= MOST_PAYLOAD for n in shape):
        raise Malformed(f"array {name!r:.40} is of type {kind!r:.10} and shape {shape!r:.60}")
    try:
        dtype = np.dtype(kind)
    except TypeError:
        raise Malformed(f"array {name!r:.40} is of type {kind!r:.10}") from None
    size = dtype.itemsize
    for n in shape:
        size *= n
    return name, dtype, tuple(shape), size


def _inflate(payload: memoryview, size: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(payload, size + 1)
    except zlib.error as error:
        raise Malformed(f"it cannot be inflated: {error}") from None
    if len(content) != size or inflater.unconsumed_tail:
        raise Malformed(f"it inflates to another size than the {size} bytes it says")
    return content

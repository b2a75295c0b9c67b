"""One demonstration as one file: safetensors whose tensors are zstd frames. ``docs/demos.md`` describes the format; nothing in it is run.

Any safetensors reader opens it: each array is one tensor of bytes; the metadata say what it is when it is unpacked.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from core import treefile
from core.demos import Demo, check
from core.errors import DemoError

KIND, VERSION = "manyhands-demo", 1
LEVEL = 9
"""of zstd: higher ones take ten times as long for a tenth"""
LONGEST_HEADER = 1 << 24
LARGEST_ARRAY = 1 << 33
"""Bytes. More is not asked of the memory because a file says so."""
TYPES = ("bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


class Head(NamedTuple):
    """What a file says of itself, without its arrays."""

    task: str
    success: bool
    info: dict[str, str]
    arrays: dict[str, dict[str, Any]]
    """name -> dtype, shape, shuffled"""
    sha256: str
    told: str
    """task, success, info and arrays as the file has them, JSON"""
    begins: int
    """byte of the file where the tensors begin"""
    offsets: dict[str, tuple[int, int]]
    """name -> first byte and the one behind the last, from ``begins`` on"""


def write(path: Path, demo: Demo) -> None:
    """Writes a demonstration: the whole file or, where that ends in the middle, nothing under this name.

    Raises:
        DemoError: it is not a demonstration, or cannot be written.
    """
    check(demo)
    arrays = {name: np.asarray(values, values.dtype.newbyteorder("="), order="C") for name, values in _arrays(demo).items()}
    about = {
        name: {"dtype": values.dtype.name, "shape": values.shape, "shuffled": values.dtype.kind == "f"} for name, values in arrays.items()
    }
    for name, entry in about.items():
        if entry["dtype"] not in TYPES:
            raise DemoError(f"{demo.task}: the array {name} is of {entry['dtype']}, which has no place in a demonstration")
    tree = {"task": demo.task, "success": bool(demo.success), "info": dict(demo.info), "arrays": about}
    told = json.dumps(tree)
    blobs = {name: _packed(values) for name, values in arrays.items()}
    digest = _digest(told, {name: memoryview(blob.data.data) for name, blob in blobs.items()})
    metadata = {"format": KIND, "version": str(VERSION), "demo": told, "sha256": digest}
    try:
        _replace(path, treefile.safetensors_bytes(blobs, metadata))
    except OSError as error:
        raise DemoError(f"{path} cannot be written: {error.strerror or error}") from None


def _replace(path: Path, pieces: Iterable[Any]) -> None:
    """The whole file, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        treefile.write(part, pieces)
        os.replace(part, path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    treefile.sync_folder(path.parent)


def read(path: Path) -> Demo:
    """The demonstration in a file, if it is whole.

    Raises:
        DemoError: there is no such file, it is damaged, of another format or of a newer version.
    """
    head = read_head(path)
    try:
        with path.open("rb") as file:
            file.seek(head.begins)
            data = memoryview(file.read())
        parts = {name: data[begin:end] for name, (begin, end) in head.offsets.items()}
        if max(end for _, end in head.offsets.values()) != len(data) or _digest(head.told, parts) != head.sha256:
            raise DemoError(f"{path} is damaged: its checksum is another. Fix: delete it, and collect or import it again")
        arrays = {name: _unpacked(parts[name], head.arrays[name], f"{path}, array {name}") for name in head.arrays}
    except (OSError, MemoryError, zstandard.ZstdError) as error:
        raise DemoError(f"{path} cannot be read: {error}") from None
    demo = _demo(head, arrays)
    check(demo)
    return demo


def read_head(path: Path) -> Head:
    """What the file says of itself, in a moment. Whether its arrays are whole is not looked at.

    Raises:
        DemoError: as ``read``.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LONGEST_HEADER, size - 8):
                raise ValueError
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__")
        if metadata["format"] != KIND:
            raise ValueError
        version = int(metadata["version"])
        if version < 1:
            raise ValueError
    except OSError as error:
        raise DemoError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DemoError(f"{path} is not a demonstration of manyhands, or its beginning is damaged (docs/demos.md has the format)") from None
    if version > VERSION:
        raise DemoError(f"{path} has version {version} of the format, this manyhands reads up to {VERSION}. Fix: a newer manyhands")
    try:
        return _head(metadata, header, 8 + length, size - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DemoError(f"{path} is damaged: its metadata do not fit its arrays") from None


def _head(metadata: Mapping[str, str], header: Mapping[str, Any], begins: int, room: int) -> Head:
    """ValueError, KeyError or TypeError where something is not as ``write`` writes it."""
    tree = json.loads(metadata["demo"])
    offsets = {name: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1])) for name, entry in header.items()}
    fits = offsets.keys() == tree["arrays"].keys() and all(0 <= begin <= end <= room for begin, end in offsets.values())
    plain = all((entry["dtype"], entry["shape"]) == ("U8", [offsets[name][1] - offsets[name][0]]) for name, entry in header.items())
    if not fits or not plain or {"frames", "keyframes"} - offsets.keys():
        raise ValueError
    for entry in tree["arrays"].values():
        if type(entry["shuffled"]) is not bool:
            raise ValueError
        if entry["dtype"] not in TYPES or not all(type(n) is int and n >= 0 for n in entry["shape"]) or _size(entry) > LARGEST_ARRAY:
            raise ValueError
    info = {str(key): str(value) for key, value in tree["info"].items()}
    return Head(
        str(tree["task"]), tree["success"] is True, info, tree["arrays"], str(metadata["sha256"]), metadata["demo"], begins, offsets
    )


def _size(entry: Mapping[str, Any]) -> int:
    """Bytes of an array."""
    size = np.dtype(entry["dtype"]).itemsize
    for n in entry["shape"]:
        size *= n
    return size


def _arrays(demo: Demo) -> dict[str, NDArray]:
    named = {"frames": demo.frames, "keyframes": demo.keyframes} | ({} if demo.actions is None else {"actions": demo.actions})
    motion = {f"motion/{name}": values for name, values in demo.motion.items()}
    return {**named, **motion, **{f"observations/{name}": values for name, values in demo.observations.items()}}


def _demo(head: Head, arrays: Mapping[str, NDArray]) -> Demo:
    def below(folder: str) -> dict[str, NDArray]:
        return {name.removeprefix(folder): values for name, values in arrays.items() if name.startswith(folder)}

    motion, observations = below("motion/"), below("observations/")
    return Demo(head.task, motion, arrays["frames"], observations, arrays["keyframes"], arrays.get("actions"), head.success, head.info)


def _packed(values: NDArray) -> treefile.Blob:
    """One zstd frame. Of floats first all first bytes, then all second bytes ...: like stands by like, which packs a fifth better."""
    data = values.reshape(-1).view(np.uint8) if values.nbytes else np.empty(0, np.uint8)
    if values.dtype.kind == "f":
        data = np.ascontiguousarray(data.reshape(-1, values.itemsize).T)
    packed = np.frombuffer(zstandard.ZstdCompressor(level=LEVEL).compress(data.tobytes()), np.uint8)
    return treefile.Blob("U8", (len(packed),), packed)


def _unpacked(data: memoryview, entry: Mapping[str, Any], where: str) -> NDArray:
    size, dtype = _size(entry), np.dtype(entry["dtype"])
    if zstandard.frame_content_size(data) != size:
        raise DemoError(f"{where} does not have the {size} bytes that its shape needs")
    plain = np.frombuffer(bytearray(zstandard.ZstdDecompressor().decompress(data, max_output_size=size)), np.uint8)
    if entry["shuffled"]:
        plain = np.ascontiguousarray(plain.reshape(dtype.itemsize, -1).T).reshape(-1)
    return plain.view(dtype).reshape(entry["shape"])


def _digest(told: str, parts: Mapping[str, memoryview]) -> str:
    """sha256 of the metadata, then of each array's name and packed bytes, in the order of the names."""
    digest = hashlib.sha256(told.encode())
    for name in sorted(parts):
        digest.update(name.encode())
        digest.update(parts[name])
    return digest.hexdigest()

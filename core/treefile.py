"""One component of a checkpoint as a pair of files: ``<name>.safetensors`` (arrays) and ``<name>.json`` (the rest of the tree).

The safetensors format (8 bytes of length, a JSON header, the bytes) is written and read here directly: the bytes go from the array through
the checksum into the file without the copy that the library makes, and replay may be most of the memory. Any safetensors reader opens them.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError

PIECE = 1 << 24
"""Bytes that are hashed and written at a time."""

CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
}  # fmt: skip
"""Types that safetensors names. Every other type (records, strings) is stored as plain bytes; the JSON file says what they are."""


class Blob(NamedTuple):
    """The bytes of one array."""

    code: str
    """safetensors type"""
    shape: tuple[int, ...]
    data: NDArray[np.uint8]
    """(bytes,) a view into the array where that was contiguous"""


class Stored(NamedTuple):
    """What the manifest keeps of one file."""

    size: int
    """bytes"""
    sha256: str


def encode(tree: Any) -> tuple[Any, dict[str, Blob]]:
    """Splits a tree into what JSON can hold and its arrays.

    Dicts (any mapping is restored as a dict; keys are strings or integers), lists, tuples, strings, integers of any size, floats, bools,
    None, numpy arrays and scalars of any type but object, torch tensors (restored on the CPU).

    Raises:
        CheckpointError: something else is in the tree; the message says where.
    """
    blobs: dict[str, Blob] = {}
    return _encode(tree, "", blobs), blobs


def _encode(node: Any, path: str, blobs: dict[str, Blob]) -> Any:
    if node is None or type(node) in (bool, int, float, str):
        return node
    if isinstance(node, Mapping):
        return _encode_mapping(node, path, blobs)
    if type(node) in (list, tuple):
        items = [_encode(item, f"{path}/{at}", blobs) for at, item in enumerate(node)]
        return items if type(node) is list else {"$tuple": items}
    if isinstance(node, np.generic) or type(node) in (np.ndarray, np.memmap):
        return _encode_numpy(node, path, blobs)
    if is_tensor(node):
        return _encode_torch(node, path, blobs)
    raise CheckpointError(
        f"a {type(node).__name__} at {path or '/'} cannot be saved. Allowed: dict, list, tuple, str, int, float, bool, None, "
        "numpy arrays and torch tensors"
    )


def _encode_mapping(node: Mapping, path: str, blobs: dict[str, Blob]) -> dict[str, Any]:
    for key in node:
        if type(key) not in (str, int):
            raise CheckpointError(f"the key {key!r} of the dict at {path or '/'} cannot be saved. Allowed: strings and integers")
    values = {key: _encode(value, f"{path}/{key}", blobs) for key, value in node.items()}
    if all(type(key) is str and not key.startswith("$") for key in values):
        return values
    return {"$items": [[key, value] for key, value in values.items()]}


def _encode_numpy(node: Any, path: str, blobs: dict[str, Blob]) -> dict[str, Any]:
    array = np.asarray(node, order="C")
    if array.dtype.hasobject:
        raise CheckpointError(f"the numpy array at {path or '/'} holds Python objects, which cannot be saved")
    code = CODES.get(array.dtype.name) if array.dtype.isnative else None
    data = array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    name = _put(path, code, array.shape, data, blobs)
    kind = "scalar" if isinstance(node, np.generic) else "numpy"
    return {"$array": name, "of": kind, "dtype": np.lib.format.dtype_to_descr(array.dtype), "shape": list(array.shape)}


def _encode_torch(node: Any, path: str, blobs: dict[str, Blob]) -> dict[str, Any]:
    import torch

    if node.layout != torch.strided or node.is_quantized:
        raise CheckpointError(f"the tensor at {path or '/'} is sparse or quantised, which cannot be saved")
    tensor = node.detach().cpu().resolve_conj().resolve_neg().contiguous()
    dtype = str(tensor.dtype).removeprefix("torch.")
    name = _put(path, CODES.get(dtype), tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).numpy(), blobs)
    return {"$array": name, "of": "torch", "dtype": dtype, "shape": list(tensor.shape)}


def _put(path: str, code: str | None, shape: tuple[int, ...], data: NDArray[np.uint8], blobs: dict[str, Blob]) -> str:
    name = path.lstrip("/") or "array"
    if name in blobs or name == "__metadata__":
        # {"a/b": x, "a": {"b": y}} has one path twice, and safetensors keeps one name for itself.
        name = f"{name}#{len(blobs)}"
    blobs[name] = Blob(code or "U8", shape if code else (len(data),), data)
    return name


def is_tensor(node: Any) -> bool:
    """Whether this is a torch tensor, without importing torch: no value can be one before someone has."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(node, torch.Tensor)


def snapshot(tree: Any) -> Any:
    """A private copy of a tree: arrays copied, tensors copied to the CPU without their gradient, containers rebuilt."""
    if isinstance(tree, Mapping):
        return {key: snapshot(value) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(snapshot(item) for item in tree)
    if isinstance(tree, np.ndarray):
        return np.array(tree)
    return tree.detach().to("cpu", copy=True) if is_tensor(tree) else tree


def safetensors_bytes(blobs: Mapping[str, Blob], metadata: Mapping[str, str] | None = None) -> Iterator[Any]:
    """The pieces of a safetensors file, in order."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    # Widest type first, as the library does: every array is then aligned for readers that map the file.
    ordered = sorted(blobs.items(), key=lambda item: -_width(item[1]))
    for name, blob in ordered:
        header[name] = {"dtype": blob.code, "shape": blob.shape, "data_offsets": [at, at + len(blob.data)]}
        at += len(blob.data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, blob in ordered:
        yield blob.data


def _width(blob: Blob) -> int:
    return len(blob.data) // max(1, int(np.prod(blob.shape, dtype=np.int64)))


def write(path: Path, pieces: Iterable[Any]) -> Stored:
    """Writes byte pieces to a new file and waits until the disk has them."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for piece in pieces:
            view = memoryview(piece)
            for at in range(0, len(view), PIECE):
                digest.update(view[at : at + PIECE])
                file.write(view[at : at + PIECE])
        size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    return Stored(size, digest.hexdigest())


def verify(path: Path, stored: Mapping[str, Any]) -> None:
    """Holds a file against what the manifest keeps of it: CheckpointError where it is missing, cut off or changed."""
    if not path.exists():
        raise CheckpointError(f"the file {path} is missing")
    size = path.stat().st_size
    if size != stored["size"]:
        raise CheckpointError(f"{path} has {size} bytes instead of {stored['size']}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != stored["sha256"]:
        raise CheckpointError(f"{path} is damaged: sha256 {digest[:12]} instead of {stored['sha256'][:12]}")


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path, name: str) -> Any:
    """The tree that was written as component ``name``. The files must have been verified against their checksums before."""
    skeleton = json.loads((folder / f"{name}.json").read_bytes())
    with (folder / f"{name}.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        offsets = {key: 8 + length + entry["data_offsets"][0] for key, entry in header.items()}
        return _decode(skeleton, file, offsets)


def _decode(node: Any, file: BinaryIO, offsets: Mapping[str, int]) -> Any:
    if isinstance(node, list):
        return [_decode(item, file, offsets) for item in node]
    if not isinstance(node, dict):
        return node
    if "$array" in node:
        file.seek(offsets[node["$array"]])
        return _read_torch(node, file) if node["of"] == "torch" else _read_numpy(node, file)
    if "$tuple" in node:
        return tuple(_decode(item, file, offsets) for item in node["$tuple"])
    if "$items" in node:
        return {key: _decode(value, file, offsets) for key, value in node["$items"]}
    return {key: _decode(value, file, offsets) for key, value in node.items()}


def _read_numpy(node: Mapping[str, Any], file: BinaryIO) -> Any:
    array = np.empty(node["shape"], np.lib.format.descr_to_dtype(_descr(node["dtype"])))
    if array.nbytes:
        _fill(array.reshape(-1).view(np.uint8), file)
    return array[()] if node["of"] == "scalar" else array


def _read_torch(node: Mapping[str, Any], file: BinaryIO) -> Any:
    import torch

    tensor = torch.empty(node["shape"], dtype=getattr(torch, node["dtype"]))
    _fill(tensor.reshape(-1).view(torch.uint8).numpy(), file)
    return tensor


def _fill(buffer: NDArray[np.uint8], file: BinaryIO) -> None:
    # One read call moves at most 2 GiB.
    at = 0
    while at < len(buffer):
        got = file.readinto(memoryview(buffer)[at:])  # type: ignore[attr-defined]
        if not got:
            raise CheckpointError(f"{getattr(file, 'name', 'a file')} ends in the middle of an array")
        at += got


def _descr(descr: Any) -> Any:
    """A numpy type description as numpy wants it: JSON has made its tuples lists."""
    if isinstance(descr, str):
        return descr
    return [(tuple(f[0]) if isinstance(f[0], list) else f[0], _descr(f[1]), *(tuple(shape) for shape in f[2:])) for f in descr]

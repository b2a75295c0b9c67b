"""Trees on disk: what is read is what was written, to the bit and to the type."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core import treefile
from core.errors import CheckpointError
from core.rows import row_dtype
from core.types import Field, TaskSpec


def round_trip(tree, folder):
    skeleton, blobs = treefile.encode(tree)
    for path in folder.iterdir():
        path.unlink()
    treefile.write(folder / "c.safetensors", treefile.safetensors_bytes(blobs))
    treefile.write(folder / "c.json", [json.dumps(skeleton).encode()])
    return treefile.read(folder, "c")


def same(a, b):
    """Equal in type, shape, element type and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and same(treefile.encode(a)[1]["array"].data, treefile.encode(b)[1]["array"].data)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


DTYPES = [np.dtype(name) for name in ("f8", "f4", "f2", "i8", "i4", "i1", "u8", "u4", "u1", "?", "c8", "c16", ">f8", "S3", "U4", "M8[s]")]
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(2**64, 2**200), st.floats(), st.text(max_size=8), ARRAYS)
KEYS = st.one_of(st.text(max_size=6), st.integers(-5, 5), st.sampled_from(["$array", "$tuple", "$items", "a/b", "__metadata__"]))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(tree=TREES)
def test_any_tree_comes_back(tree, tmp_path_factory):
    assert same(round_trip(tree, tmp_path_factory.mktemp("tree")), tree)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8, torch.complex128]
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 2), (0, 4)])
def test_tensors_come_back(dtype, shape, tmp_path):
    tensor = torch.randn(shape, dtype=torch.float64).to(dtype)
    assert same(round_trip({"t": tensor}, tmp_path)["t"], tensor)


def test_views_parameters_and_scalars(tmp_path):
    tree = {
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "strided": np.arange(10)[::3],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.float64(0.1),
        "conjugate": torch.tensor([1 + 2j]).conj(),
    }
    back = round_trip(tree, tmp_path)
    assert torch.equal(back["transposed"], tree["transposed"])
    assert torch.equal(back["parameter"], torch.ones(2))
    assert np.array_equal(back["strided"], tree["strided"])
    assert np.array_equal(back["fortran"], tree["fortran"])
    assert type(back["scalar"]) is np.float64
    assert torch.equal(back["conjugate"], torch.tensor([1 - 2j]))


def test_what_is_read_may_be_written_to(tmp_path):
    back = round_trip({"a": np.zeros(3), "t": torch.zeros(3)}, tmp_path)
    back["a"][0] = 1.0
    back["t"][0] = 1.0


def test_replay_rows_keep_their_layout(tmp_path):
    spec = TaskSpec("t", (Field("obs", (39,)),), 4, 500)
    rows = np.zeros(5, row_dtype(spec, [Field("flag", (), "uint8"), Field("wide", (2,), "float64")]))
    rows["t"], rows["obs"] = np.arange(5), 0.5
    back = round_trip({"rows": rows}, tmp_path)["rows"]
    assert back.dtype == rows.dtype
    assert back.dtype.itemsize == rows.dtype.itemsize
    assert [back.dtype.fields[name][1] for name in back.dtype.names] == [rows.dtype.fields[name][1] for name in rows.dtype.names]
    assert (back == rows).all()


def test_generator_state_goes_on_exactly(tmp_path):
    generator = np.random.default_rng(3)
    generator.random(7)
    other = np.random.default_rng(0)
    other.bit_generator.state = round_trip(generator.bit_generator.state, tmp_path)
    assert np.array_equal(generator.random(9), other.random(9))
    assert torch.equal(round_trip({"t": torch.get_rng_state()}, tmp_path)["t"], torch.get_rng_state())


def test_optimiser_state_goes_on(tmp_path):
    weight = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([weight])
    weight.sum().backward()
    adam.step()
    back = round_trip(adam.state_dict(), tmp_path)
    assert same(back["state"][0], adam.state_dict()["state"][0])
    torch.optim.Adam([weight]).load_state_dict(back)


def test_the_library_reads_our_files(tmp_path):
    tree = {"net": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.uint8(7)}, "step": np.int64(5), "mask": torch.tensor([True])}
    round_trip(tree, tmp_path)
    read = safetensors.numpy.load_file(tmp_path / "c.safetensors")
    assert sorted(read) == ["mask", "net/n", "net/w", "step"]
    assert np.array_equal(read["net/w"], tree["net"]["w"])
    assert read["net/w"].dtype == np.float32
    assert read["step"] == 5


@pytest.mark.parametrize(
    ("tree", "complaint"),
    [
        ({"a": {"b": object()}}, "object at /a/b"),
        ({"a": [b"bytes"]}, "bytes at /a/0"),
        ({"a": np.array([object()])}, "/a holds Python objects"),
        ({"a": {1.5: 0}}, "key 1.5 of the dict at /a"),
        ({"a": {1, 2}}, "set at /a"),
        ({"a": torch.eye(2).to_sparse()}, "/a is sparse"),
    ],
)
def test_what_cannot_be_saved_is_named(tree, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        treefile.encode(tree)


def test_snapshot_shares_nothing():
    tree = {"a": np.zeros(2), "t": torch.zeros(2, requires_grad=True), "l": [np.zeros(1), (np.zeros(1), 3)], "n": None}
    copy = treefile.snapshot(tree)
    tree["a"][0] = tree["l"][0][0] = tree["l"][1][0][0] = 1.0
    with torch.no_grad():
        tree["t"][0] = 1.0
    assert same(copy, {"a": np.zeros(2), "t": torch.zeros(2), "l": [np.zeros(1), (np.zeros(1), 3)], "n": None})
    assert not copy["t"].requires_grad

"""Columns that stand for an observation: in the batch under their names, with their types, of the right rows, on whatever device."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.rows import STEP, row_dtype
from core.tree import map_tree, named_leaves
from core.types import Chunk, Field, Stream
from replay.check import ChunkCheck
from replay.sampler import Sampler
from tests.replay.build import DTYPE
from tests.replay.test_sampler import fill
from tests.replay.vision import ENCODED, EXTRA, ROWS, SPEC, Visionary, check, columns


def ends(ring, task, numbers, n_step):
    """The row that ends the window of each."""
    kinds = ring.rows["kind"][task]
    found = []
    for number in numbers:
        m = 1
        while m < n_step and kinds[(number + m) % ring.layout.capacity] == STEP:
            m += 1
        found.append(number + m)
    return np.array(found)


@pytest.mark.parametrize("n_step", [1, 3])
def test_here_and_there_are_the_rows_that_they_are_said_to_be(make_ring, n_step):
    ring = make_ring(tasks=2, capacity=40, window=n_step + 1, dtype=ROWS)
    actor = Visionary(ring)
    for i in range(24):
        actor.send(i % 2, 4, terminated=i % 3 == 0)
    sampler = Sampler(ring, [1, 0], Stream(32, n_step), seed=0)
    for _ in range(5):
        batch, drawn = sampler.draw(), sampler.drawn()
        last = np.stack([ends(ring, task, drawn[k], n_step) for k, task in enumerate((1, 0))])
        check(batch, drawn, (1, 0), last)
        check(sampler.assemble(sampler.buffer.clone()), drawn, (1, 0), last)
    assert set(batch.here) == {field.name for field in (*ENCODED, *EXTRA)}
    assert set(batch.there) == {field.name for field in ENCODED}
    assert batch.here["voxel_index"].dtype == torch.uint16 and batch.here["voxel_value"].shape == (2, 32, 6, 2)
    assert batch.here["voxel_index"].untyped_storage().data_ptr() == sampler.buffer.untyped_storage().data_ptr()


def test_a_spec_without_them_has_the_buffer_that_it_had(make_ring):
    plain = row_dtype(replace(SPEC, observation=SPEC.observation[:1]))
    ring = make_ring(tasks=1, dtype=plain)
    windows = Sampler(ring, [0], Stream(4), seed=0).windows
    assert windows.words == plain.itemsize // 4 + 3 and windows.size == 4 * windows.words + 4
    batch = windows.assemble(windows.buffer)
    assert batch.here == () and batch.there == ()


def test_numbers_of_eight_bytes_are_copied(make_ring):
    dtype = row_dtype(SPEC, (Field("key", (3,), "int64"),), (Field("pose", (), "float64"),))
    ring = make_ring(tasks=1, dtype=dtype)
    rows = np.zeros(5, dtype)
    rows["pose"], rows["key"], rows["t"] = np.arange(5), np.arange(5)[:, None] - 2**40, np.arange(5)
    rows["kind"][-1], rows["truncated"][-2] = 1, True
    ring.insert(Chunk(0, 0, 0, 0, rows))
    sampler = Sampler(ring, [0], Stream(5), seed=0)
    batch, drawn = sampler.draw(), sampler.drawn()
    assert (batch.here["pose"].numpy() == drawn).all() and (batch.there["pose"].numpy() == drawn + 1).all()
    assert (batch.here["key"].numpy() == drawn[..., None] - 2**40).all()


def test_the_compiler_follows(make_ring):
    ring = make_ring(tasks=1, dtype=ROWS)
    Visionary(ring).send(0, 9)
    sampler = Sampler(ring, [0], Stream(8), seed=0)
    batch = sampler.draw()
    traced = torch.compile(sampler.assemble, backend="eager", fullgraph=True, dynamic=False)(sampler.buffer.clone())
    numbers = [map_tree(lambda leaf: leaf.to(torch.float64), made) for made in (traced, batch)]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(*map(named_leaves, numbers), strict=True))


def test_a_terminal_observation_may_be_zeros(make_ring):
    ring = make_ring(tasks=1, dtype=ROWS)
    rows = np.zeros(4, ROWS)
    for name, value in columns(0, np.arange(4)).items():
        rows[name] = value
    rows["t"], rows["terminated"][-2], rows["kind"][-1] = np.arange(4), True, 1
    for field in ENCODED:
        rows[field.name][-1] = 0
    ChunkCheck(ring.layout)(Chunk(0, 0, 0, 0, rows))


def test_other_rows_have_their_own_columns_only(make_ring):
    ring = make_ring(dtype=DTYPE)
    fill(ring)
    batch = Sampler(ring, [0, 1], Stream(4), seed=0).draw()
    assert set(batch.here) == {"extra"} and batch.there == ()
    assert (batch.here["extra"].numpy() == batch.obs.numpy()[..., :3]).all()

"""Ranks on GPUs, one each, over NCCL: not run so far for want of a machine with two. See test_ranks.py for what it means."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from core.tree import named_leaves
from learner.ranks import RankedLearner
from tests.learner.ranked import B, filled, make, updated

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")]


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_two_halves_of_a_batch_are_the_whole(tmp_path, mode):
    command = [sys.executable, "-m", "tests.learner.ranked", str(tmp_path / "store")]
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    running = [subprocess.Popen([*command, str(rank), "2", mode, "cuda", str(out)]) for rank, out in enumerate(outs)]
    assert [process.wait(200) for process in running] == [0, 0]
    state, _ = updated(B, slice(0, B))
    first, second = (torch.load(out, map_location="cpu") for out in outs)
    for (name, whole), (_, half), (_, other) in zip(named_leaves(state), first["state"], second["state"], strict=True):
        assert torch.equal(half, other), name
        torch.testing.assert_close(half, whole, rtol=2e-4, atol=2e-5, msg=name)


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_ranks_stay_equal(tmp_path, mode):
    """Also where the learner captures its updates in a CUDA graph, after the first two."""
    ring = filled(tmp_path)
    learner = RankedLearner(partial(make, str(ring.path), mode, 2, device="cuda"), 2, "cuda")
    learner.compile()
    learner.update(40)
    first, second = learner.states()
    assert all(torch.equal(first["tensors"][name], second["tensors"][name]) for name in first["tensors"])
    learner.close()
    ring.close()
    ring.unlink()

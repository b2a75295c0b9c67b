"""Several ranks end where one process with the whole batch does, draw with streams of their own, and end together."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import psutil
import pytest
import torch

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.tree import named_leaves
from core.treefile import snapshot
from learner import ranks
from learner.ranks import RankDied, RankedLearner, check
from learner.step import compiler_available
from tests.learner.ranked import B, filled, make, updated

needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler: there is only the eager twin")


@pytest.fixture
def ring(tmp_path):
    ring = filled(tmp_path)
    yield ring
    ring.close()
    ring.unlink()


@pytest.fixture
def learner(ring):
    made = []

    def start(count: int = 2, mode: str = "eager", **settings):
        made.append(RankedLearner(partial(make, str(ring.path), mode, count), count, "cpu", **settings))
        return made[-1]

    yield start
    for one in made:
        one.close()
    assert not psutil.Process().children()


def equal(a: dict, b: dict) -> bool:
    return all(torch.equal(a["tensors"][name], b["tensors"][name]) for name in a["tensors"])


def test_two_halves_of_a_batch_are_the_whole(tmp_path):
    """Parameters, targets, Adam's moments, temperatures, moments of the observations; and the losses. By the eager twin, which the compiled
    one is held to below."""
    command = [sys.executable, "-m", "tests.learner.ranked", str(tmp_path / "store")]
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    running = [subprocess.Popen([*command, str(rank), "2", "eager", "cpu", str(out)]) for rank, out in enumerate(outs)]
    assert [process.wait(100) for process in running] == [0, 0]
    state, metrics = updated(B, slice(0, B))
    first, second = (torch.load(out) for out in outs)
    for (name, whole), (_, half), (_, other) in zip(named_leaves(state), first["state"], second["state"], strict=True):
        assert torch.equal(half, other), name
        torch.testing.assert_close(half, whole, rtol=1e-5, atol=1e-5, msg=name)
    torch.testing.assert_close(first["metrics"], metrics, rtol=1e-5, atol=1e-5)


def test_all_ranks_are_equal_and_draw_for_themselves(learner):
    two = learner(mode="eager")
    two.compile()
    two.update(5)
    two.update(2)
    first, second = two.states()
    assert equal(first, second) and first["updates"] == second["updates"]
    assert not torch.equal(first["generator"], second["generator"])
    assert (first["source"]["state"] != second["source"]["state"]).any()
    assert two.publish().version == 1 and not two.compiling()


@needs_compiler
def test_the_compiled_ranks_are_the_eager_ones(learner):
    states = []
    for mode in ("eager", "compile"):
        one = learner(mode=mode)
        one.update(6)
        states.append(one.state_dict()["tensors"])
        one.close()
    torch.testing.assert_close(states[1], states[0], rtol=2e-4, atol=2e-5)


def test_a_resumed_learner_goes_on_bit_by_bit(learner, tmp_path):
    straight, first = learner(), learner()
    straight.update(7)
    first.update(3)
    first.publish()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, {"learner": snapshot(first.state_dict())})
    first.close()
    resumed = learner()
    resumed.load_state_dict(checkpoints.load().components["learner"])
    resumed.update(4)
    for a, b in zip(straight.states(), resumed.states(), strict=True):
        assert equal(a, b) and torch.equal(a["generator"], b["generator"])
    assert resumed.weights().version == 1


def test_another_number_of_ranks_goes_on_with_fresh_streams(learner, ring):
    two, three = learner(2), learner(4)
    two.update(3)
    saved = two.state_dict()
    single = make(str(ring.path), "eager", 1, 0, lambda tensors: tensors, 0)
    single.load_state_dict(saved)
    single.update(2)
    before = three.states()
    three.load_state_dict(saved)
    after = three.states()
    assert all(equal(saved, state) for state in after)
    streams = [bytes(state["generator"].numpy()) for state in (*before, *after)]
    assert len(set(streams)) == 8
    three.update(2)


def test_a_killed_rank_is_an_error_within_seconds(learner):
    two = learner()
    two.update(1)
    (child,) = psutil.Process().children()
    threading.Timer(0.5, os.kill, (child.pid, signal.SIGKILL)).start()
    began = time.monotonic()
    with pytest.raises(RankDied, match=r"rank 1 of the learner died \(signal 9\).*resume"):
        two.update(10**6)
    assert time.monotonic() - began < 8
    with pytest.raises(RankDied):
        two.update(1)


def test_a_stopped_rank_is_an_error_in_time(learner):
    two = learner(timeout_s=3.0)
    two.update(1)
    (child,) = psutil.Process().children()
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(RankDied):
        two.update(10)


def test_what_a_factory_raises_in_a_child_arrives(ring):
    with pytest.raises(ConfigError, match="sampler tasks"):
        RankedLearner(partial(_fails_in_a_child, str(ring.path)), 2, "cpu")
    assert not psutil.Process().children()


def _fails_in_a_child(ring, rank, reduce, updates):
    if rank:
        raise ConfigError("sampler tasks of a child")
    return make(ring, "eager", 2, rank, reduce, updates)


def test_ranks_die_with_their_parent(ring):
    code = (
        "import psutil, time; from functools import partial; from learner.ranks import RankedLearner\n"
        "from tests.learner.ranked import make\n"
        f"two = RankedLearner(partial(make, {str(ring.path)!r}, 'eager', 2), 2, 'cpu')\n"
        "print(*[child.pid for child in psutil.Process().children()], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(5)


def test_impossible_shares_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"algo.batch_size is 130, learner.ranks 4; it must be a multiple: 128 or 132"):
        check(4, 130, "cpu")
    with pytest.raises(ConfigError, match="seeds"):
        check(2, 128, "cpu", seeds=3)
    with pytest.raises(ConfigError, match="1 or more"):
        check(0, 128)
    monkeypatch.setattr(ranks.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(ranks.torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="this machine has 2"):
        check(2, 128, "cuda:1")
    check(2, 128)

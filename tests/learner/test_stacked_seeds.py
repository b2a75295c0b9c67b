"""Several seeds in one learner: each ends where it would end alone, however many updates the others do."""

import logging

import numpy as np
import pytest
import torch

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.treefile import snapshot
from learner.step import compiler_available
from tests.learner.fakes import Source, Vmapped, assert_same, learner, tensors

SEEDS = (3, 5, 8)
needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler: there is only the eager twin")


@pytest.mark.parametrize("counts", [(6, 6, 6), (2, 6, 4), (0, 3, 0)])
def test_each_seed_is_the_seed_alone_bit_by_bit(counts):
    together = learner(*SEEDS)
    told = together.update(counts)
    assert isinstance(told, list)
    assert together.updates == list(counts)
    for s, (seed, count) in enumerate(zip(SEEDS, counts, strict=True)):
        alone = learner(seed)
        one = alone.update(count)
        assert isinstance(one, dict)
        assert_same(tensors(together, s), tensors(alone))
        assert {k: v for k, v in told[s].items() if "seconds" not in k} == {k: v for k, v in one.items() if "seconds" not in k}


def test_unequal_calls_in_any_order_change_nothing():
    stepwise, at_once = learner(*SEEDS), learner(*SEEDS)
    for counts in ((3, 0, 1), (0, 2, 4), (2, 3, 0)):
        stepwise.update(counts)
    at_once.update(5)
    for s in range(len(SEEDS)):
        assert_same(tensors(stepwise, s), tensors(at_once, s))


def test_a_seed_that_has_ended_is_not_drawn_from():
    """Not even from a replay that never held anything: the others go on as they would alone."""
    together = learner(*SEEDS)

    def nothing():
        raise AssertionError("its replay is gone")

    together.stack.feed.sources[1].sample = nothing
    together.retire(1)
    together.update((4, 4, 4))
    for s in (0, 2):
        alone = learner(SEEDS[s])
        alone.update(4)
        assert_same(tensors(together, s), tensors(alone))
    assert all(leaf.isfinite().all() for leaf in tensors(together, 1).values())


def test_threads_do_not_shrink_from_learner_to_learner():
    from learner.device import CORES

    assert [learner(seed, threads=0).threads for seed in SEEDS] == [max(1, CORES - 1)] * 3


@pytest.mark.parametrize("counts", [(5, 5, 5), (1, 5, 3)])
def test_vmapped_over_seeds_too(counts):
    together = learner(*SEEDS, kind=Vmapped)
    together.update(counts)
    for s, (seed, count) in enumerate(zip(SEEDS, counts, strict=True)):
        alone = learner(seed, kind=Vmapped)
        alone.update(count)
        assert_same(tensors(together, s), tensors(alone), rtol=1e-5, atol=1e-5)


@needs_compiler
def test_the_compiled_stack_is_the_seeds_alone():
    """Also the seed that goes on alone, and over the change from the eager twin to the graph."""
    together = learner(*SEEDS[:2], compile="compile", eager_first=2, hidden=(8,))
    together.update((3, 6))
    for s, count in enumerate((3, 6)):
        alone = learner(SEEDS[s], hidden=(8,))
        alone.update(count)
        assert_same(tensors(together, s), tensors(alone), rtol=2e-4, atol=2e-5)


def test_saved_among_five_resumed_alone_and_back(tmp_path):
    five, straight = learner(*range(5)), learner(*range(5))
    five.update((4, 4, 4, 2, 4))
    five.publish(3)
    Checkpoints(tmp_path).save(1, {"learner": snapshot(five.state_dict(3))})
    saved = Checkpoints(tmp_path).load().components["learner"]
    lone = learner(3)
    assert saved["tensors"].keys() == lone.state_dict()["tensors"].keys()
    assert all(value.shape == saved["tensors"][name].shape for name, value in lone.state_dict()["tensors"].items())
    lone.load_state_dict(saved)
    assert (lone.updates, lone.version) == ([2], [1])
    lone.update(3)
    straight.update(5)
    assert_same(tensors(lone), tensors(straight, 3))
    five.load_state_dict(lone.state_dict(), seed=3)
    assert (five.updates, five.version) == ([4, 4, 4, 5, 4], [0, 0, 0, 1, 0])
    assert_same(tensors(five, 3), tensors(lone))
    five.update((1, 1, 1, 0, 1))
    for s in range(5):
        assert_same(tensors(five, s), tensors(straight, s))


def test_a_saved_state_is_a_copy():
    worker = learner(0, 1)
    before = worker.state_dict(1)
    kept = {name: value.clone() for name, value in before["tensors"].items()}
    worker.update(2)
    assert_same(before["tensors"], kept)


def test_weights_are_of_the_seed_that_is_asked_for():
    worker = learner(*SEEDS)
    worker.update(2)
    for s, seed in enumerate(SEEDS):
        alone = learner(seed)
        alone.update(2)
        own, other = worker.publish(s), alone.publish()
        assert own.version == other.version == 1
        assert all(np.array_equal(own.params[name], other.params[name]) for name in other.params)


def test_a_generator_of_another_device_is_seeded_anew_and_said_so(caplog):
    states = []
    for _ in range(2):
        worker = learner(0)
        worker.update(2)
        saved = worker.state_dict() | {"generator_kind": "cuda", "generator": torch.zeros(16, dtype=torch.uint8), "matmul": "tf32"}
        with caplog.at_level(logging.WARNING):
            worker.load_state_dict(saved)
        assert "seeded anew" in caplog.text
        worker.update(1)
        states.append(tensors(worker))
    assert_same(*states)


def test_counts_and_sources_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="one count"):
        learner(0, 1).update((1, 2, 3))
    with pytest.raises(ConfigError, match="one batch source per seed"):
        worker = learner(0)
        type(worker)(worker.algorithm, [Source(0), Source(1)], worker.seeds, worker.config)


def test_sampling_is_timed():
    told = learner(0).update(3)
    assert isinstance(told, dict)
    assert 0 < told["learner/sample_seconds"] <= told["learner/seconds"]

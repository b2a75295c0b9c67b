"""Updates that rank what they drew: the source is told after each, before the next is drawn, and a resumed learner goes on bit by bit."""

import numpy as np
import pytest
import torch

from algos.sac import SAC
from core.contracts import alone
from core.errors import ConfigError
from core.rows import CLOSING, row_dtype
from core.seeding import SeedTree
from core.types import Chunk, Field, Stream, TaskSpec
from learner.feed import Retired
from learner.settings import Config
from learner.worker import LearnerWorker
from replay.ring import Ring
from replay.sampler import Sampler
from tests.learner.fakes import tensors

SPEC = TaskSpec("test", (Field("obs", (6,)),), 2, 50)
K, B = 2, 8


class Ranked(SAC):
    """SAC whose update says how far rewards are from what they were last: some number of each row."""

    def __init__(self, config, **said):
        super().__init__(config, SPEC, K)
        self.plan = Stream(B, priority=0.7, weight=0.5)
        for name, value in said.items():
            setattr(self, name, value)

    def update(self, state, batch, noise, reduce=alone):
        metrics = super().update(state, batch._replace(weight=()), noise, reduce)
        return metrics | {"priority": batch.reward.abs() + batch.weight, "weight": batch.weight.mean((1, 2))}


@pytest.fixture
def ring(tmp_path):
    dtype = row_dtype(SPEC)
    ring = Ring.create("learner", dtype, tasks=K, capacity=400, writers=1, window=2, directory=tmp_path)
    rng = np.random.default_rng(0)
    for sequence in range(20):
        rows = np.zeros(21, dtype)
        rows["obs"], rows["action"] = rng.standard_normal((21, 6)), rng.uniform(-1, 1, (21, 2))
        rows["reward"], rows["t"], rows["episode"] = rng.random(21) * 3, np.arange(21), sequence
        rows["kind"][-1], rows["truncated"][-2] = CLOSING, True
        ring.insert(Chunk(0, 0, sequence, sequence % 2, rows))
    yield ring
    ring.close()


def learner(ring, *seeds, compile="eager", cuda_graph="auto", **said):
    from algos.sac import Config as SacConfig

    made = Ranked(SacConfig(hidden=(16,), batch_size=B), **said)
    sources = [Sampler(ring, range(K), made.plan, seed) for seed in seeds]
    config = Config(threads=1, compile=compile, eager_first=2, matmul="default", device="cpu", cuda_graph=cuda_graph)
    return LearnerWorker(made, sources, [SeedTree(seed) for seed in seeds], config)


def leaves(worker, seed=0):
    return worker.sources[seed].state_dict()["trees"]["main"]["leaves"]


def test_the_source_is_told_after_each_update(ring, monkeypatch):
    worker, events = learner(ring, 0), []
    source = worker.sources[0]
    sample, prioritise = source.sample, source.prioritise
    monkeypatch.setattr(source, "sample", lambda: (events.append("draw"), sample()))

    def told(priority):
        events.append("told")
        batch = source.assemble(source.buffer)
        np.testing.assert_array_equal(priority, (batch.reward.abs() + batch.weight).numpy())
        prioritise(priority)

    monkeypatch.setattr(source, "prioritise", told)
    metrics = worker.update(3)
    assert events == ["draw", "told"] * 3
    assert not [name for name in metrics if "priority" in name] and metrics["learner/weight"] < 1
    assert worker.stack.per_launch == 1 and not worker.stack.capture


def test_priorities_that_nobody_asked_for_are_no_metrics(ring):
    worker = learner(ring, 0, plan=Stream(B))
    worker.stack.algorithm.update = lambda state, batch, noise, reduce=alone: {"priority": batch.reward, "q": batch.reward.mean((1, 2))}
    assert [name for name in worker.update(1) if "seconds" not in name] == ["learner/q"]


def test_each_seed_has_its_own_trees(ring):
    both = learner(ring, 0, 1)
    both.update([3, 5])
    for seed, updates in ((0, 3), (1, 5)):
        one = learner(ring, seed)
        one.update(updates)
        assert np.array_equal(leaves(both, seed), leaves(one))
        assert all(torch.equal(a, tensors(one)[name]) for name, a in tensors(both, seed).items())
    both.retire(0)
    assert isinstance(both.sources[0], Retired)
    kept = leaves(both, 0).copy()
    both.update(2)
    assert np.array_equal(leaves(both, 0), kept)


def test_some_updates_then_saved_loaded_and_the_rest(ring):
    straight, first, resumed = (learner(ring, 0) for _ in range(3))
    straight.update(7)
    first.update(3)
    resumed.load_state_dict(first.state_dict())
    resumed.update(4)
    assert np.array_equal(leaves(straight), leaves(resumed))
    assert all(torch.equal(a, tensors(resumed)[name]) for name, a in tensors(straight).items())


def test_an_update_that_is_no_whole_graph_is_not_compiled(ring):
    worker = learner(ring, 0, compile="auto", whole_graph=False)
    assert not worker.step.compiled and "eager" in worker.describe()
    worker.compile()
    assert not worker.compiling()
    for wrong in ({"compile": "compile"}, {"cuda_graph": "on"}):
        with pytest.raises(ConfigError, match="not one graph"):
            learner(ring, 0, whole_graph=False, **wrong)

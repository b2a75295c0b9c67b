"""An algorithm that infers its task, through the learner: tasks drawn per update, their context, resume, and one graph of it all."""

import numpy as np
import pytest
import torch

import algos
from core.contracts import alone
from core.rows import CLOSING, OPENING, row_dtype
from core.seeding import SeedTree
from core.tree import named_leaves
from core.types import Chunk, Field, TaskSpec
from learner.step import whole_update
from learner.worker import Config, LearnerWorker
from replay.ring import Ring
from replay.sampler import Sampler

SPEC = TaskSpec("test", (Field("obs", (6,)),), 2, 50, repeated=2)
TASKS = 3


@pytest.fixture
def ring(tmp_path):
    dtype = row_dtype(SPEC)
    ring = Ring.create("context", dtype, tasks=TASKS, capacity=400, writers=1, window=3, directory=tmp_path)
    rng = np.random.default_rng(0)
    for sequence in range(12):
        rows = np.zeros(22, dtype)
        for name in ("obs", "obs_rest"):
            rows[name] = rng.standard_normal(rows[name].shape)
        rows["action"], rows["reward"] = rng.uniform(-1, 1, (22, 2)), rng.random(22)
        rows["t"], rows["episode"] = np.arange(22) - 1, sequence
        rows["kind"][0], rows["kind"][-1], rows["truncated"][-2] = OPENING, CLOSING, True
        rows["t"][0] = 0
        ring.insert(Chunk(0, 0, sequence, sequence % TASKS, rows))
    yield ring
    ring.close()
    ring.unlink()


def learner(ring: Ring, *, seeds: int = 1) -> LearnerWorker:
    module = algos.find("pearl")
    settings = {"hidden": (16,), "encoder_hidden": (8,), "latent_dim": 3, "batch_size": 8, "context": 5, "recent": 30}
    algorithm = module.make(module.Config(**settings, meta_batch=2, hold=2), SPEC, TASKS)
    sources = [Sampler(ring, range(TASKS), algorithm.plan, 3 + s) for s in range(seeds)]
    return LearnerWorker(algorithm, sources, [SeedTree(s) for s in range(seeds)], Config(threads=1, compile="eager"))


def bits(worker: LearnerWorker) -> dict[str, bytes]:
    return {path: leaf.numpy().tobytes() for path, leaf in named_leaves(worker.state)}


def test_resumed_in_the_midst_of_tasks_that_are_held(ring):
    straight, first, resumed = (learner(ring) for _ in range(3))
    straight.update(8)
    first.update(3)
    resumed.load_state_dict(first.state_dict())
    resumed.update(5)
    assert bits(resumed) == bits(straight)


def test_metrics_are_numbers_of_each_seed(ring):
    told = learner(ring, seeds=2).update(2)
    assert len(told) == 2
    assert all(np.isfinite(list(metrics.values())).all() for metrics in told)
    assert told[0]["learner/kl"] != told[1]["learner/kl"]


def test_the_update_is_one_graph_from_the_buffer_on(ring):
    """What the compiler is given, without the C++ it would write; that takes half a minute, for the same answer."""
    one, other = learner(ring), learner(ring)
    stack = one.stack
    _, traced = whole_update(one.algorithm, stack.feed.sources[0], stack.device, alone)
    compiled = torch.compile(traced, backend="eager", fullgraph=True, dynamic=False)
    for _ in range(3):
        stack.feed.next(1)
        compiled(stack.state, stack.feed.buffers[0], one.algorithm.noise(stack.state, stack.generators))
    other.update(3)
    for (path, a), (_, b) in zip(named_leaves(one.state), named_leaves(other.state), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5, msg=path)

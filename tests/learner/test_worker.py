"""The learner: resumes bit by bit, its two twins agree, and what it publishes is its own copy."""

import numpy as np
import pytest
import torch

import algos
from core.checkpoint import Checkpoints
from core.errors import CheckpointError, ConfigError
from core.rows import CLOSING, row_dtype
from core.seeding import SeedTree
from core.tree import named_leaves
from core.treefile import snapshot
from core.types import Chunk, Field, TaskSpec
from learner.precision import MAX_RELATIVE_ERROR, probe, set_path
from learner.settings import Config
from learner.step import check_mode, compiler_available
from learner.worker import LearnerWorker
from replay.ring import Ring
from replay.sampler import Sampler

SPEC = TaskSpec("test", (Field("obs", (6,)),), 2, 50)
needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler: there is only the eager twin")


@pytest.fixture
def ring(tmp_path):
    dtype = row_dtype(SPEC)
    ring = Ring.create("learner", dtype, tasks=2, capacity=400, writers=1, window=4, directory=tmp_path)
    rng = np.random.default_rng(0)
    for sequence in range(20):
        rows = np.zeros(21, dtype)
        rows["obs"] = rng.standard_normal((21, 6))
        rows["action"] = rng.uniform(-1, 1, (21, 2))
        rows["reward"], rows["t"], rows["episode"] = rng.random(21), np.arange(21), sequence
        rows["kind"][-1], rows["truncated"][-2] = CLOSING, True
        ring.insert(Chunk(0, 0, sequence, sequence % 2, rows))
    yield ring
    ring.close()
    ring.unlink()


def learner(ring: Ring, *, compile: str = "eager", hidden: tuple[int, ...] = (16, 16), eager_first: int = 0) -> LearnerWorker:
    module = algos.find("sac")
    algorithm = module.make(module.Config(hidden=hidden, batch_size=8, n_step=3, normalize_obs=True), SPEC, 2)
    return LearnerWorker(
        algorithm, [Sampler(ring, [0, 1], algorithm.plan, 3)], [SeedTree(0)], Config(threads=1, compile=compile, eager_first=eager_first)
    )


def bits(worker: LearnerWorker) -> dict[str, bytes]:
    return {path: leaf.numpy().tobytes() for path, leaf in named_leaves(worker.state)} | {
        "rng": bytes(worker.stack.generators[0].get_state().numpy())
    }


@pytest.mark.parametrize(
    ("mode", "eager_first"),
    [("eager", 0), pytest.param("compile", 0, marks=needs_compiler), pytest.param("compile", 5, marks=needs_compiler)],
)
def test_n_updates_equal_some_then_saved_loaded_and_the_rest(ring, tmp_path, mode, eager_first):
    """Also where the eager twin makes the first five updates and the graph the rest."""
    straight = learner(ring, compile=mode, eager_first=eager_first)
    straight.update(3)
    straight.update(4)
    first = learner(ring, compile=mode, eager_first=eager_first)
    first.update(3)
    first.publish()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, {"learner": snapshot(first.state_dict())})
    resumed = learner(ring, compile=mode, eager_first=eager_first)
    resumed.load_state_dict(checkpoints.load().components["learner"])
    assert (resumed.updates, resumed.version) == ([3], [1])
    resumed.update(4)
    assert bits(resumed) == bits(straight)


@needs_compiler
def test_the_compiled_graph_is_the_eager_function(ring):
    twins = [learner(ring, compile=mode) for mode in ("eager", "compile")]
    for twin in twins:
        twin.update(5)
    assert twins[1].step.compiled
    for (path, a), (_, b) in zip(named_leaves(twins[0].state), named_leaves(twins[1].state), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5, msg=path)


@needs_compiler
def test_compiling_touches_nothing_of_the_run(ring):
    worker = learner(ring, compile="compile")
    before = bits(worker)
    worker.compile()
    worker.wait_compiled()
    assert not worker.compiling()
    assert bits(worker) == before


def test_what_is_published_never_changes(ring):
    worker = learner(ring)
    worker.update(1)
    first = worker.publish()
    kept = {name: array.copy() for name, array in first.params.items()}
    worker.update(3)
    second = worker.publish()
    assert (first.version, second.version) == (1, 2)
    assert all(np.array_equal(first.params[name], kept[name]) for name in kept)
    assert any(not np.array_equal(first.params[name], second.params[name]) for name in kept)


def test_metrics_are_numbers(ring):
    metrics = learner(ring).update(2)
    assert all(name.startswith("learner/") and np.isfinite(value) for name, value in metrics.items())
    assert metrics["learner/alpha"] > 0


def test_a_checkpoint_of_other_networks_is_refused(ring):
    state = learner(ring).state_dict()
    with pytest.raises(CheckpointError, match="networks do not fit"):
        learner(ring, hidden=(32, 16)).load_state_dict(state)


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="eager"):
        check_mode("fast")
    with pytest.raises(ConfigError, match="matmul"):
        Config(matmul="bf16")
    with pytest.raises(ConfigError, match="threads"):
        Config(threads=-1)


def test_reduced_precision_is_never_taken_silently():
    choice = probe()
    if choice.path == "onednn":
        assert choice.error <= MAX_RELATIVE_ERROR
    x, w = torch.randn(64, 64), torch.randn(64, 64)
    exact = x.double() @ w.double()
    assert ((x @ w).double() - exact).norm() / exact.norm() <= MAX_RELATIVE_ERROR
    set_path("default")

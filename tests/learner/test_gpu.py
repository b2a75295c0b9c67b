"""The learner on a GPU: graph against eager twin, seeds, feed, checkpoints across devices, and no hidden wait. Run with ``-m gpu``."""

import contextlib

import pytest
import torch

from core.errors import ConfigError
from learner.feed import StagedFeed
from learner.worker import LearnerWorker
from tests.learner.fakes import Source, Vmapped, assert_same, learner, tensors

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
EXACT = {"device": "cuda", "tf32": False}


@contextlib.contextmanager
def no_hidden_wait():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def assert_alike(one: LearnerWorker, other: LearnerWorker, s: int = 0) -> None:
    a, b = tensors(one, s), tensors(other)
    assert torch.equal(a.pop("generator"), b.pop("generator"))
    assert_same(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize("count", [1, 4, 11])
def test_the_graph_is_the_eager_twin(mode, count):
    """Also with a launch of several and what is left over, and over the change from one twin to the other."""
    plain = learner(3, cuda_graph="off", **EXACT)
    graph = learner(3, cuda_graph="on", compile=mode, eager_first=1, updates_per_launch=4, **EXACT)
    for worker in (plain, graph):
        worker.update(count)
    assert graph.stack.capture and not plain.stack.capture
    assert_alike(plain, graph)


def test_capturing_draws_nothing_and_changes_nothing():
    """The generator's position is that of the updates done, though the warm-up drew from it."""
    graph, plain = learner(0, cuda_graph="on", **EXACT), learner(0, cuda_graph="off", **EXACT)
    for count in (1, 8, 1, 9):
        graph.update(count)
        plain.update(count)
        assert_alike(graph, plain)


@pytest.mark.parametrize("counts", [(9, 9, 9), (2, 9, 5)])
def test_three_seeds_are_each_alone(counts):
    seeds = (3, 5, 8)
    together = learner(*seeds, kind=Vmapped, cuda_graph="on", updates_per_launch=4, **EXACT)
    together.update(counts)
    for s, (seed, count) in enumerate(zip(seeds, counts, strict=True)):
        alone = learner(seed, kind=Vmapped, cuda_graph="on", updates_per_launch=4, **EXACT)
        alone.update(count)
        assert_alike(together, alone, s)


def test_the_compiled_stack_of_seeds_runs():
    together = learner(0, 1, kind=Vmapped, cuda_graph="on", compile="compile", **EXACT)
    together.compile()
    together.wait_compiled()
    together.update(9)
    alone = learner(1, kind=Vmapped, cuda_graph="off", **EXACT)
    alone.update(9)
    assert_alike(together, alone, 1)


def test_nothing_waits_between_two_looks_at_the_metrics():
    worker = learner(0, 1, kind=Vmapped, cuda_graph="on", updates_per_launch=2, metrics_every=100, **EXACT)
    worker.update(3)  # captures
    with no_hidden_wait():
        for _ in range(10):
            told = worker.update(5)
    assert set(told[0]) == {"learner/seconds", "learner/sample_seconds"}


def test_metrics_come_when_they_are_due():
    worker = learner(0, cuda_graph="on", metrics_every=10, **EXACT)
    shown = ["learner/critic_loss" in worker.update(4) for _ in range(6)]
    assert shown == [False, False, True, False, True, False]


class Numbered(Source):
    """Batch n holds nothing but n."""

    def sample(self) -> None:
        self.n = getattr(self, "n", 0) + 1
        self.buffer.fill_(self.n)


def test_every_batch_arrives_once_and_in_order_while_the_gpu_is_behind():
    """The GPU is kept busy, so that every buffer would be overwritten if an event were missing."""
    device, seen, wanted = torch.device("cuda", torch.cuda.current_device()), [], []
    feed, n = StagedFeed([Numbered(0), Numbered(1)], device, 3), 0
    busy = torch.rand(2048, 2048, device=device)
    for count in (3, 1, 3, 3, 1, 1, 3, 3, 3, 1) * 5:
        feed.next(count)
        for _ in range(20):
            busy = torch.tanh(busy @ busy)
        seen += [torch.stack([buffer.min(), buffer.max()]) for u in range(count) for buffer in feed.buffers[u]]
        for _ in range(count):
            n += 1
            wanted += [[n, n], [n, n]]
    assert torch.stack(seen).tolist() == wanted


def test_drawing_does_not_wait_for_the_updates_of_the_last_launch():
    device = torch.device("cuda", torch.cuda.current_device())
    feed = StagedFeed([Numbered(0)], device, 2)
    feed.next(2)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # about a second of the compute stream
    running = torch.cuda.Event()
    running.record()
    feed.next(2)
    assert not running.query(), "the host waited for the compute stream"
    torch.cuda.synchronize()
    assert feed.buffers[0][0][0].item() == 3


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_checkpoint_of_one_device_goes_on_on_the_other(first, then):
    one, other = learner(4, device=first), learner(4, device=then)
    one.update(5)
    one.publish()
    saved = one.state_dict()
    assert all(value.device.type == "cpu" for value in saved["tensors"].values())
    other.load_state_dict(saved)
    assert (other.updates, other.version) == ([5], [1])
    assert_same(saved["tensors"], other.state_dict()["tensors"])
    told = other.update(200)
    assert all(torch.isfinite(torch.tensor(value)) for value in told.values())


def test_a_checkpoint_goes_on_bit_by_bit_on_the_same_gpu():
    straight, first = learner(4, cuda_graph="on", **EXACT), learner(4, cuda_graph="on", **EXACT)
    straight.update(12)
    first.update(5)
    resumed = learner(4, cuda_graph="on", **EXACT)
    resumed.load_state_dict(first.state_dict())
    resumed.update(7)
    assert_alike(resumed, straight)


def test_loading_into_a_captured_graph_keeps_its_addresses():
    worker, other = learner(1, cuda_graph="on", **EXACT), learner(1, cuda_graph="on", **EXACT)
    other.update(4)
    worker.update(9)
    worker.load_state_dict(other.state_dict())
    worker.update(9)
    other.update(9)
    assert_alike(worker, other)


def test_weights_are_on_the_host_and_of_their_seed():
    worker = learner(0, 1, kind=Vmapped, **EXACT)
    worker.update(3)
    first, second = worker.publish(0), worker.publish(1)
    policy = worker.algorithm.policy(worker.state)
    for s, weights in enumerate((first, second)):
        for name, array in weights.params.items():
            assert (policy[name][s].cpu().numpy() == array).all()


def test_tf32_is_set_and_said():
    for tf32, said in ((True, "TF32"), (False, "float32")):
        worker = learner(0, device="cuda", tf32=tf32)
        assert said in worker.describe()
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
        assert worker.state_dict()["matmul"] == ("tf32" if tf32 else "ieee")
    assert "CUDA graph" in worker.describe()


def test_a_capture_that_fails_is_given_up_or_refused():
    class Waits(Vmapped):
        """Looks at a loss in the middle of the update, which a capture forbids."""

        def update(self, state, batch, noise, *_):
            metrics = super().update(state, batch, noise)
            assert float(metrics["q"].sum()) < 1e9
            return metrics

    with pytest.raises(ConfigError, match="cuda-graph off"):
        learner(0, kind=Waits, cuda_graph="on", **EXACT).update(1)
    torch.cuda.synchronize()
    worker, plain = learner(0, kind=Waits, cuda_graph="auto", **EXACT), learner(0, kind=Waits, cuda_graph="off", **EXACT)
    for one in (worker, plain):
        one.update(3)
    assert not worker.stack.capture
    assert_alike(worker, plain)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="this machine has cuda:0"):
        learner(0, device=f"cuda:{torch.cuda.device_count()}")

"""The GPU path's Python, run with stand-ins for CUDA's streams, events and graphs: who waits for whom, and what reaches the update.
What the stand-ins cannot show, that the events suffice on a real device, is in test_gpu.py."""

import contextlib
from typing import Any

import pytest
import torch

from core.tree import map_tree, write_tree
from learner.feed import StagedFeed
from learner.graph import Launcher
from tests.learner.fakes import Vmapped, assert_same, learner, tensors


class Stream:
    """Remembers what it was told to wait for."""

    def __init__(self, *_: Any) -> None:
        self.waited: list[Any] = []

    def wait_stream(self, _: Any) -> None: ...

    def wait_event(self, event: Any) -> None:
        self.waited.append((event, event.recorded))


class Event:
    def __init__(self) -> None:
        self.recorded = self.synchronized = 0

    def record(self, _: Any = None) -> None:
        self.recorded += 1

    def synchronize(self) -> None:
        self.synchronized += 1


class Graph:
    """Captures by remembering the function's launcher; a replay runs the function again."""

    launcher: Any = None

    def register_generator_state(self, _: Any) -> None: ...

    def replay(self) -> None:
        for name, value in self.launcher.function().items():
            self.launcher._metrics[name].copy_(value)


@pytest.fixture
def cuda(monkeypatch):
    """Streams that are one and the same, for everything happens at once."""
    only, plain = Stream(), torch.empty
    for name, value in {"Stream": lambda *_: only, "Event": Event, "CUDAGraph": Graph, "current_stream": lambda *_: only}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())

    def unpinned(*args, pin_memory=False, **settings):
        return plain(*args, **settings)

    monkeypatch.setattr(torch, "empty", unpinned)
    return only


class Numbered:
    """Batch n holds nothing but n."""

    def __init__(self) -> None:
        self.buffer, self.n = torch.zeros(5), 0

    def sample(self) -> None:
        self.n += 1
        self.buffer.fill_(self.n)


@pytest.mark.parametrize("seeds", [1, 3])
def test_batches_arrive_once_in_order_and_each_buffer_is_guarded(cuda, seeds):
    staged, n = StagedFeed([Numbered() for _ in range(seeds)], torch.device("cpu"), 4), 0  # type: ignore[list-item]
    addresses = [buffer.data_ptr() for update in staged.buffers for buffer in update]
    for call, updates in enumerate((4, 1, 3, 4)):
        cuda.waited.clear()
        slot = staged._slots[call % 2]
        staged.next(updates)
        for u in range(updates):
            n += 1
            assert all((buffer == n).all() for buffer in staged.buffers[u])
        uses = call // 2 + 1
        assert cuda.waited == [(slot.taken, uses - 1), (slot.copied, uses)], "the copy waits for the last use, the update for this copy"
        assert (slot.copied.synchronized, slot.taken.recorded) == (uses, uses)
    assert [buffer.data_ptr() for update in staged.buffers for buffer in update] == addresses
    assert all(buffer.storage_offset() == 0 for update in staged.buffers for buffer in update)


@pytest.fixture
def captures(cuda, monkeypatch):
    """The launchers that captured. A capture runs nothing: what the stand-in did is undone."""
    done: list[Launcher] = []
    whole = Launcher._captured

    @contextlib.contextmanager
    def capturing(graph, **_):
        graph.launcher = done[-1]
        kept = map_tree(torch.clone, graph.launcher.state), [g.get_state() for g in graph.launcher.generators]
        yield
        write_tree(graph.launcher.state, slice(None), kept[0])
        for generator, state in zip(graph.launcher.generators, kept[1], strict=True):
            generator.set_state(state)

    def noted(launcher):
        done.append(launcher)
        return whole(launcher)

    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(Launcher, "_captured", noted)
    return done


@pytest.mark.parametrize("counts", [(9, 9), (4, 11)])
def test_launches_of_several_updates_are_the_updates_one_by_one(captures, counts):
    worker, plain = learner(3, 5, kind=Vmapped), learner(3, 5, kind=Vmapped)
    for stack in (worker.stack, worker._alone()):
        stack.capture, stack.per_launch = True, 4
        stack.feed = StagedFeed(stack.feed.sources, torch.device("cpu"), 4)
        stack._launchers = stack._make_launchers()
    worker.update(counts)
    plain.update(counts)
    assert {launcher.captured for launcher in captures} == {True}
    assert len(captures) >= 2
    for s in range(2):
        assert_same(tensors(worker, s), tensors(plain, s), rtol=1e-5, atol=1e-6)


def test_a_capture_that_fails_is_given_up_and_nothing_is_lost(captures, monkeypatch, caplog):
    worker, plain = learner(3), learner(3)
    worker.stack.capture, worker.stack._launchers = True, {}
    worker.stack._launchers = worker.stack._make_launchers()

    def fails(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", fails)
    worker.update(3)
    plain.update(3)
    assert "launched call by call" in caplog.text
    assert not worker.stack.capture
    assert_same(tensors(worker), tensors(plain))

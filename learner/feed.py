"""Learner side: brings batches from replay to where the update reads them, always at the same addresses.

On the CPU the sources' own buffers are what the update reads: no copy at all. To a GPU, U updates of S seeds travel at once:

1. Two slots take turns. Each has a pinned host block and a device block, both (U, S, words), and two events, ``copied`` and ``taken``.
2. The host waits for the slot's ``copied`` (its last host-to-device copy is over), then draws into the host block.
3. The copy stream waits for the slot's ``taken`` (the compute stream is done with the device block), copies, records ``copied``.
4. The compute stream waits for ``copied``, copies into ``buffers``, records ``taken``. Being one stream, it orders this copy behind the
   updates that still read ``buffers``, and before those that will.
5. So the host draws, and the copy stream copies, while the GPU computes; and by 2 and 3 the host is never more than three launches ahead.
6. Nothing is drawn before it is asked for: between two calls the sources' generators stand where the updates do, as a checkpoint needs.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor

from core.contracts import BatchSource

SAMPLING_THREADS = 4


class Feed(Protocol):
    """Where the update's batches lie."""

    seconds: float
    """spent with drawing, since the start"""

    @property
    def sources(self) -> Sequence[BatchSource]:
        """one per seed"""
        ...

    def draw_from(self, sources: Sequence[BatchSource]) -> None:
        """As many others, of the same plan."""
        ...

    @property
    def buffers(self) -> Sequence[tuple[Tensor, ...]]:
        """(U, S) flat float32 tensors, each with a storage of its own"""
        ...

    def next(self, updates: int) -> None:
        """Draws the batches of so many updates, at most U, into the first of ``buffers``."""
        ...


class Retired:
    """A source that nobody learns from any more, and whose replay may be gone: its last batch stays as it is."""

    def __init__(self, source: BatchSource) -> None:
        self._source, self.buffer = source, source.buffer

    def sample(self) -> None:
        """Nothing is drawn."""

    def prioritise(self, priority: Any) -> None:
        """Nothing will be drawn by it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class DirectFeed:
    """On the CPU, one update at a time (U = 1)."""

    def __init__(self, sources: Sequence[BatchSource]) -> None:
        self.seconds = 0.0
        self.draw_from(sources)

    def draw_from(self, sources: Sequence[BatchSource]) -> None:
        self.sources, self.buffers = sources, (tuple(source.buffer for source in sources),)

    def next(self, updates: int) -> None:
        began = time.perf_counter()
        for source in self.sources:
            source.sample()
        self.seconds += time.perf_counter() - began


class _Slot:
    """One of the two blocks that take turns, see the module."""

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self.host = torch.empty(shape, pin_memory=True)
        self.there = torch.empty(shape, device=device)
        self.copied, self.taken = torch.cuda.Event(), torch.cuda.Event()


class StagedFeed:
    """On a GPU. Everything here runs with the device as the current one (``device.scope``)."""

    def __init__(self, sources: Sequence[BatchSource], device: torch.device, updates: int) -> None:
        self.sources, self.seconds = sources, 0.0
        S, words = len(sources), sources[0].buffer.numel()
        self._stream = torch.cuda.Stream(device)
        self._slots = [_Slot((updates, S, words), device) for _ in range(2)]
        self._turn = 0
        self.buffers = [tuple(source.buffer.to(device, copy=True) for source in sources) for _ in range(updates)]
        # The blocks were made on the compute stream, and their memory may still be in use there.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        threads = min(S, SAMPLING_THREADS, os.cpu_count() or 1)
        # OpenMP's setting belongs to the thread: a gather in each of several threads shall not start a team of its own.
        self._pool = ThreadPoolExecutor(threads, "sample", torch.set_num_threads, (1,)) if threads > 1 else None

    def draw_from(self, sources: Sequence[BatchSource]) -> None:
        self.sources = sources

    def next(self, updates: int) -> None:
        slot, self._turn = self._slots[self._turn], 1 - self._turn
        slot.copied.synchronize()  # an event that was never recorded is over
        began = time.perf_counter()
        self._draw(slot.host, updates)
        self.seconds += time.perf_counter() - began
        compute = torch.cuda.current_stream()
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(slot.taken)
            slot.there[:updates].copy_(slot.host[:updates], non_blocking=True)
            slot.copied.record(self._stream)
        compute.wait_event(slot.copied)
        there = [row for update in slot.there[:updates].unbind() for row in update.unbind()]
        torch._foreach_copy_([buffer for update in self.buffers[:updates] for buffer in update], there)  # type: ignore[attr-defined]
        slot.taken.record(compute)

    def _draw(self, host: Tensor, updates: int) -> None:
        if self._pool is None:
            for s in range(len(self.sources)):
                self._draw_seed(host, updates, s)
            return
        for done in [self._pool.submit(self._draw_seed, host, updates, s) for s in range(len(self.sources))]:
            done.result()

    def _draw_seed(self, host: Tensor, updates: int, s: int) -> None:
        for u in range(updates):
            self.sources[s].sample()
            host[u, s].copy_(self.sources[s].buffer)


def make(sources: Sequence[BatchSource], device: torch.device, updates: int) -> Feed:
    return StagedFeed(sources, device, updates) if device.type == "cuda" else DirectFeed(sources)

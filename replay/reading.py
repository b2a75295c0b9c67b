"""How windows of a ring reach a batch: a gather from shared memory, or reads from disk by a few threads at once."""

import os
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import ManyhandsError
from replay.ring import Ring

DISK_THREADS = 8
"""reads under way at once: a disk is quick where it has several to choose from"""


class Reader(Protocol):
    """Copies windows into the reused buffer."""

    def read(self, first: int, places: NDArray) -> None:
        """The windows that begin at ``places`` (n,) of the flat row table, to where windows ``first`` and following of the buffer are."""
        ...


def reader(ring: Ring, rows: int, gathered: torch.Tensor) -> Reader:
    """Of a ring in memory or on a disk.

    Args:
        rows: that a window spans.
        gathered: (N, words of a window), where they go.
    """
    return DiskReader(ring, gathered) if ring.layout.spilled else MemoryReader(ring, rows, gathered)


def as_windows(ring: Ring, rows: int, words: int) -> torch.Tensor:
    """The ring as overlapping windows (places, words of one), which span ``rows``: a view of the shared memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch dislikes the read-only map; nothing here writes to it
        flat = torch.from_numpy(ring.bytes.reshape(-1)).view(torch.float32)
    stride = ring.layout.row_bytes // 4
    return flat.as_strided((ring.layout.tasks * ring.layout.stride - rows + 1, words), (stride, 1))


class MemoryReader:
    """One gather."""

    def __init__(self, ring: Ring, rows: int, gathered: torch.Tensor) -> None:
        self._source, self._gathered = as_windows(ring, rows, gathered.shape[1]), gathered

    def read(self, first: int, places: NDArray) -> None:
        torch.index_select(self._source, 0, torch.from_numpy(places), out=self._gathered[first : first + len(places)])


class DiskReader:
    """Reads, each of one window. A map of the file would fault page by page, one at a time; a read asks for all of a window at once."""

    def __init__(self, ring: Ring, gathered: torch.Tensor) -> None:
        self._row_bytes, self._at = ring.layout.row_bytes, ring.layout.rows_at
        self._into = [memoryview(row).cast("B") for row in gathered.numpy()]
        self._file = ring.reopen()
        weakref.finalize(self, os.close, self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
        self._pool = ThreadPoolExecutor(DISK_THREADS, "replay")

    def read(self, first: int, places: NDArray) -> None:
        at = (places.astype(np.int64) * self._row_bytes + self._at).tolist()
        share = -(-len(at) // DISK_THREADS)
        parts = [(first + i, at[i : i + share]) for i in range(0, len(at), share)]
        for done in [self._pool.submit(self._some, *part) for part in parts]:
            done.result()

    def _some(self, first: int, offsets: list[int]) -> None:
        for into, offset in zip(self._into[first : first + len(offsets)], offsets, strict=True):
            got = os.preadv(self._file, [into], offset)
            if got != len(into):
                raise ManyhandsError(f"a read of replay from disk brought {got} of {len(into)} bytes; fix: is the disk full or broken?")

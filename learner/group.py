"""Learner side: the processes that share one batch, and the mean over them that an update calls ``reduce``.

The mean is one opaque operator to the compiler, so that a whole update stays one graph, and never waits for the device, so that a CUDA
graph can hold it. A group is its own: it leaves the process's default group and the environment of gloo alone.
"""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from core.contracts import Reduce

c10d: Any = dist
"""its classes are not exported by name"""
_GROUPS: dict[str, "Group"] = {}
"""name -> the open groups of this process: what a graph holds of one is its name"""


class Group:
    """One of R processes on this machine: gloo over the loopback for CPUs, NCCL for GPUs. Waits until all have come.

    Args:
        store: file by which they find each other, in a private folder.
        timeout_s: after which a process that neither answers nor dies is an error.
    """

    def __init__(self, store: Path, rank: int, ranks: int, device: torch.device, timeout_s: float) -> None:
        self.rank, self.ranks, self.device = rank, ranks, device
        self._updating = 0
        """the thread that does updates, or 0"""
        files, patience = c10d.FileStore(str(store), ranks), timedelta(seconds=timeout_s)
        files.set_timeout(patience)
        self._group: Any = _nccl(files, rank, ranks, patience) if device.type == "cuda" else _gloo(files, rank, ranks, patience)
        self.name = _free_name()
        _GROUPS[self.name] = self
        with self.updating():
            self.mean(torch.zeros(1, device=device))  # connects now, not inside of a graph

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Only in here, and in this thread, is anything averaged: all ranks do the same updates in the same order. What one does beside
        them, such as a graph's first call while it is compiled, is its own and must not be mixed up with them."""
        self._updating = threading.get_ident()
        try:
            yield
        finally:
            self._updating = 0

    def mean(self, flat: Tensor) -> Tensor:
        """A new tensor, bit by bit the same in all ranks."""
        if self._updating != threading.get_ident() and not (flat.is_cuda and torch.cuda.is_current_stream_capturing()):
            return flat.clone()
        out = flat / self.ranks
        self._group.allreduce([out]).wait()  # of NCCL: the stream waits, not the host
        return out

    def abort(self) -> None:
        """Ends what is under way, from any thread; the process that waits for it gets an error."""
        self._group.abort()

    def close(self) -> None:
        if _GROUPS.pop(self.name, None) is not None:
            self._group.shutdown()


def mean_over(group: Group) -> Reduce:
    """The mean over the group's processes: one message per call (and dtype), however many tensors.

    They are joined into a new buffer, which the allocator had before: in one of our own, two calls with equal shapes would share memory.
    """
    name = group.name

    def reduce(tensors: dict[str, Any]) -> dict[str, Any]:
        means: dict[str, Tensor] = {}
        for dtype in dict.fromkeys(t.dtype for t in tensors.values()):
            own = {k: t for k, t in tensors.items() if t.dtype == dtype}
            flat = torch.ops.manyhands.mean_over_ranks(torch.cat([t.reshape(-1) for t in own.values()]), name)
            parts = flat.split([t.numel() for t in own.values()])
            means |= {k: part.view(t.shape) for (k, t), part in zip(own.items(), parts, strict=True)}
        return {k: means[k] for k in tensors}

    return reduce


# Not ``torch.library.custom_op``: its first call imports the whole compiler, also into a learner that never compiles.
_OP = "manyhands::mean_over_ranks"
torch.library.define(_OP, "(Tensor flat, str group) -> Tensor")


@torch.library.impl(_OP, ("cpu", "cuda"))  # type: ignore[misc]
def _mean(flat: Tensor, group: str) -> Tensor:
    return _GROUPS[group].mean(flat)


@torch.library.register_fake(_OP)
def _like(flat: Tensor, group: str) -> Tensor:
    return torch.empty_like(flat)


@torch.library.register_vmap(_OP)  # type: ignore[misc]
def _stacked(info: Any, in_dims: Any, flat: Tensor, group: str) -> tuple[Tensor, Any]:
    return torch.ops.manyhands.mean_over_ranks(flat, group), in_dims[0]


def _free_name() -> str:
    """The lowest: compiled graphs are kept on disk by what is in them, names too."""
    return next(name for i in itertools.count() if (name := f"ranks-{i}") not in _GROUPS)


def _gloo(store: Any, rank: int, ranks: int, patience: timedelta) -> Any:
    kind = c10d.ProcessGroupGloo
    options = kind._Options()
    options._devices, options._timeout = [kind.create_device(hostname="127.0.0.1")], patience
    return kind(store, rank, ranks, options)


def _nccl(store: Any, rank: int, ranks: int, patience: timedelta) -> Any:
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")  # all ranks are on this machine
    kind = c10d.ProcessGroupNCCL  # a CPU build of torch has none
    options = kind.Options()
    options._timeout = patience
    return kind(store, rank, ranks, options)

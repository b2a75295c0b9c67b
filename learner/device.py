"""Learner side: which device a learner lives on. Asked for by name, checked once; nothing else in the learner names a device."""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from core.errors import ConfigError, ManyhandsError

log = logging.getLogger(__name__)

CORES = torch.get_num_threads()
"""that torch found for this process, read before any learner takes less"""


def choose(name: str) -> torch.device:
    """``auto`` (CUDA where there is one) | ``cpu`` | ``cuda`` (the process's current one) | ``cuda:N``.

    Raises:
        ConfigError: there is no such GPU here; the message lists those that there are.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = torch.device("cuda" if name == "auto" else name)
    index = wanted.index if wanted.index is not None else (torch.cuda.current_device() if here else 0)
    if index >= here:
        there = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(here)) or "no CUDA device"
        raise ConfigError(f"learner.device is {name!r}; this machine has {there}. Allowed: auto, cpu, cuda, cuda:N of those")
    return torch.device("cuda", index)


def scope(device: torch.device) -> AbstractContextManager:
    """Makes ``device`` the current one: streams, events and graphs belong to whichever that is."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def limit_memory(device: torch.device, fraction: float) -> None:
    """Lets this process have at most that share of the GPU's memory; several learners may share one."""
    if device.type == "cuda" and fraction < 1:
        torch.cuda.set_per_process_memory_fraction(fraction, device)


def keep_memory() -> None:
    """What this process frees on the CPU stays with it, where the C library is glibc. An eager update takes and frees the same megabytes
    again and again; pages that are new each time have been measured to be a fifth to a third of its time."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_MMAP_THRESHOLD, 2**30)


@contextmanager
def memory_errors() -> Iterator[None]:
    """A GPU that is full is one clear error.

    Raises:
        ManyhandsError: torch.OutOfMemoryError, with the fix.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        fix = "fewer seeds per learner (--stack), a smaller learner.updates_per_launch or algo.batch_size"
        raise ManyhandsError(f"the GPU's memory does not suffice: {str(error).partition('. ')[0]}; fix: {fix}") from error


def restore_generator(generator: torch.Generator, kind: str, state: torch.Tensor, seed: int) -> None:
    """Puts back a generator's saved state; where it was saved on another kind of device, begins anew from ``seed``."""
    if kind == generator.device.type:
        generator.set_state(state)
        return
    log.warning(
        "the checkpoint's noise was drawn on %s, this learner draws on %s: it is seeded anew, from the run's seed and the updates done; "
        "the run goes on statistically alike, not bit for bit",
        kind, generator.device.type,
    )  # fmt: skip
    generator.manual_seed(seed)

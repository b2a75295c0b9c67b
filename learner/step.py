"""Learner side: an algorithm's update as one compiled graph, with the eager function as its twin and fallback.

Compiling takes 3 s (warm cache) to 25 s, so it runs in a thread on copies of the state while actors already collect. Which twin a run
uses is decided once and never changes within the run: the two differ in the last bits, and a resumed run must repeat the first.
"""

import shutil
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from core.contracts import Algorithm, BatchSource, Reduce
from core.errors import ConfigError
from core.tree import map_tree, stack_trees
from core.types import Batch
from learner.device import scope

Update = Callable[[Any, Any, Any], dict[str, torch.Tensor]]
"""(state, buffers, noise) -> metrics; changes the state in place"""
MODES = ("auto", "compile", "eager")


def compiler_available(device: str = "cpu") -> bool:
    """True where what graphs of that kind of device need is installed: a C++ compiler, for CUDA also Triton, and Python's headers."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    known = headers.exists() and any(shutil.which(name) for name in ("g++", "c++", "clang++"))
    return known and (device == "cpu" or find_spec("triton") is not None)


def whole_update(algorithm: Algorithm, source: BatchSource, device: torch.device, reduce: Reduce) -> tuple[Update, Update]:
    """The update from the sources' buffers on, one flat tensor per seed: (eager, to be compiled).

    ``assemble`` may ask numpy where its columns lie, which the compiler does not follow: it gets the tensor operations alone.
    """
    recorded = make_fx(lambda buffer: tuple(source.assemble(buffer)))(source.buffer.to(device))

    def update(state: Any, buffers: Any, noise: Any) -> dict[str, torch.Tensor]:
        return algorithm.update(state, _stacked([source.assemble(buffer) for buffer in buffers]), noise, reduce)

    def traced(state: Any, buffers: Any, noise: Any) -> dict[str, torch.Tensor]:
        return algorithm.update(state, _stacked([Batch(*recorded(buffer)) for buffer in buffers]), noise, reduce)

    traced.__code__ = traced.__code__.replace()  # compiled graphs are kept by code object: each learner has its own few
    return update, traced


def _stacked(batches: list[Batch]) -> Batch:
    """(K, B, ...) of each seed -> (S, K, B, ...); of one seed as views."""
    return map_tree(lambda leaf: leaf[None], batches[0]) if len(batches) == 1 else stack_trees(batches)


def check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ConfigError(f"learner.compile is {mode!r}; allowed: {', '.join(MODES)}")


class Step:
    """Calls the update by the chosen twin.

    Args:
        update: the eager function.
        traced: the same, for the compiler.
    """

    def __init__(self, update: Update, traced: Update, mode: str, threads: int, device: torch.device) -> None:
        check_mode(mode)
        there = compiler_available(device.type)
        if mode == "compile" and not there:
            triton = " (and triton)" if device.type == "cuda" else ""
            raise ConfigError(
                f"learner.compile is 'compile' but g++ or Python's headers{triton} are missing; install g++ and python3-dev, or use 'auto'"
            )
        self.eager, self.threads, self.device = update, threads, device
        self.compiled = mode != "eager" and there
        self._fn: Update = torch.compile(traced, fullgraph=True, dynamic=False) if self.compiled else update
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._checked = False

    def warm_up(self, state: Any, buffers: Any, noise: Any) -> None:
        """Starts compiling in the background, on a copy of the state; the buffers are only read."""
        if not self.compiled:
            return
        self._thread = threading.Thread(
            target=self._compile, args=(map_tree(torch.clone, state), buffers, noise), daemon=True, name="compile"
        )
        self._thread.start()

    def _compile(self, state: Any, buffers: Any, noise: Any) -> None:
        torch.set_num_threads(self.threads)  # OpenMP's setting belongs to the thread, and the graph is generated for it
        try:
            with scope(self.device):
                self._fn(state, buffers, noise)
        except Exception as error:  # noqa: BLE001 - carried over to the caller's thread
            self._error = error

    def compiling(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Blocks until the graph is there. A compiler failure surfaces here."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise ConfigError(f"compiling the update failed ({self._error}); use --learner.compile eager") from self._error

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a series of updates. The first checks its inputs against the graph; later ones leave that out (5 % of an update):
        state, buffers and noise keep their shapes for the life of a learner.
        """
        self.wait()
        if not (self.compiled and self._checked):
            self._checked = True
            yield
            return
        with torch.compiler.set_stance(skip_guard_eval_unsafe=True):
            yield

    def __call__(self, state: Any, buffers: Any, noise: Any) -> dict[str, torch.Tensor]:
        return self._fn(state, buffers, noise)

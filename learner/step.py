"""Learner side: an algorithm's update as one compiled graph, with the eager function as its twin and fallback.

Compiling takes 3 s (warm cache) to 25 s, so it runs in a thread on copies of the state while actors already collect. Which twin a run
uses is decided once and never changes within the run: the two differ in the last bits, and a resumed run must repeat the first.
"""

import shutil
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from core.errors import ConfigError
from core.tree import map_tree

Update = Callable[[Any, Any, Any], dict[str, torch.Tensor]]
MODES = ("auto", "compile", "eager")


def compiler_available() -> bool:
    """True where what CPU graphs need is installed: a C++ compiler and Python's headers."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return headers.exists() and any(shutil.which(name) for name in ("g++", "c++", "clang++"))


class Step:
    """Calls ``update(state, batch, noise)`` by the chosen twin."""

    def __init__(self, update: Update, mode: str, threads: int) -> None:
        if mode not in MODES:
            raise ConfigError(f"learner.compile is {mode!r}; allowed: {', '.join(MODES)}")
        if mode == "compile" and not compiler_available():
            raise ConfigError(
                "learner.compile is 'compile' but g++ or Python's headers are missing; install g++ and python3-dev, or use 'auto'"
            )
        self.eager, self.threads = update, threads
        self.compiled = mode != "eager" and compiler_available()
        self._fn: Update = torch.compile(update, fullgraph=True, dynamic=False) if self.compiled else update
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._checked = False

    def warm_up(self, state: Any, batch: Any, noise: Any) -> None:
        """Starts compiling in the background, on a copy of the state; the batch is only read, and its strides are part of the graph."""
        if not self.compiled:
            return
        self._thread = threading.Thread(
            target=self._compile, args=(map_tree(torch.clone, state), batch, noise), daemon=True, name="compile"
        )
        self._thread.start()

    def _compile(self, state: Any, batch: Any, noise: Any) -> None:
        torch.set_num_threads(self.threads)  # OpenMP's setting belongs to the thread, and the graph is generated for it
        try:
            self._fn(state, batch, noise)
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
        state, batch buffer and noise keep their shapes for the life of a learner.
        """
        self.wait()
        if not (self.compiled and self._checked):
            self._checked = True
            yield
            return
        with torch.compiler.set_stance(skip_guard_eval_unsafe=True):
            yield

    def __call__(self, state: Any, batch: Any, noise: Any) -> dict[str, torch.Tensor]:
        return self._fn(state, batch, noise)

"""Learner side: a function that updates state in place, launched as one CUDA graph; without CUDA it is simply called."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from core.tree import map_tree

MODES = ("auto", "on", "off")
WARM_UPS = 3
"""calls before the capture: lazy set-up (cuBLAS, Triton's modules) must not happen inside it"""


class Launcher:
    """Calls ``function``, or replays the graph that was captured of it at the first call.

    Args:
        function: reads and writes tensors at fixed addresses, draws from ``generators`` only, and never waits for the device.
        state: what it changes in place.
        capture: False calls the function each time.
    """

    def __init__(self, function: Callable[[], dict[str, Tensor]], state: Any, generators: Sequence[torch.Generator], capture: bool) -> None:
        self.function, self.state, self.generators, self.capture = function, state, generators, capture
        self._graph: torch.cuda.CUDAGraph | None = None
        self._metrics: dict[str, Tensor] = {}

    def __call__(self) -> dict[str, Tensor]:
        """The metrics; of a graph they lie where the next call overwrites them."""
        if not self.capture:
            return self.function()
        if self._graph is None:
            self._graph = self._captured()
        self._graph.replay()
        return self._metrics

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def warm_up(self) -> dict[str, Tensor]:
        """A few calls that leave state and generators as they were. Returns tensors like the metrics."""
        state, drawn = map_tree(torch.clone, self.state), [g.get_state() for g in self.generators]
        metrics: dict[str, Tensor] = {}
        try:
            for _ in range(WARM_UPS):
                metrics = self.function()
        finally:
            map_tree(lambda leaf, kept: leaf.copy_(kept), self.state, state)
            for generator, kept in zip(self.generators, drawn, strict=True):
                generator.set_state(kept)
        return {name: torch.empty_like(value) for name, value in metrics.items()}

    def _captured(self) -> torch.cuda.CUDAGraph:
        """Warms up and captures on one side stream. Other threads may go on using CUDA meanwhile."""
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            self._metrics = self.warm_up()
        current.wait_stream(side)
        graph: Any = torch.cuda.CUDAGraph()  # a CPU build of torch does not know all of its methods
        for generator in self.generators:
            graph.register_generator_state(generator)
        # The outer context: a capture that fails leaves its stream as the current one.
        with torch.cuda.stream(current), torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            for name, value in self.function().items():
                self._metrics[name].copy_(value)
        return graph

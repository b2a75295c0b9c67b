"""Learner side: S seeds that update together. The state leads with [S]; generators and sources are one per seed."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from core.contracts import Algorithm, BatchSource, Reduce
from core.errors import ConfigError
from core.seeding import SeedTree
from core.tree import index_tree, map_tree, write_tree
from core.types import Stream
from learner import feed
from learner.graph import Launcher
from learner.step import Step, Update, whole_update

log = logging.getLogger(__name__)


class Stack:
    """Draws and updates. Everything here runs with the device as the current one (``device.scope``).

    Args:
        per_launch: updates that one CUDA graph makes; 1 on the CPU.
        cuda_graph: auto | on | off.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        sources: Sequence[BatchSource],
        trees: Sequence[SeedTree],
        device: torch.device,
        step: Callable[[Update, Update], Step],
        *,
        reduce: Reduce,
        per_launch: int,
        cuda_graph: str,
    ) -> None:
        self.algorithm, self.device, self._cuda_graph = algorithm, device, cuda_graph
        self._prioritised = isinstance(algorithm.plan, Stream) and algorithm.plan.priority > 0
        """each draw depends on what the update before said of its batch: the host has to read that in between"""
        self.capture = device.type == "cuda" and cuda_graph != "off" and not self._prioritised
        self.per_launch = per_launch if self.capture else 1
        self.state = map_tree(lambda leaf: leaf.to(device), algorithm.init([tree.child("init").integer() for tree in trees]))
        self.generators = [torch.Generator(device).manual_seed(tree.child("noise").integer()) for tree in trees]
        self.feed = feed.make(sources, device, self.per_launch)
        self.step = step(*whole_update(algorithm, sources[0], device, reduce))
        self._launchers = self._make_launchers()

    def _make_launchers(self) -> dict[int, Launcher]:
        return {n: Launcher(partial(self._update, self.step, n), self.state, self.generators, self.capture) for n in {1, self.per_launch}}

    def compile(self) -> None:
        """Begins to compile in the background, on made-up data of the real shapes."""
        generators = [torch.Generator(self.device).manual_seed(0) for _ in self.generators]
        self.step.warm_up(self.state, self.feed.buffers[0], self.algorithm.noise(self.state, generators))

    def run(self, count: int, *, eager: bool) -> dict[str, Tensor]:
        """``count`` updates of every seed, by the eager twin or the other. Returns the metrics of the last one; {} of none."""
        metrics: dict[str, Tensor] = {}
        if eager:
            for _ in range(count):
                self.feed.next(1)
                metrics = self._told(self._update(self.step.eager, 1))
        elif count:
            with self.step.running():
                while count:
                    n = self.per_launch if count >= self.per_launch else 1
                    self.feed.next(n)
                    metrics = self._told(self._launch(n))
                    count -= n
        return metrics

    def _told(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tells each seed's source how the update ranks what it drew, with one wait for the device. Returns the other metrics."""
        if "priority" not in metrics:
            return metrics
        metrics = dict(metrics)
        told = metrics.pop("priority")  # a number per row: no metric, also where nobody asks for it
        for source, priority in zip(self.feed.sources, told.cpu().numpy() if self._prioritised else (), strict=self._prioritised):
            source.prioritise(priority)
        return metrics

    def _update(self, step: Update, count: int) -> dict[str, Tensor]:
        """``count`` updates on the batches that lie ready."""
        metrics: dict[str, Tensor] = {}
        for u in range(count):
            metrics = step(self.state, self.feed.buffers[u], self.algorithm.noise(self.state, self.generators))
        return metrics

    def _launch(self, n: int) -> dict[str, Tensor]:
        try:
            return self._launchers[n]()
        except RuntimeError as error:
            launcher = self._launchers[n]
            if not launcher.capture or launcher.captured:
                raise
            if self._cuda_graph == "on":
                raise ConfigError(f"capturing the update as a CUDA graph failed ({error}); use --learner.cuda-graph off") from error
            log.warning("capturing the update as a CUDA graph failed, it is launched call by call: %s", error)
        self._give_up_capture()
        return self._launchers[n]()

    def _give_up_capture(self) -> None:
        """What was captured is thrown away. Generators that took part in a failed capture are of no more use: copies go on for them."""
        states = [generator.get_state() for generator in self.generators]
        for s, state in enumerate(states):
            self.generators[s] = torch.Generator(self.device)
            self.generators[s].set_state(state)
        self.capture, self._launchers = False, {}
        self._launchers = self._make_launchers()

    def borrow(self, other: "Stack", seed: int, count: int, *, eager: bool) -> dict[str, Tensor]:
        """``count`` updates of one seed of another stack, by this stack of one."""
        row = slice(seed, seed + 1)
        write_tree(self.state, slice(None), index_tree(other.state, row))
        self.generators[0].set_state(other.generators[seed].get_state())
        self.feed.draw_from([other.feed.sources[seed]])
        metrics = self.run(count, eager=eager)
        write_tree(other.state, row, self.state)
        other.generators[seed].set_state(self.generators[0].get_state())
        return metrics

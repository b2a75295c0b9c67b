"""Reptile around another algorithm: learns parameters from which that algorithm soon learns a new task.

Nichol et al. 2018, "On first-order meta-learning algorithms", algorithm 1. A meta-iteration is ``inner_updates`` updates of the inner
algorithm on replay of one task, drawn anew, from theta to phi; then theta <- theta + eps (phi - theta) and phi <- theta. Which task
it is, the networks are not told: they are those of a single task. Actors act with theta.

What moves with theta: all that the inner algorithm has learned, so also its target networks (unless ``target stays``), temperature and
running statistics, by the same eps: theta is then one consistent learner at any time. What does not: the inner optimiser, that is its
``AdamState`` and the count ``updates`` by which Adam corrects its bias. It begins anew with every task (``optimizer reset``) or goes on
over tasks (``carry``). That changes the method: with ``carry`` the last task's momentum moves phi in the next one unless
``settings.adam_beta1`` is 0, as in the paper's supervised experiments; with ``reset`` the first step of every task has the size of the
learning rate whatever the gradient is, and with ``inner_updates 1`` theta follows the signs of gradients, where SGD would follow the
gradients (joint training, step size lr * eps).

Shapes: S seeds, T = 1 task, B transitions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import algos
from algos.lib.reptile import annealed, interpolate, optimizer_of, weights_of
from algos.lib.settings import not_negative, one_of, positive, positive_share
from core.abilities import Encoding, Remote
from core.contracts import Algorithm, Reduce, alone
from core.demos import Demo
from core.errors import ConfigError
from core.tree import map_tree
from core.types import Batch, Field, Seen, Stream, TaskSpec

OPTIMIZERS = ("reset", "carry")
TARGETS = ("moves", "stays")


@dataclass(frozen=True)
class Config:
    """Settings of Reptile, and of what it wraps."""

    inner: str = "sac"
    """algorithm that learns the tasks, from replay"""
    settings: object = None
    """its settings; its own defaults where none are given"""
    inner_updates: int = 10
    """k, updates on one task before theta moves"""
    meta_step: float = 1.0
    """eps at the start: how far theta moves towards phi"""
    meta_iterations: int = 0
    """after which eps is ``meta_step_end``, to which it goes linearly until then; 0: eps stays as it is"""
    meta_step_end: float = 0.0
    """eps after ``meta_iterations``; at 0 theta stands still then"""
    target: Literal["moves", "stays"] = "moves"
    """of the inner algorithm's target networks, at the end of a task: they move with theta, or stay where inner updates left them"""
    optimizer: Literal["reset", "carry"] = "reset"
    """of the inner algorithm, at the begin of a task: its moments and count are zeroed, or go on"""

    def __post_init__(self) -> None:
        if self.inner == "reptile":
            raise ConfigError("algo.inner is 'reptile'; it wraps another algorithm, for example sac")
        kind = algos.find(self.inner).Config
        if self.settings is None:
            object.__setattr__(self, "settings", kind())
        if not isinstance(self.settings, kind):
            fix = f"leave algo.inner as the preset has it, or give it settings of {self.inner}"
            raise ConfigError(f"algo.settings are those of another algorithm than algo.inner, which is {self.inner!r}. Fix: {fix}")
        positive(self, "inner_updates")
        positive_share(self, "meta_step")
        if not 0 <= self.meta_step_end <= 1:
            raise ConfigError(f"algo.meta_step_end is {self.meta_step_end}; it must be in [0, 1]")
        not_negative(self, "meta_iterations")
        one_of(self, "optimizer", OPTIMIZERS)
        one_of(self, "target", TARGETS)


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    inner: Any
    """phi, and its optimiser: the inner algorithm's whole state"""
    theta: Any
    """the same without optimiser, as the task under way began"""
    updates: Tensor
    """[S] float32, inner updates done"""


class Reptile:
    """See the module. ``inner`` is the algorithm inside, made for one task."""

    def __init__(self, config: Config, inner: Algorithm) -> None:
        if not isinstance(inner.plan, Stream):
            raise ConfigError(f"algo.inner is {config.inner!r}, which learns from fresh episodes; reptile wraps what learns from replay")
        self.config, self.inner = config, inner
        self.plan = replace(inner.plan, tasks=1, hold=config.inner_updates)
        self.noise_dim = inner.noise_dim
        self.whole_graph = getattr(inner, "whole_graph", True)

    def fields(self) -> tuple[Field, ...]:
        return self.inner.fields()

    def init(self, seeds: Sequence[int]) -> State:
        inner = self.inner.init(seeds)
        return State(inner, map_tree(torch.clone, weights_of(inner)), torch.zeros(len(seeds)))

    def policy(self, state: State) -> dict[str, Tensor]:
        """That of theta."""
        return self.inner.policy(state.theta)

    def unwrapped(self, state: State) -> tuple[Algorithm, Any]:
        """The inner algorithm and theta: what fine-tuning begins from."""
        return self.inner, state.theta

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """As the inner algorithm, to which all tasks are its only one."""
        return self.inner.act(params, carry, seen._replace(tasks=np.zeros_like(seen.tasks)), noise)

    def remote(self) -> dict[str, Any]:
        """See ``core.abilities.Remote``."""
        if not isinstance(self.inner, Remote):
            raise ConfigError(f"algo.inner is {self.config.inner!r}, whose policy acts in the cluster only; c2farm and sac act anywhere")
        return {"name": "reptile", "inner": self.inner.remote()}

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Any:
        return self.inner.noise(state.inner, generators)

    def update(self, state: State, batch: Batch, noise: Any, reduce: Reduce = alone) -> dict[str, Tensor]:
        """One inner update in place; batch (S, 1, B, ...). The last of a task also moves theta, and phi back to it. Metrics are [S]."""
        k = self.config.inner_updates
        metrics = self.inner.update(state.inner, batch._replace(chosen=()), noise, reduce)
        state.updates.add_(1)
        # Meta-iterations done before and after this update; half an update off, so that no compiler's way to divide rounds across.
        before, after = torch.floor((state.updates - 0.5) / k), torch.floor((state.updates + 0.5) / k)
        ends = after > before
        eps = annealed(before, self.config.meta_step, self.config.meta_iterations, self.config.meta_step_end)
        phi = weights_of(state.inner)
        moved = interpolate(state.theta, phi, eps)
        if self.config.target == "stays":
            moved = moved._replace(target=phi.target)
        map_tree(lambda old, new: old.copy_(_where(ends, new, old)), state.theta, moved)
        map_tree(lambda old, new: old.copy_(_where(ends, new, old)), phi, moved)
        if self.config.optimizer == "reset":
            map_tree(lambda old: old.copy_(_where(ends, torch.zeros_like(old), old)), optimizer_of(state.inner))
        return {**metrics, "meta_step": eps}


class SeeingReptile(Reptile):
    """Around an algorithm that keeps of observations what it has made of them."""

    inner: Any

    def encoded(self) -> tuple[Field, ...]:
        return self.inner.encoded()

    def encode(self, params: Mapping[str, NDArray], seen: Seen) -> dict[str, NDArray]:
        return self.inner.encode(params, seen)

    def encode_demo(self, demo: Demo, rng: np.random.Generator) -> list[dict[str, NDArray]]:
        return self.inner.encode_demo(demo, rng)


def _where(ends: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Of each seed: the new leaf where its task ends."""
    return torch.where(ends.reshape(-1, *[1] * (old.dim() - 1)), new, old)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> Reptile:
    """For any number of tasks of one spec: the inner algorithm is made for one, and for the simulators of all."""
    inner: Algorithm = algos.find(config.inner).make(config.settings, spec, 1, simulators * tasks)
    return (SeeingReptile if isinstance(inner, Encoding) else Reptile)(config, inner)

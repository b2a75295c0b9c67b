"""Reptile (Nichol et al. 2018, "On first-order meta-learning algorithms", algorithm 1 and section 3) as maths over trees of parameters.

Step from theta to what k optimiser steps on one task made of it: theta <- theta + eps (phi - theta). With several tasks at once phi leads
with their axis, and theta moves to the mean (algorithm 2). On losses 0.5 (theta - c_i)' A_i (theta - c_i) with plain gradient steps
of size alpha and P_i = (I - alpha A_i)^k, the direction is the mean of (I - P_i)(theta - c_i), and the fixed point its root: those of joint
training and of MAML are others.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from algos.lib.adam import AdamState
from core.tree import map_tree

Adapt = Callable[[Any, Any], Any]
"""(phi, batch) -> phi after one optimiser step"""


def interpolate(start: Any, end: Any, eps: Tensor | float) -> Any:
    """start + eps (end - start), leaf by leaf. At eps = 1 bit by bit ``end``. ``eps`` is a number, or [S] where leaves lead with it."""
    return map_tree(lambda a, b: torch.lerp(a, b, _like(eps, a)), start, end)


def _like(eps: Tensor | float, leaf: Tensor) -> Tensor | float:
    return eps.reshape(-1, *[1] * (leaf.dim() - 1)).to(leaf.dtype) if isinstance(eps, Tensor) and eps.dim() else eps


def inner_loop(start: Any, step: Adapt, batches: Iterable[Any]) -> Any:
    """phi: what one optimiser step after the other, a batch each, makes of ``start``."""
    phi = start
    for batch in batches:
        phi = step(phi, batch)
    return phi


def meta_step(theta: Any, phi: Any, eps: Tensor | float, *, tasks: bool = False) -> Any:
    """theta moved towards phi, or towards the mean of phi over its leading axis of tasks."""
    return interpolate(theta, map_tree(lambda leaf: leaf.mean(0), phi) if tasks else phi, eps)


def annealed(done: Tensor, first: float, over: int, last: float = 0.0) -> Tensor:
    """eps of the meta-iteration that follows ``done`` others: from ``first`` linearly to ``last`` after ``over``; over = 0: ``first``
    always."""
    return last + (first - last) * (1 - done / over).clamp(min=0) if over else torch.full_like(done, first)


def weights_of(state: Any) -> Any:
    """A state without its optimiser, which is every ``AdamState`` and the field ``updates`` that counts its steps: () stands there."""
    if isinstance(state, AdamState):
        return ()
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        fields: dict[str, Any] = state._asdict()  # type: ignore[attr-defined]
        return type(state)(**{name: () if name == "updates" else weights_of(part) for name, part in fields.items()})
    return state


def optimizer_of(state: Any) -> Any:
    """The other part: a tuple of what ``weights_of`` leaves out."""
    if isinstance(state, AdamState):
        return state
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        fields: dict[str, Any] = state._asdict()  # type: ignore[attr-defined]
        return tuple(part if name == "updates" else optimizer_of(part) for name, part in fields.items())
    return ()

"""Multi-layer perceptrons as plain parameter dicts, single or stacked, for one task or many, in torch (learner) and in numpy (actors)."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from outpost.policies.mlp import numpy_mlp

__all__ = ["Activation", "Params", "depth", "init_mlp", "mlp", "numpy_mlp", "of_task", "task_mlp"]

Activation = Literal["relu", "tanh"]
TORCH: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh}
Params = dict[str, Tensor]
"""``w0`` (..., in, H), ``b0`` (..., 1, H), ``w1`` ... A leading axis stacks independent networks. A network that is told its task has K
more rows in ``w0``, which a task's one-hot would select; one with a head per task has a last layer (..., K, H, out), (..., K, 1, out)."""


def init_mlp(
    sizes: Sequence[int], generator: torch.Generator, *, stack: int | None = None, heads: int | None = None, last_scale: float = 1.0
) -> Params:
    """Weights uniform in +-1/sqrt(fan_in) (torch's own default for linear layers), the last layer times ``last_scale``.

    Args:
        sizes: in (one-hot included), hidden ..., out.
        stack: number of independent networks on a leading axis; None for a single one without that axis.
        heads: number of last layers, one per task; None for one that all tasks share.
    """
    params: Params = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        lead = (() if stack is None else (stack,)) + ((heads,) if last and heads is not None else ())
        bound = (last_scale if last else 1.0) / math.sqrt(fan_in)
        params[f"w{i}"] = (torch.rand(*lead, fan_in, fan_out, generator=generator) * 2 - 1) * bound
        params[f"b{i}"] = (torch.rand(*lead, 1, fan_out, generator=generator) * 2 - 1) * bound
    return params


def depth(params: Mapping[str, Any]) -> int:
    """Layers of a network, whatever else lies beside its weights."""
    return sum(name.startswith("w") for name in params)


def mlp(params: Mapping[str, Tensor], x: Tensor, activation: Activation = "relu") -> Tensor:
    """Linear output: (B, in) -> (B, out), or with stacked parameters (stack, B, in) -> (stack, B, out)."""
    layers, bend = depth(params), TORCH[activation]
    for i in range(layers):
        x = x @ params[f"w{i}"] + params[f"b{i}"]
        if i < layers - 1:
            x = bend(x)
    return x


def task_mlp(params: Mapping[str, Tensor], x: Tensor, *, heads: bool, activation: Activation = "relu") -> Tensor:
    """The same over task-major data: x (K, B, in) without one-hot -> (K, B, out); with stacked parameters -> (stack, K, B, out).

    A one-hot times the first layer is one of its rows, so that row is added; heads are one batched product, in which no sample visits
    another task's.
    """
    K, B, n = x.shape
    layers, first, bend = depth(params), params["w0"], TORCH[activation]
    hidden = x.flatten(0, 1)
    if first.dim() == 3:
        hidden = hidden.expand(first.shape[0], -1, -1)
    for i in range(layers):
        weight, bias = params[f"w{i}"], params[f"b{i}"]
        if i == 0 and first.shape[-2] > n:
            told = (first[..., n:, :] + bias).unsqueeze(-2)
            hidden = ((hidden @ first[..., :n, :]).unflatten(-2, (K, B)) + told).flatten(-3, -2)
        elif i == layers - 1 and heads:
            return hidden.unflatten(-2, (K, B)) @ weight + bias
        else:
            hidden = hidden @ weight + bias
        if i < layers - 1:
            hidden = bend(hidden)
    return hidden.unflatten(-2, (K, B))


def of_task(params: Mapping[str, Tensor], task: Tensor, *, told: bool, heads: bool) -> Params:
    """The network as one task sees it, to be used with K = 1: its row for the one-hot, its head.

    Products, not indices, so that it can be mapped over tasks and differentiated.

    Args:
        task: (K,) its one-hot.
        told: whether the network is told its task.
    """
    chosen, last = dict(params), depth(params) - 1
    if told:
        shared, rows = params["w0"][..., : -len(task), :], params["w0"][..., -len(task) :, :]
        chosen["w0"] = torch.cat([shared, (task[:, None] * rows).sum(-2, keepdim=True)], -2)
    if heads:
        for name in (f"w{last}", f"b{last}"):
            chosen[name] = (task[:, None, None] * params[name]).sum(-3, keepdim=True)
    return chosen

"""Gradient steps that can themselves be differentiated, for one set of parameters or one per lane (a simulator): the inner loop of MAML."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Params = dict[str, Tensor]


def adapted(params: Params, losses: Sequence[Callable[[Params], Tensor]], lr: float, *, through: bool) -> Params:
    """The parameters after one gradient step on each of ``losses`` in turn (Finn et al. 2017, equation 1).

    Args:
        losses: parameters -> a 0-d loss. A sum over lanes moves each lane by its own part only.
        lr: step size.
        through: a gradient of the result with respect to ``params`` also passes through the steps' own gradients; otherwise it sees
            the identity (first-order MAML).
    """
    through = through and any(tensor.requires_grad for tensor in params.values())
    for loss in losses:
        with torch.enable_grad():
            at = {k: x.contiguous() if through else x.detach().contiguous().requires_grad_() for k, x in params.items()}
            slopes = torch.autograd.grad(loss(at), list(at.values()), create_graph=through)
        params = {name: torch.add(tensor, slope, alpha=-lr) for (name, tensor), slope in zip(params.items(), slopes, strict=True)}
    return params


def to_lanes(params: Mapping[str, Tensor], lanes: int) -> Params:
    """The same parameters for M lanes, (M, ...), without a copy."""
    return {name: tensor.expand(lanes, *tensor.shape) for name, tensor in params.items()}


def has_lanes(params: Mapping[str, NDArray]) -> bool:
    """Whether parameters of a network lead with lanes."""
    return params["w0"].ndim == 3


def choose_lanes(params: Mapping[str, NDArray], lanes: NDArray[np.int64]) -> dict[str, NDArray]:
    """Those of N simulators, (N, ...); a view where their lanes follow one another.

    Simulators with numbers beyond M, as an evaluation may have, go round: before they adapt all lanes are alike.
    """
    count, first, N = len(params["w0"]), int(lanes[0]), len(lanes)
    if first + N <= count and (N == 1 or (np.diff(lanes) == 1).all()):
        return {name: array[first : first + N] for name, array in params.items()}
    return {name: array[lanes % count] for name, array in params.items()}


def numpy_lanes(params: Mapping[str, NDArray], x: NDArray[np.float32], layers: int, activation: str) -> NDArray[np.float32]:
    """A network for each simulator: x (N, in) by parameters (N, in, out) -> (N, out)."""
    rows = x[:, None]
    for i in range(layers):
        rows = np.matmul(rows, params[f"w{i}"]) + params[f"b{i}"]
        if i < layers - 1:
            rows = np.maximum(rows, 0.0) if activation == "relu" else np.tanh(rows)
    return rows[:, 0]

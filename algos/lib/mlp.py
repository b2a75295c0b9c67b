"""Multi-layer perceptrons as plain parameter dicts, single or stacked, in torch (learner) and in numpy (actors)."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Params = dict[str, Tensor]
"""``w0`` (..., in, H), ``b0`` (..., 1, H), ``w1`` ... A leading axis stacks independent networks."""


def init_mlp(sizes: Sequence[int], generator: torch.Generator, *, stack: int | None = None, last_scale: float = 1.0) -> Params:
    """Weights uniform in +-1/sqrt(fan_in) (torch's own default for linear layers), the last layer times ``last_scale``.

    Args:
        sizes: in, hidden ..., out.
        stack: number of independent networks on a leading axis; None for a single one without that axis.
    """
    lead = () if stack is None else (stack,)
    params: Params = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        bound = (last_scale if i == len(sizes) - 2 else 1.0) / math.sqrt(fan_in)
        params[f"w{i}"] = (torch.rand(*lead, fan_in, fan_out, generator=generator) * 2 - 1) * bound
        params[f"b{i}"] = (torch.rand(*lead, 1, fan_out, generator=generator) * 2 - 1) * bound
    return params


def mlp(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """ReLU network, linear output: (B, in) -> (B, out), or with stacked parameters (stack, B, in) -> (stack, B, out)."""
    layers = len(params) // 2
    for i in range(layers):
        weight, bias = params[f"w{i}"], params[f"b{i}"]
        x = x @ weight + bias
        if i < layers - 1:
            x = F.relu(x)
    return x


def numpy_mlp(params: Mapping[str, NDArray], x: NDArray[np.float32], layers: int) -> NDArray[np.float32]:
    """The same forward pass on arrays: (N, in) -> (N, out). At N = 1 this is about a third of torch's call."""
    for i in range(layers):
        x = x @ params[f"w{i}"]
        x += params[f"b{i}"]
        if i < layers - 1:
            np.maximum(x, 0.0, out=x)
    return x

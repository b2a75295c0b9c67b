"""Adam (Kingma and Ba 2015, algorithm 1) as a function over parameter dicts, elementwise, so that it fuses into the update's graph."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.999


class AdamState(NamedTuple):
    """Moments of every parameter, same names and shapes."""

    m: dict[str, Tensor]
    v: dict[str, Tensor]


def init_adam(params: Mapping[str, Tensor]) -> AdamState:
    return AdamState({k: torch.zeros_like(p) for k, p in params.items()}, {k: torch.zeros_like(p) for k, p in params.items()})


def adam(
    params: Mapping[str, Tensor],
    grads: Mapping[str, Tensor],
    state: AdamState,
    count: Tensor,
    *,
    lr: float | Tensor,
    eps: float = 1e-8,
    beta1: float = BETA1,
) -> tuple[dict[str, Tensor], AdamState]:
    """One step. ``count`` is a 0-d float tensor: number of this step, counted from 1. Returns new parameters and moments."""
    scale = lr * torch.sqrt(1 - BETA2**count) / (1 - beta1**count)
    shifted_eps = eps * torch.sqrt(1 - BETA2**count)
    m = {k: beta1 * state.m[k] + (1 - beta1) * g for k, g in grads.items()}
    v = {k: BETA2 * state.v[k] + (1 - BETA2) * g * g for k, g in grads.items()}
    new = {k: p - scale * m[k] / (torch.sqrt(v[k]) + shifted_eps) for k, p in params.items()}
    return new, AdamState(m, v)


def clip_norm(grads: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
    """Scaled down together so that their common norm is at most ``limit``; 0: as they are."""
    if not limit:
        return dict(grads)
    norm = torch.stack([g.square().sum() for g in grads.values()]).sum().sqrt()
    scale = (limit / norm.clamp(min=limit)).to(norm.dtype)
    return {k: g * scale for k, g in grads.items()}

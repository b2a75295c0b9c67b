"""Advantages of a round by a linear baseline that is fitted on the same episodes, group by group; and means over the steps that were taken.

A group is what has a baseline, and a scale, of its own: a task, or a simulator.
"""

import torch
from torch import Tensor

from algos.lib.returns import discounted, gae, linear_baseline, normalized

SMALLEST_VARIANCE = 1e-12


def advantages(
    known: Tensor, reward: Tensor, valid: Tensor, gamma: float | Tensor, lam: float, *, normalize: bool
) -> tuple[Tensor, Tensor]:
    """(G, E, T) advantages, and the share of the returns' variance that the baseline explains, ().

    Args:
        known: (G, E, T, F) what the baseline is linear in, of E sequences.
        reward: (G, E, T)
        valid: (G, E, T) 1 where a step was taken; other steps have no influence, and an advantage of 0.
        gamma: of all steps, or (G, E, T): what comes after a step counts so much at it.
        normalize: mean 0 and standard deviation 1 in each group.
    """
    returns, counted = discounted(torch.where(valid > 0, reward, 0.0), gamma).flatten(1), valid.flatten(1)
    value = linear_baseline(known.flatten(1, 2), returns, counted)
    advantage = gae(reward, value.view_as(reward), valid, gamma, lam)
    if normalize:
        advantage = normalized(advantage, valid, (1, 2))
    return advantage, explained_variance(value, returns, counted)


def explained_variance(predicted: Tensor, returns: Tensor, valid: Tensor) -> Tensor:
    """1 - Var[returns - predicted] / Var[returns] over the steps taken of each group, averaged; (G, M) -> (). 0 where nothing varies."""

    def variance(x: Tensor) -> Tensor:
        return valid_mean((x - valid_mean(x, valid)[:, None]).square(), valid)

    total = variance(returns)
    return torch.where(total > 0, 1 - variance(returns - predicted) / total.clamp(min=SMALLEST_VARIANCE), 0.0).mean()


def valid_mean(x: Tensor, valid: Tensor) -> Tensor:
    """(..., B) -> (...), over the steps that were taken."""
    return (x * valid).sum(-1) / valid.sum(-1).clamp(min=1)


def group_mean(x: Tensor, valid: Tensor) -> Tensor:
    """(G, B) -> (), over the steps that were taken, every group counting the same."""
    return valid_mean(x, valid).mean()

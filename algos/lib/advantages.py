"""Advantages of a round by a linear baseline that is fitted on the same episodes, group by group: a group is a task, or a simulator."""

from torch import Tensor

from algos.lib.returns import discounted, features, gae, linear_baseline, normalized

SMALLEST_VARIANCE = 1e-8


def advantages(obs: Tensor, reward: Tensor, valid: Tensor, gamma: float, lam: float, *, normalize: bool) -> tuple[Tensor, Tensor]:
    """(G, E, T) advantages, and how much of the returns' variance the baseline explains, the mean over groups, at most 1.

    Args:
        obs: (G, E, T, O) of E episodes.
        reward: (G, E, T)
        valid: (G, E, T) 1 where a step was taken; other steps have no influence, and an advantage of 0.
        normalize: mean 0 and standard deviation 1 in each group.
    """
    reward = reward * valid
    returns, counted = discounted(reward, gamma).flatten(1), valid.flatten(1)
    value = linear_baseline(features(obs).flatten(1, 2), returns, counted)
    advantage = gae(reward, value.view_as(reward), valid, gamma, lam)
    if normalize:
        advantage = normalized(advantage, valid, (1, 2))
    left = _variance(returns - value, counted) / _variance(returns, counted).clamp(min=SMALLEST_VARIANCE)
    return advantage, 1 - left.mean()


def _variance(x: Tensor, valid: Tensor) -> Tensor:
    """(G, M) -> (G,)"""
    mean = valid_mean(x, valid)
    return valid_mean((x - mean[:, None]).square(), valid)


def valid_mean(x: Tensor, valid: Tensor) -> Tensor:
    """(..., B) -> (...), over the steps that were taken."""
    return (x * valid).sum(-1) / valid.sum(-1).clamp(min=1)


def mean_return(reward: Tensor, valid: Tensor) -> Tensor:
    """(..., T) -> 0-d: of the episodes, not discounted."""
    return (reward * valid).sum(-1).mean()

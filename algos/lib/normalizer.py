"""Running statistics of what an off-policy algorithm has drawn, and the scales that follow: of observations, and of each task's rewards."""

from typing import NamedTuple

import torch
from torch import Tensor

from core.contracts import Reduce
from core.types import Batch

STD_FLOOR = 0.01
"""smallest standard deviation, or root mean square of a reward, that normalisation divides by"""


class Normalizer(NamedTuple):
    """Running moments of what was drawn; mean 0 and square 1 where normalisation is off."""

    mean: Tensor
    """[S, O] mean of the observations x"""
    square: Tensor
    """[S, O] mean of x^2"""
    reward_square: Tensor
    """[S, K] mean of r^2"""
    batches: Tensor
    """[S] float32, counted in the moments of x"""
    reward_batches: Tensor
    """[S, K] float32, counted in those of r"""


def init_normalizer(obs_dim: int, tasks: int) -> Normalizer:
    return Normalizer(torch.zeros(obs_dim), torch.ones(obs_dim), torch.ones(tasks), torch.zeros(()), torch.zeros(tasks))


def counted(old: Normalizer, batch: Batch, reduce: Reduce, *, obs: bool, reward: bool) -> Normalizer:
    """With one seed's batch (K, B, ...) counted in: its observations, its rewards, as is asked."""
    new = {}
    if obs:
        flat = batch.obs.flatten(0, 1)
        new |= {"mean": flat.mean(0), "square": flat.square().mean(0)}
    if reward:
        new["reward_square"] = batch.reward.square().mean(1)
    share, reward_share = 1 / (old.batches + 1), 1 / (old.reward_batches + 1)
    shares = {"mean": share, "square": share, "reward_square": reward_share}
    moments = {k: torch.lerp(getattr(old, k), value, shares[k]) for k, value in reduce(new).items()}
    return old._replace(**moments, batches=old.batches + 1, reward_batches=old.reward_batches + 1)


def scale_of(normalizer: Normalizer) -> Tensor:
    """1 / std, at most 100: what hardly ever moved is not blown up."""
    return (normalizer.square - normalizer.mean.square()).clamp(min=STD_FLOOR**2).rsqrt()


def reward_scale_of(normalizer: Normalizer) -> Tensor:
    """1 / root mean square of each task's rewards, at most 100."""
    return normalizer.reward_square.clamp(min=STD_FLOOR**2).rsqrt()

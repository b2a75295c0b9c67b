"""Distributions with noise as an argument, so that an update is a pure function of its inputs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
LOG_2 = math.log(2.0)


def tanh_gaussian(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A reparameterised sample of tanh(N(mean, exp(log_std)^2)) and its log-density (SAC, Haarnoja et al. 2018, appendix C).

    Args:
        mean, log_std, noise: (..., A); noise is standard normal.

    Returns:
        action (..., A) in [-1, 1] and log_prob (...).

    The correction log(1 - tanh(u)^2) is written 2 (log 2 - u - softplus(-2u)), exact where 1 - tanh(u)^2 underflows.
    """
    pre_tanh = mean + torch.exp(log_std) * noise
    gaussian = -0.5 * noise.square() - log_std - LOG_SQRT_2PI
    correction = 2.0 * (LOG_2 - pre_tanh - F.softplus(-2.0 * pre_tanh))
    return torch.tanh(pre_tanh), (gaussian - correction).sum(-1)

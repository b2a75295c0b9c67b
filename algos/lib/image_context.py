"""The task encoder of PEARL-C2F-ARM: what a few transitions, each an image, what was done and what it brought, say of a task.

Mandi et al. 2022, "On the effectiveness of fine-tuning versus meta-reinforcement learning" (arXiv 2206.03271), section 4.3 and its
authors' development code; Rakelly et al. 2019 for the posterior. Two readings are offered. ``PAPER`` is what that code computes: the
divergence summed over tasks, a leaky ReLU behind the last layer, which shrinks negative means 50 times, rewards of 100, and only the first
depth is told. In ``CORRECTED`` it is a mean over tasks with weight 0.1, the last layer is linear, rewards are those that are learned from,
and all depths are told.

Shapes: B samples, C transitions of a context, Z latent, A action.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import settings
from algos.lib.qattention import SLOPE, Params
from outpost.policies.image_context import STRIDE, VARIANCE_FLOOR, memory

__all__ = ["CORRECTED", "PAPER", "Config", "encode", "encoded", "init_encoder", "memory", "recalled"]

CHANNELS, HIDDEN = 32, 512
"""of both convolutions; units of the dense layer"""


@dataclass(frozen=True)
class Config:
    """What is inferred of a task, and from what."""

    latent: int = 0
    """Z, numbers that a task is described by; 0: nothing is inferred"""
    context: int = 3
    """C, transitions of a context"""
    recent: int = 10
    """newest transitions of a task that they are drawn from; demonstrations are not among them"""
    trial: int = 10
    """episodes that collect with one memory; z is drawn anew for each"""
    kl_weight: float = 0.1
    """of the divergence KL(posterior || N(0, I)) nats"""
    kl: Literal["mean", "sum"] = "mean"
    """over the tasks of a batch"""
    output: Literal["linear", "leaky"] = "linear"
    """what follows the last layer of the encoder"""
    reward_scale: float = 1.0
    """of rewards in a context"""
    told: Literal["all", "first"] = "all"
    """depths whose network reads z"""

    def __post_init__(self) -> None:
        settings.not_negative(self, "latent", "kl_weight")
        settings.positive(self, "context", "recent", "trial", "reward_scale")
        settings.one_of(self, "kl", ("mean", "sum"))
        settings.one_of(self, "output", ("linear", "leaky"))
        settings.one_of(self, "told", ("all", "first"))


PAPER = Config(latent=16, kl_weight=1.0, kl="sum", output="leaky", reward_scale=100.0, told="first")
CORRECTED = Config(latent=16)


def init_encoder(pixels: tuple[int, int], action_dim: int, latent: int, generator: torch.Generator) -> Params:
    """Uniform weights after He before leaky ReLUs, after Glorot at the end; no biases."""
    height, width = (-(-side // STRIDE**2) for side in pixels)
    shapes = {
        "image0": (CHANNELS, 3, 3, 3),
        "image1": (CHANNELS, CHANNELS, 3, 3),
        "dense0": (HIDDEN, CHANNELS * height * width + action_dim + 1),
        "dense1": (2 * latent, HIDDEN),
    }
    params: Params = {}
    for name, shape in shapes.items():
        fan_in = math.prod(shape[1:])
        variance = 2 / (fan_in + shape[0]) if name == "dense1" else 2 / ((1 + SLOPE**2) * fan_in)
        params[f"{name}.w"] = (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3 * variance)
        params[f"{name}.b"] = torch.zeros(shape[0])
    return params


def encode(params: Mapping[str, Tensor], rgb: Tensor, action: Tensor, reward: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, Z) of each transition's Gaussian.

    Args:
        rgb: (B, H, W, 3) uint8, of the observation on which was acted.
        action: (B, A)
        reward: (B,)
    """
    x = rgb.permute(0, 3, 1, 2).to(action.dtype) / 127.5 - 1
    for name in ("image0", "image1"):
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        x = F.leaky_relu(F.conv2d(padded, params[f"{name}.w"], params[f"{name}.b"], stride=STRIDE), SLOPE)
    x = torch.cat([x.flatten(1), action, config.reward_scale * reward[:, None]], 1)
    x = F.leaky_relu(F.linear(x, params["dense0.w"], params["dense0.b"]), SLOPE)
    out = F.linear(x, params["dense1.w"], params["dense1.b"])
    mean, raw = (F.leaky_relu(out, SLOPE) if config.output == "leaky" else out).chunk(2, -1)
    return mean, F.softplus(raw).clamp(min=VARIANCE_FLOOR)


@torch.no_grad()
def encoded(params: Mapping[str, NDArray], rgb: NDArray, action: NDArray, reward: NDArray, config: Config) -> tuple[NDArray, NDArray]:
    """``encode`` of arrays."""
    encoder = {name: torch.from_numpy(np.asarray(leaf)) for name, leaf in params.items()}
    images, actions, rewards = (torch.from_numpy(np.ascontiguousarray(part)) for part in (rgb, action, reward))
    mean, variance = encode(encoder, images, actions, rewards, config)
    return mean.numpy(), variance.numpy()


def recalled(params: Mapping[str, NDArray], rgb: NDArray[np.uint8], action: NDArray, reward: NDArray, config: Config) -> dict[str, NDArray]:
    """The memory (1, ...) with which a trial begins that is to know n transitions already, oldest first, made by whomever.

    Args:
        rgb: (n, H, W, 3)
        action: (n, A)
        reward: (n,)
    """
    after, n = memory(1, rgb.shape[1:], config), len(reward)
    newest = np.arange(max(0, n - config.recent), n)
    for name, part in zip(("mean", "variance"), encoded(params, rgb, action, reward, config), strict=True):
        after[name][0, newest % config.recent] = part[newest]
    after["recalled"][:] = n
    return after

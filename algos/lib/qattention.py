"""The network of coarse-to-fine Q-attention: a U-net over a voxel grid that values every voxel and, where asked, rotation and gripper.

James et al. 2022 (arXiv 2106.12534), section 3.3 and the authors' code for what the paper leaves open. One network per depth. ``plain`` is
the network as it is described, in any precision; learners use ``qattention_fast.fast``, the same function, and tests hold the two together.
What differs from the authors' code: grids of more than 16 voxels per axis get no fourth level, and coordinates in ``features`` are in the
order of the grid's axes.

Shapes: B batch, V voxels per axis (a multiple of 4), C channels, L proprioception, Z latent, D = sum of the heads.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import ConfigError
from outpost.policies.qattention import SLOPE, TEMPERATURE

Params = dict[str, Tensor]
"""``NAME.w`` and ``NAME.b``; weights (out, in) of layers without extent, (out, in, 3, 3, 3) of the others"""


def arm_heads(*, rotation_bins: int = 72, gripper: int = 2, collision: int = 0) -> tuple[int, ...]:
    """Heads of the last depth: three Euler angles, the gripper's states, whether to ignore collisions; 0: without."""
    return tuple(size for size in (rotation_bins, rotation_bins, rotation_bins, gripper, collision) if size)


@dataclass(frozen=True)
class Sizes:
    """What a network looks like."""

    low_dim: int
    """L, numbers of proprioception"""
    heads: tuple[int, ...] = ()
    """choices of each head beside the voxels; none: no dense layers"""
    latent: int = 0
    """Z, numbers of a task's embedding, which are spread over the grid like proprioception"""
    voxels: int = 16
    """V per axis"""
    channels: int = 64
    """of the finest level; the next two have twice and four times as many"""
    inner: int = 32
    """channels between the layers of an inception block"""
    dense: int = 128
    """units of the dense layers"""
    inputs: int = 10
    """channels of the grid"""

    def __post_init__(self) -> None:
        if self.voxels < 4 or self.voxels % 4:
            raise ConfigError(f"a grid has {self.voxels} voxels per axis; it must be a multiple of 4, which is halved twice")
        if self.channels < 4 or self.channels % 4:
            raise ConfigError(f"a Q-attention network has {self.channels} channels; they must be a multiple of 4")

    @property
    def levels(self) -> int:
        """Resolutions: a grid of 8 has two, V and V/2; larger ones three."""
        return 2 if self.voxels <= 8 else 3

    @property
    def features(self) -> int:
        """What the dense layers read: the place and height of each channel's peak, of every level and of the output's features."""
        return 4 * (2 * self.channels + sum(self.channels << level for level in range(1, self.levels)))


class Values(NamedTuple):
    """Q of every choice."""

    voxels: Tensor
    """(B, V^3)"""
    heads: Tensor
    """(B, D) one head behind the other"""


def blocks(sizes: Sizes) -> Iterator[tuple[str, int, int]]:
    """(name, channels in, channels out) of the inception blocks."""
    C = sizes.channels
    yield "in", sizes.inputs, C
    yield "down0", C + (C if sizes.low_dim else 0) + sizes.latent, C
    for level in range(1, sizes.levels):
        yield f"down{level}", C << (level - 1), C << level
    for level in range(sizes.levels - 1, 0, -1):
        deepest = level == sizes.levels - 1
        yield f"up{level}.low", (C << level) + (0 if deepest else C), C
        yield f"up{level}.high", C, C


def layers(sizes: Sizes) -> Iterator[tuple[str, int, int, int, bool]]:
    """(name, in, out, extent of the kernel, whether a leaky ReLU follows) of every layer."""
    C, inner = sizes.channels, sizes.inner
    for name, fan_in, out in blocks(sizes):
        yield f"{name}.wide", fan_in, out // 2, 1, True
        yield f"{name}.near0", fan_in, inner, 1, True
        yield f"{name}.near1", inner, out // 4, 3, True
        yield f"{name}.far0", fan_in, inner, 1, True
        yield f"{name}.far1", inner, inner, 3, True
        yield f"{name}.far2", inner, out // 4, 3, True
    if sizes.low_dim:
        yield "proprio", sizes.low_dim, C, 1, True
    if sizes.latent:
        yield "latent", sizes.latent, sizes.latent, 1, True
    yield "final", 2 * C, C, 3, True
    yield "q", C, 1, 3, False
    if sizes.heads:
        yield "dense0", sizes.features, sizes.dense, 1, True
        yield "dense1", sizes.dense, sizes.dense, 1, True
        yield "dense2", sizes.dense, sum(sizes.heads), 1, False


def init_qattention(sizes: Sizes, generator: torch.Generator) -> Params:
    """Uniform weights after He before leaky ReLUs, after Glorot elsewhere; no biases."""
    params: Params = {}
    for name, fan_in, out, extent, bends in layers(sizes):
        shape = (out, fan_in) + (extent,) * (3 if extent > 1 else 0)
        field = extent**3
        variance = 2 / ((1 + SLOPE**2) * fan_in * field) if bends else 2 / ((fan_in + out) * field)
        params[f"{name}.w"] = (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3 * variance)
        params[f"{name}.b"] = torch.zeros(out)
    return params


def plain(params: Mapping[str, Tensor], grid: Tensor, low_dim: Tensor, sizes: Sizes, latent: Tensor | None = None) -> Values:
    """The network layer by layer.

    Args:
        grid: (B, V, V, V, 10), channels last.
        low_dim: (B, L)
        latent: (B, Z), where the network has one.
    """
    x = _block(params, "in", grid.permute(0, 4, 1, 2, 3))
    for name, told in (("proprio", low_dim if sizes.low_dim else None), ("latent", latent)):
        if told is not None:
            x = torch.cat([x, _layer(params, name, told)[..., None, None, None].expand(-1, -1, *x.shape[2:])], 1)
    down = [_block(params, "down0", x)]
    for level in range(1, sizes.levels):
        down.append(_block(params, f"down{level}", F.max_pool3d(down[-1], 3, stride=2, padding=1)))
    x = down[-1]
    for level in range(sizes.levels - 1, 0, -1):
        low = _block(params, f"up{level}.low", x)
        up = _block(params, f"up{level}.high", F.interpolate(low, scale_factor=2, mode="trilinear", align_corners=False))
        x = torch.cat([down[level - 1], up], 1)
    final = _layer(params, "final", x)
    q = _layer(params, "q", final, bends=False).flatten(1)
    if not sizes.heads:
        return Values(q, q[:, :0])
    x = _layer(params, "dense0", torch.cat([peaks(level.flatten(2)) for level in (*down, final)], -1))
    return Values(q, _layer(params, "dense2", _layer(params, "dense1", x), bends=False))


def peaks(x: Tensor) -> Tensor:
    """Where each channel of (B, C, V^3) is largest, by a softmax over the voxels, and how large: (B, 4 C), coordinates in [-1, 1] first."""
    heat = (x / TEMPERATURE).softmax(-1)
    return torch.cat([(heat @ coordinates(round(x.shape[-1] ** (1 / 3)), x)).flatten(1), x.amax(-1)], -1)


def coordinates(voxels: int, like: Tensor) -> Tensor:
    """(V^3, 3) along the grid's axes, from -1 to 1."""
    axis = torch.linspace(-1, 1, voxels, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).flatten(0, 2)


def _block(params: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """An inception block: views of 1, 3 and 5 voxels, one behind the other. (B, in, V, V, V) -> (B, out, V, V, V)"""
    near = _layer(params, f"{name}.near1", _layer(params, f"{name}.near0", x))
    far = _layer(params, f"{name}.far2", _layer(params, f"{name}.far1", _layer(params, f"{name}.far0", x)))
    return torch.cat([_layer(params, f"{name}.wide", x), near, far], 1)


def _layer(params: Mapping[str, Tensor], name: str, x: Tensor, *, bends: bool = True) -> Tensor:
    """A dense layer (B, in) -> (B, out), or a convolution over a grid whose outermost voxels go on beyond its border."""
    weight, bias = params[f"{name}.w"], params[f"{name}.b"]
    if x.dim() == 2:
        out = F.linear(x, weight, bias)
    elif weight.dim() == 2:
        out = F.conv3d(x, weight[..., None, None, None], bias)
    else:
        out = F.conv3d(F.pad(x, (1,) * 6, mode="replicate"), weight, bias)
    return F.leaky_relu(out, SLOPE) if bends else out

"""The network of coarse-to-fine Q-attention where one acts: ``algos.lib.qattention`` says what it is, this is its forward pass in numpy.

Products of matrices do the work. What is rewritten for them, and why it is the same:
- Channels last, one grid after the other: a grid and what becomes of it stay in a CPU's caches.
- The 1 x 1 x 1 layers at the head of a block read the same and become one product.
- A convolution of 3 voxels is a sum of 9 products: each voxel beside its two neighbours on the last axis, seen from 9 places on the others.
- Proprioception and latent are constant over the grid: one vector is added to the first product.
- A product commutes with the interpolation that doubles the resolution (its weights sum to 1), so it is made before, on 1/8 of the voxels.
- The last convolution has one output: a product with its 27 taps, then sums of shifted planes.

Shapes: B batch, V voxels per axis, C channels, L proprioception, Z latent, D = sum of the heads, n voxels of a grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOPE = 0.02
"""of leaky ReLUs"""
TEMPERATURE = 0.01
"""of the spatial softmax"""
COLD = -60.0
"""exponent below which a softmax's weight counts as that much: less would be numbers too small for a CPU to be quick with"""


class Layer(NamedTuple):
    """What is added after a product with the weights."""

    weight: NDArray
    """(in, out); of a convolution (9, 3 in, out)"""
    bias: NDArray


class Network:
    """One depth's network, its weights laid out for the products.

    Args:
        params: ``NAME.w`` and ``NAME.b`` as ``algos.lib.qattention`` names and shapes them.
    """

    def __init__(self, params: Mapping[str, NDArray]) -> None:
        names = [name[:-2] for name in params if name.endswith(".w")]
        self.dtype, self.levels = params["q.w"].dtype, sum(name.startswith("down") and name.endswith(".wide") for name in names)
        self.inner = len(params["in.near0.b"])
        self.layers: dict[str, Layer] = {name: _laid_out(params[f"{name}.w"], params[f"{name}.b"]) for name in names if name != "q"}
        self.first = {name[:-5]: _first(params, name[:-5]) for name in names if name.endswith(".wide")}
        self.taps, self.bias = np.ascontiguousarray(params["q.w"][0].reshape(len(params["final.b"]), -1).T), params["q.b"]

    def __call__(self, grids: NDArray, low_dim: NDArray, latent: NDArray | None = None) -> tuple[NDArray, NDArray]:
        """Q of voxels (B, V^3) and of all choices of the heads (B, D), one head behind the other.

        Args:
            grids: (B, V, V, V, 10)
            low_dim: (B, L)
            latent: (B, Z), where the network has one.
        """
        told = self._told(low_dim.astype(self.dtype), latent)
        found = [self._one(grid.astype(self.dtype), one) for grid, one in zip(grids, told)]
        q, features = np.stack([q for q, _ in found]), np.stack([features for _, features in found])
        if not features.shape[1]:
            return q, q[:, :0]
        for name in ("dense0", "dense1"):
            features = _bent(features @ self.layers[name].weight + self.layers[name].bias)
        return q, features @ self.layers["dense2"].weight + self.layers["dense2"].bias

    def _told(self, low_dim: NDArray, latent: NDArray | None) -> Sequence[Any]:
        """Of each sample what is the same all over its grid (C + Z,); nothing where a network is told nothing."""
        parts = [(name, told) for name, told in (("proprio", low_dim), ("latent", latent)) if name in self.layers and told is not None]
        spread = [_bent(told.astype(self.dtype) @ self.layers[name].weight + self.layers[name].bias) for name, told in parts]
        return list(np.concatenate(spread, -1)) if spread else [None] * len(low_dim)

    def _one(self, grid: NDArray, told: NDArray | None) -> tuple[NDArray, NDArray]:
        """Q of a grid's voxels (V^3,), and what the dense layers read; nothing where there are none."""
        down = [self._block("down0", self._block("in", grid), told)]
        for level in range(1, self.levels):
            down.append(self._block(f"down{level}", pooled(down[-1])))
        x = down[-1]
        for level in range(self.levels - 1, 0, -1):
            x = np.concatenate([down[level - 1], self._raised(f"up{level}", x)], -1)
        final = np.ascontiguousarray(_convolved(x, self.layers["final"]))
        levels = (*down, final) if "dense0" in self.layers else ()
        return self._valued(final), np.concatenate([final[0, 0, 0, :0], *(_peaks(level.reshape(-1, level.shape[-1])) for level in levels)])

    def _block(self, name: str, x: NDArray, told: NDArray | None = None) -> NDArray:
        """(V, V, V, in) and what is the same for all voxels (more,) -> (V, V, V, out)"""
        return self._rest(name, self._led(name, x, told))

    def _led(self, name: str, x: NDArray, told: NDArray | None = None) -> NDArray:
        """The product that begins a block, not bent yet."""
        (weight, bias), n = self.first[name], x.shape[-1]
        y = x.reshape(-1, n) @ weight[:n]
        y += bias if told is None else told @ weight[n:] + bias
        return y.reshape(*x.shape[:3], -1)

    def _rest(self, name: str, y: NDArray) -> NDArray:
        """From the first product of a block to its output: what goes out as it is, then views of 3 and of 5 voxels."""
        y, at = _bent(y), y.shape[-1] - 2 * self.inner
        near, far = self.layers[f"{name}.near1"], self.layers[f"{name}.far2"]
        out = np.empty((*y.shape[:3], at + near.weight.shape[-1] + far.weight.shape[-1]), self.dtype)
        out[..., :at] = y[..., :at]
        middle = at + near.weight.shape[-1]
        out[..., at:middle] = _convolved(y[..., at : at + self.inner], near)
        out[..., middle:] = _convolved(_convolved(y[..., at + self.inner :], self.layers[f"{name}.far1"]), far)
        return out

    def _raised(self, name: str, x: NDArray) -> NDArray:
        """Two blocks, the second on twice the resolution: (V, V, V, in) -> (2V, 2V, 2V, out). Its first product is made before."""
        return self._rest(f"{name}.high", doubled(self._led(f"{name}.high", self._block(f"{name}.low", x))))

    def _valued(self, x: NDArray) -> NDArray:
        """The last convolution: (V, V, V, C) -> (V^3,)"""
        taps = (self.taps @ x.reshape(-1, x.shape[-1]).T).reshape(27, *x.shape[:3])
        for axis in (2, 1, 0):
            before, here, after = np.moveaxis(taps.reshape(-1, 3, *x.shape[:3]), 1, 0)
            taps = here + _beside(before, 1 + axis, -1) + _beside(after, 1 + axis, 1)
        return taps.reshape(-1) + self.bias


def _laid_out(weight: NDArray, bias: NDArray) -> Layer:
    """Weights (out, in) -> (in, out), and (out, in, 3, 3, 3) -> (9, 3 in, out)."""
    if weight.ndim == 2:
        return Layer(np.ascontiguousarray(weight.T), bias)
    return Layer(np.ascontiguousarray(weight.transpose(2, 3, 4, 1, 0).reshape(9, -1, len(weight))), bias)


def _first(params: Mapping[str, NDArray], name: str) -> Layer:
    """Of the product that begins a block: what goes out as it is, then what each of the two convolutions reads."""
    parts = [f"{name}.{part}" for part in ("wide", "near0", "far0")]
    weight, bias = (np.concatenate([params[f"{part}.{kind}"] for part in parts]) for kind in "wb")
    return _laid_out(weight, bias)


def _convolved(x: NDArray, layer: Layer) -> NDArray:
    """A convolution of 3 voxels, and what bends it: (D, H, W, in) -> (D, H, W, out), a view. The border goes on beyond itself."""
    (D, H, W, n), out = x.shape, layer.weight.shape[-1]
    beside = _with_neighbours(x).reshape(-1, 3 * n)
    rows = ((D - 1) * (H + 2) + H) * W  # the last voxel's place; what lies between two planes is computed in vain
    places = [(i * (H + 2) + j) * W for i in range(3) for j in range(3)]
    y = np.empty((D * (H + 2) * W, out), x.dtype)
    total, part = y[:rows], np.empty((rows, out), x.dtype)
    np.matmul(beside[:rows], layer.weight[0], out=total)
    for place, weight in zip(places[1:], layer.weight[1:]):
        total += np.matmul(beside[place : place + rows], weight, out=part)
    total += layer.bias
    _bent(total, part)
    return y.reshape(D, H + 2, W, out)[:, :H]


def _with_neighbours(x: NDArray) -> NDArray:
    """(D, H, W, C) -> (D + 2, H + 2, W, 3 C): each voxel between those beside it on the last axis, the border repeated on all."""
    D, H, W, C = x.shape
    out = np.empty((D + 2, H + 2, W, 3 * C), x.dtype)
    inside = out[1:-1, 1:-1]
    inside[..., C : 2 * C] = x
    inside[:, :, 1:, :C], inside[:, :, 0, :C] = x[:, :, :-1], x[:, :, 0]
    inside[:, :, :-1, 2 * C :], inside[:, :, -1, 2 * C :] = x[:, :, 1:], x[:, :, -1]
    out[1:-1, 0], out[1:-1, -1] = out[1:-1, 1], out[1:-1, -2]
    out[0], out[-1] = out[1], out[-2]
    return out


def _bent(x: NDArray, room: NDArray | None = None) -> NDArray:
    """A leaky ReLU in place; ``room`` is of the same shape and may be written over."""
    return np.maximum(x, np.multiply(x, x.dtype.type(SLOPE), out=room), out=x)


def pooled(x: NDArray) -> NDArray:
    """The largest of 3 voxels around every other one, on each axis: (V, V, V, C) -> (V/2, V/2, V/2, C)"""
    for axis in range(3):
        x = np.moveaxis(x, axis, 0)
        even, odd = x[0::2], x[1::2]
        top = np.maximum(even, odd)
        np.maximum(top[1:], odd[:-1], out=top[1:])
        x = np.moveaxis(top, 0, axis)
    return np.ascontiguousarray(x)


def doubled(x: NDArray) -> NDArray:
    """Linear interpolation between the middles of voxels: (V, V, V, C) -> (2V, 2V, 2V, C)"""
    for axis in range(3):
        shape = list(x.shape)
        shape[axis] *= 2
        out, most = np.empty(shape, x.dtype), x * x.dtype.type(0.75)
        quarter = x * x.dtype.type(0.25)
        into = np.moveaxis(out, axis, 0)
        into[0::2] = np.moveaxis(most + _beside(quarter, axis, -1), axis, 0)
        into[1::2] = np.moveaxis(most + _beside(quarter, axis, 1), axis, 0)
        x = out
    return x


def _beside(x: NDArray, axis: int, step: int) -> NDArray:
    """What lies one voxel further on the axis, or at the border the border."""
    places = np.clip(np.arange(x.shape[axis]) + step, 0, x.shape[axis] - 1)
    return x.take(places, axis)


def _peaks(x: NDArray) -> NDArray:
    """Where each channel of (n, C) is largest, by a softmax over the voxels, and how large: (4 C,), coordinates in [-1, 1] first."""
    top = x.max(0)
    heat = x - top
    heat *= x.dtype.type(1 / TEMPERATURE)
    np.exp(np.maximum(heat, x.dtype.type(COLD), out=heat), out=heat)
    sums = heat.T @ _places(round(len(x) ** (1 / 3)), x.dtype)
    return np.concatenate([(sums[:, :3] / sums[:, 3:]).reshape(-1), top])


def _places(voxels: int, dtype: Any) -> NDArray:
    """(V^3, 4) along the grid's axes, from -1 to 1, and a 1."""
    axis = np.linspace(-1, 1, voxels, dtype=dtype)
    planes: list[NDArray] = [*np.meshgrid(axis, axis, axis, indexing="ij"), np.ones((voxels,) * 3, dtype)]
    return np.stack(planes, -1).reshape(-1, 4)

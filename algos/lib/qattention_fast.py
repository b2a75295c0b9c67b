"""The network of ``qattention``, rewritten for speed: the same function and the same gradients, up to rounding.

What is rewritten, and why it is the same:
- Channels last, which convolutions of a CPU like best. The 1 x 1 x 1 layers at the head of a block read the same and become one product.
- Proprioception and latent are constant over the grid, so they reach the first product as one vector per sample, not as 64 channels.
- The border is repeated while the input is copied into the padded one (``_Padded``), two inputs at once where they would be concatenated.
- A product commutes with the interpolation that doubles the resolution (its weights sum to 1), so it is made before, on 1/8 of the voxels.
- The last convolution has one output: a product with its 27 taps, then sums of shifted planes.
- A softmax over voxels is only read through its mean place: one product of unnormalised weights gives numerator and denominator.
- Nothing is computed for heads that a depth does not have.

With ``body=torch.bfloat16`` all up to the last features is computed in that type from float32 weights; the valuing layers stay in float32.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from algos.lib.qattention import SLOPE, TEMPERATURE, Sizes, Values, coordinates
from outpost.policies.qattention import COLD

ONEDNN = (torch.float32, torch.bfloat16)
"""types of a CPU's convolution library"""


def fast(
    params: Mapping[str, Tensor],
    grid: Tensor,
    low_dim: Tensor,
    sizes: Sizes,
    latent: Tensor | None = None,
    *,
    body: torch.dtype | None = None,
) -> Values:
    """See ``qattention.plain``. ``body``: the type in which the U-net is computed; that of its parameters if None."""
    kind, inner = body or params["q.w"].dtype, {k: p.to(body or p.dtype) for k, p in params.items() if not k.startswith(("q.", "dense"))}
    x = _block(inner, "in", grid.to(kind))
    down = [_block(inner, "down0", x, told=_told(inner, low_dim.to(kind), latent, sizes))]
    for level in range(1, sizes.levels):
        down.append(_block(inner, f"down{level}", _pooled(down[-1])))
    x = down[-1]
    for level in range(sizes.levels - 1, 1, -1):
        x = torch.cat([down[level - 1], _raised(inner, f"up{level}", x)], -1)
    final = _bent(_conv(_Padded.apply(down[0], _raised(inner, "up1", x)), inner["final.w"], inner["final.b"]))
    own = params["q.w"].dtype
    final = final.to(own)
    q = _taps(final, params["q.w"], params["q.b"])
    if not sizes.heads:
        return Values(q, q[:, :0])
    x = torch.cat([_peaks(level.to(own).flatten(1, 3)) for level in (*down, final)], -1)
    for name in ("dense0", "dense1"):
        x = _bent(F.linear(x, params[f"{name}.w"], params[f"{name}.b"]))
    return Values(q, F.linear(x, params["dense2.w"], params["dense2.b"]))


def _told(params: Mapping[str, Tensor], low_dim: Tensor, latent: Tensor | None, sizes: Sizes) -> Tensor | None:
    """(B, C + Z) what is the same all over the grid."""
    parts = [("proprio", low_dim)] if sizes.low_dim else []
    parts += [("latent", latent.to(low_dim.dtype))] if latent is not None else []
    spread = [_bent(F.linear(told, params[f"{name}.w"], params[f"{name}.b"])) for name, told in parts]
    return torch.cat(spread, -1) if spread else None


def _block(params: Mapping[str, Tensor], name: str, x: Tensor, told: Tensor | None = None) -> Tensor:
    """(B, V, V, V, in) and what is the same for all voxels (B, more) -> (B, V, V, V, out)"""
    weight, bias = _first(params, name)
    if told is None:
        y = _product(x, weight, bias)
    else:
        n = x.shape[-1]
        y = _product(x, weight[:, :n]).add_(F.linear(told, weight[:, n:], bias)[:, None, None, None])
    return _rest(params, name, _bent(y))


def _raised(params: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Two blocks, the second on twice the resolution: (B, V, V, V, in) -> (B, 2V, 2V, 2V, out). Its first product is made before."""
    y = _product(_block(params, f"{name}.low", x), *_first(params, f"{name}.high")).permute(0, 4, 1, 2, 3)
    y = F.interpolate(y, scale_factor=2, mode="trilinear", align_corners=False).permute(0, 2, 3, 4, 1)
    return _rest(params, f"{name}.high", _bent(y.contiguous()))


def _first(params: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of the product that begins a block: what goes out as it is, then what each of the two convolutions reads."""
    parts = [f"{name}.{part}" for part in ("wide", "near0", "far0")]
    return torch.cat([params[f"{part}.w"] for part in parts]), torch.cat([params[f"{part}.b"] for part in parts])


def _rest(params: Mapping[str, Tensor], name: str, y: Tensor) -> Tensor:
    """From the first product of a block to its output, channels last."""

    def conv(part: str, x: Tensor) -> Tensor:
        return _bent(_conv(_Padded.apply(x), params[f"{name}.{part}.w"], params[f"{name}.{part}.b"]))

    inner = len(params[f"{name}.near0.b"])
    wide, near, far = y.split([y.shape[-1] - 2 * inner, inner, inner], -1)
    return torch.cat([wide, conv("near1", near), conv("far2", conv("far1", far))], -1)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, V, V, V, in) -> (B, V, V, V, out), as a convolution that sees one voxel: a CPU is quicker with it than with a matrix product."""
    return _conv(x, weight[..., None, None, None], bias)


def _conv(padded: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, V+2, V+2, V+2, in) -> (B, V, V, V, out)"""
    x, weight = padded.permute(0, 4, 1, 2, 3), weight.contiguous(memory_format=torch.channels_last_3d)
    if x.device.type == "cpu" and x.dtype in ONEDNN and torch.backends.mkldnn.is_available():
        # what conv3d would choose, but for few samples and one thread: there it takes another way, which is four times as slow
        out = torch.ops.aten.mkldnn_convolution(x, weight, bias, [0] * 3, [1] * 3, [1] * 3, 1)
    else:
        out = F.conv3d(x, weight, bias)
    return out.permute(0, 2, 3, 4, 1)


def _bent(x: Tensor) -> Tensor:
    """In place: neither a product nor a convolution needs what it gave."""
    return F.leaky_relu_(x, SLOPE)


def _pooled(x: Tensor) -> Tensor:
    """(B, V, V, V, C) -> (B, V/2, V/2, V/2, C)"""
    return F.max_pool3d(x.permute(0, 4, 1, 2, 3), 3, stride=2, padding=1).permute(0, 2, 3, 4, 1)


def _taps(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution (B, V, V, V, C) -> (B, V^3) as a product with 27 taps, each of which is then seen from the voxel beside it."""
    V = x.shape[1]
    taps = torch.matmul(weight[0].flatten(1).T, x.flatten(1, 3).transpose(1, 2)).unflatten(-1, (V, V, V))  # (B, 27, V, V, V)
    for axis in (-1, -2, -3):
        before, here, after = taps.unflatten(1, (-1, 3)).unbind(2)
        taps = here + _seen(before, axis, -1) + _seen(after, axis, 1)
    return (taps[:, 0] + bias).flatten(1)


def _seen(x: Tensor, axis: int, step: int) -> Tensor:
    """What lies one voxel further on the axis, or at the border the border."""
    n = x.shape[axis]
    if step < 0:
        return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, n - 1)], axis)
    return torch.cat([x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)], axis)


def _peaks(x: Tensor) -> Tensor:
    """``qattention.peaks`` of (B, V^3, C)."""
    places = coordinates(round(x.shape[1] ** (1 / 3)), x)
    sums, top, _, _ = _Peaks.apply(x, torch.cat([places, torch.ones_like(places[:, :1])], -1))
    return torch.cat([(sums[..., :3] / sums[..., 3:]).flatten(1), top], -1)


class _Peaks(torch.autograd.Function):
    """Of (B, V^3, C) each channel's maximum (B, C), and the sums (B, C, 4) of ``places`` (V^3, 4) weighted by exp((x - maximum) / T).

    The maximum under the exponent cancels where sums are divided by each other, so no gradient goes that way.
    """

    @staticmethod
    def forward(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        top, where = x.max(1)
        heat = (x - top[:, None]).mul_(1 / TEMPERATURE).clamp_(min=COLD).exp_()
        return heat.transpose(1, 2) @ places, top, heat, where

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        heat, where = output[2:]
        ctx.mark_non_differentiable(heat, where)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(heat, where, inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None]:
        heat, where, places = ctx.saved_tensors
        if grads[0] is None or grads[1] is None:  # both are read by the same layer
            return None, None
        of_sums = (grads[0] * (1 / TEMPERATURE)).transpose(1, 2)
        grad = (places @ of_sums).mul_(heat)
        return grad.scatter_add_(1, where[:, None], grads[1][:, None]), None


class _Padded(torch.autograd.Function):
    """Grids (B, V, V, V, C) beside each other, with their outermost voxels repeated beyond the border: (B, V+2, V+2, V+2, sum of C)."""

    @staticmethod
    def forward(*grids: Tensor) -> Tensor:
        B, D, H, W, _ = grids[0].shape
        out = grids[0].new_empty(B, D + 2, H + 2, W + 2, sum(grid.shape[-1] for grid in grids))
        at = 0
        for grid in grids:
            out[:, 1:-1, 1:-1, 1:-1, at : at + grid.shape[-1]] = grid
            at += grid.shape[-1]
        rows = out[:, 1:-1, 1:-1]
        rows[:, :, :, 0], rows[:, :, :, -1] = rows[:, :, :, 1], rows[:, :, :, -2]
        planes = out[:, 1:-1]
        planes[:, :, 0], planes[:, :, -1] = planes[:, :, 1], planes[:, :, -2]
        out[:, 0], out[:, -1] = out[:, 1], out[:, -2]
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.channels = [grid.shape[-1] for grid in inputs]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        """What lies beyond the border is folded back onto it; in place, since only a convolution reads the grid and made this gradient."""
        grad = grads[0]
        grad[:, 1] += grad[:, 0]
        grad[:, -2] += grad[:, -1]
        planes = grad[:, 1:-1]
        planes[:, :, 1] += planes[:, :, 0]
        planes[:, :, -2] += planes[:, :, -1]
        rows = planes[:, :, 1:-1]
        rows[:, :, :, 1] += rows[:, :, :, 0]
        rows[:, :, :, -2] += rows[:, :, :, -1]
        return tuple(rows[:, :, :, 1:-1].split(ctx.channels, -1))

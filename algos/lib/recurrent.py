"""Recurrent cells, GRU and LSTM, as plain parameter dicts: a whole sequence in torch (learner), one step in numpy (actors).

GRU: Cho et al. 2014 (arXiv 1406.1078), in the form that applies the reset gate after the product, as torch and cuDNN do. LSTM: Hochreiter
and Schmidhuber 1997, with a forget gate. Both have one bias where torch keeps two that only ever act as a sum.

Time leads: (T, ..., B, F), where ... are axes that stack networks, the same in front of the parameters. The inputs of all steps are
multiplied at once; what has to be done step by step has its gradient written by hand, which records no graph of T small operations: seven
times as fast as autograd over a loop.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["gru", "lstm"]
GATES: dict[str, int] = {"gru": 3, "lstm": 4}
"""blocks of H columns: reset, update, candidate; input, forget, candidate, output"""
Carry = dict[str, Tensor]
"""``h`` (..., B, H), and of an LSTM ``c``, the same"""


def init_cell(kind: Kind, inputs: int, hidden: int, generator: torch.Generator) -> dict[str, Tensor]:
    """``wi`` (F, G H), ``wh`` (H, G H), ``b`` (1, G H), of a GRU also ``bn`` (1, H) inside the reset gate. Uniform in +-1/sqrt(H), torch's
    own default."""
    width = GATES[kind] * hidden
    shapes = {"wi": (inputs, width), "wh": (hidden, width), "b": (1, width)} | ({"bn": (1, hidden)} if kind == "gru" else {})
    return {name: (torch.rand(*shape, generator=generator) * 2 - 1) / math.sqrt(hidden) for name, shape in shapes.items()}


def kind_of(params: Mapping[str, Any]) -> Kind:
    return "gru" if "bn" in params else "lstm"


def zero_carry(params: Mapping[str, Tensor], batch: int) -> Carry:
    """What a sequence begins with."""
    lead, H = params["wh"].shape[:-2], params["wh"].shape[-2]
    return {name: params["wh"].new_zeros(*lead, batch, H) for name in (("h",) if "bn" in params else ("h", "c"))}


def unroll(params: Mapping[str, Tensor], x: Tensor, carry: Carry | None = None, mask: Tensor | None = None) -> tuple[Tensor, Carry]:
    """The states after each step, (T, ..., B, H), and the carry after the last.

    Args:
        x: (T, ..., B, F).
        carry: before the first step; None: zeros.
        mask: (T, ..., B), 0 where a step does not count: the state stays as it is, and the step's input has no influence.
    """
    carry = zero_carry(params, x.shape[-2]) if carry is None else carry
    if mask is None and x.dim() == 3 and kind_of(params) == "lstm" and not x.is_cuda:
        return _fused_lstm(params, x, carry)
    keep = None if mask is None else (mask == 0).unsqueeze(-1)
    if keep is not None:
        x = x.masked_fill(keep, 0.0)
    gates = _in_time_order(_by_network(x) @ params["wi"] + params["b"], x.shape[0])
    if kind_of(params) == "gru":
        h: Tensor = _GRU.apply(gates, carry["h"], params["wh"], params["bn"], keep)  # type: ignore[assignment]
        return h, {"h": h[-1]}
    h, c = _LSTM.apply(gates, carry["h"], carry["c"], params["wh"], keep)  # type: ignore[misc]
    return h, {"h": h[-1], "c": c[-1]}


def _fused_lstm(params: Mapping[str, Tensor], x: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
    """By torch's own, which has a kernel for this on CPUs: three quarters of the time. It has none for a GRU."""
    bias = params["b"][0]
    weights = [params["wi"].mT.contiguous(), params["wh"].mT.contiguous(), bias, torch.zeros_like(bias)]
    out, h, c = torch.lstm(x, [carry["h"][None], carry["c"][None]], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return out, {"h": h[0], "c": c[0]}


class _GRU(torch.autograd.Function):
    """h' = n + z (h - n), with r, z = sigmoid(.), n = tanh(a + r q), q = h W_n + b_n, a and the others' inputs given."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, h: Tensor, wh: Tensor, bn: Tensor, keep: Tensor | None) -> Tensor:
        T, H = gates.shape[0], h.shape[-1]
        states = h.new_empty(T + 1, *h.shape)
        acts, q = torch.empty_like(gates), torch.empty_like(states[1:])
        states[0] = h
        product = torch.empty_like(gates[0])
        upper, last = product[..., : 2 * H], product[..., 2 * H :]
        given, bent = gates.split([2 * H, H], -1), acts.split([2 * H, H], -1)
        steps = zip(*(x.unbind(0) for x in (*given, *bent, bent[0][..., :H], bent[0][..., H:], q, states[:-1], states[1:])), strict=True)
        for t, (a_rz, a_n, rz, n, r, z, qt, h, after) in enumerate(steps):  # views made at once: one by one they take a tenth of the time
            torch.matmul(h, wh, out=product)
            torch.add(a_rz, upper, out=rz).sigmoid_()
            torch.add(last, bn, out=qt)
            torch.addcmul(a_n, r, qt, out=n).tanh_()
            torch.lerp(n, h, z, out=after)
            if keep is not None:
                torch.where(keep[t], h, after, out=after)
        ctx.save_for_backward(states, acts, q, wh, keep)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (out,) = grads
        states, acts, q, wh, keep = ctx.saved_tensors
        r, z, n = acts.chunk(3, -1)
        if keep is not None:
            z = torch.where(keep, 1.0, z)
        by_a = (1 - z) * (1 - n * n)
        slopes = torch.stack(
            [by_a * q * r * (1 - r), (states[:-1] - n) * z * (1 - z), by_a * r], -2
        )  # of h' by r, z and q before they bend
        inner, upper, transposed = torch.empty_like(slopes), torch.empty_like(z), wh.mT.contiguous()
        dh = torch.zeros_like(out[0])
        flat = inner.flatten(-2)
        steps = list(zip(*(x.unbind(0) for x in (out, upper, upper.unsqueeze(-2), slopes, inner, flat, z)), strict=True))
        for slope, total, column, bends, into, row, zt in reversed(steps):
            torch.add(dh, slope, out=total)
            torch.mul(bends, column, out=into)
            dh = torch.addcmul(row @ transposed, total, zt)
        dwh, bias = _weights(states[:-1], inner.flatten(-2)), _sum_over_steps(inner[..., 2, :])
        inner[..., 2, :] = by_a * upper  # what came from outside, a, is not multiplied by r
        return inner.flatten(-2), dh, dwh, bias, None


class _LSTM(torch.autograd.Function):
    """c' = f c + i g, h' = o tanh(c'), with i, f, o = sigmoid(.), g = tanh(.)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, h: Tensor, c: Tensor, wh: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        T, H = gates.shape[0], h.shape[-1]
        hs, cs = h.new_empty(T + 1, *h.shape), h.new_empty(T + 1, *h.shape)
        acts, bent = torch.empty_like(gates), torch.empty_like(hs[1:])
        hs[0], cs[0] = h, c
        for t in range(T):
            i, f, g, o = acts[t].split(H, -1)
            torch.matmul(hs[t], wh, out=acts[t])
            acts[t].add_(gates[t])
            acts[t, ..., : 2 * H].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cs[t], out=cs[t + 1]).addcmul_(i, g)
            torch.tanh(cs[t + 1], out=bent[t])
            torch.mul(o, bent[t], out=hs[t + 1])
            if keep is not None:
                torch.where(keep[t], hs[t], hs[t + 1], out=hs[t + 1])
                torch.where(keep[t], cs[t], cs[t + 1], out=cs[t + 1])
        ctx.save_for_backward(hs, cs, acts, bent, wh, keep)
        return hs[1:], cs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        out_h, out_c = grads
        hs, cs, acts, bent, wh, keep = ctx.saved_tensors
        i, f, g, o = acts.chunk(4, -1)
        to_c, by_o = o * (1 - bent * bent), bent * o * (1 - o)
        by_c = torch.stack([g * i * (1 - i), cs[:-1] * f * (1 - f), i * (1 - g * g)], -2)
        if keep is not None:  # a step that does not count hands on what it got
            to_c, by_o = to_c.masked_fill(keep, 0.0), by_o.masked_fill(keep, 0.0)
            by_c, f = by_c.masked_fill(keep.unsqueeze(-1), 0.0), torch.where(keep, 1.0, f)
        inner, transposed = torch.empty_like(acts.unflatten(-1, (4, -1))), wh.mT.contiguous()
        dh, dc = torch.zeros_like(out_h[0]), torch.zeros_like(out_h[0])
        for t in range(len(out_h) - 1, -1, -1):
            dh = dh + out_h[t]
            dc = torch.addcmul(dc + out_c[t], dh, to_c[t])
            torch.mul(by_c[t], dc.unsqueeze(-2), out=inner[t, ..., :3, :])
            torch.mul(by_o[t], dh, out=inner[t, ..., 3, :])
            kept = 0.0 if keep is None else dh * keep[t]
            dh, dc = inner[t].flatten(-2) @ transposed + kept, dc * f[t]
        gates = inner.flatten(-2)
        return gates, dh, dc, _weights(hs[:-1], gates), None


def _weights(h: Tensor, grads: Tensor) -> Tensor:
    """(T, ..., B, H) and (T, ..., B, G H) -> (..., H, G H): the sum over steps and samples of their outer products."""
    return _by_network(h).mT @ _by_network(grads)


def _by_network(x: Tensor) -> Tensor:
    """(T, ..., B, F) -> (..., T B, F): one product of all steps"""
    return x.movedim(0, -3).flatten(-3, -2)


def _in_time_order(x: Tensor, steps: int) -> Tensor:
    """Back again"""
    return x.unflatten(-2, (steps, -1)).movedim(-3, 0)


def _sum_over_steps(grads: Tensor) -> Tensor:
    """(T, ..., B, H) -> (..., 1, H)"""
    return grads.sum((0, -2)).unsqueeze(-2)


def numpy_step(params: Mapping[str, NDArray], x: NDArray[np.float32], carry: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """One step of ``unroll`` on arrays: x (N, F), and the carry (N, H) before it -> the carry after it, whose ``h`` is the output."""
    h, H = carry["h"], carry["h"].shape[1]
    gates, product = x @ params["wi"] + params["b"], h @ params["wh"]
    if kind_of(params) == "gru":
        r, z = np.split(_sigmoid(gates[:, : 2 * H] + product[:, : 2 * H]), 2, -1)
        n = np.tanh(gates[:, 2 * H :] + r * (product[:, 2 * H :] + params["bn"]))
        return {"h": n + z * (h - n)}
    i, f, g, o = np.split(gates + product, 4, -1)
    c = _sigmoid(f) * carry["c"] + _sigmoid(i) * np.tanh(g)
    return {"h": _sigmoid(o) * np.tanh(c), "c": c}


def _sigmoid(x: NDArray) -> NDArray:
    """By way of tanh, which does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)

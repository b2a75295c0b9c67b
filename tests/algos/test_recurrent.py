"""Recurrent cells against torch's own, against a plain loop under autograd, and the actors' numpy step against both."""

import numpy as np
import pytest
import torch

from algos.lib.recurrent import GATES, init_cell, numpy_step, unroll, zero_carry
from core.tree import index_tree, map_tree, stack_trees

T, B, F, H = 7, 4, 3, 5
kinds = pytest.mark.parametrize("kind", ["gru", "lstm"])


def cell(kind, seed=0):
    return map_tree(torch.Tensor.double, init_cell(kind, F, H, torch.Generator().manual_seed(seed)))


def data(seed=1, lead=()):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(T, *lead, B, F, generator=g, dtype=torch.float64)
    carry = {name: torch.randn(*lead, B, H, generator=g, dtype=torch.float64) for name in ("h", "c")}
    mask = (torch.rand(T, *lead, B, generator=g) < 0.6).double()
    return x, carry, mask


def of(kind, carry):
    return {name: carry[name] for name in (("h",) if kind == "gru" else ("h", "c"))}


def plain(params, x, carry, mask=None):
    """One step after the other, all of it under autograd: the oracle."""
    h, c, out = carry["h"], carry.get("c"), []
    for t in range(len(x)):
        gates, product = x[t] @ params["wi"] + params["b"], h @ params["wh"]
        new_c = c
        if "bn" in params:
            (ar, az, an), (pr, pz, pn) = gates.chunk(3, -1), product.chunk(3, -1)
            r, z = torch.sigmoid(ar + pr), torch.sigmoid(az + pz)
            n = torch.tanh(an + r * (pn + params["bn"]))
            new_h = (1 - z) * n + z * h
        else:
            i, f, g, o = (gates + product).chunk(4, -1)
            new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            new_h = torch.sigmoid(o) * torch.tanh(new_c)
        counts = torch.ones_like(x[t, ..., :1], dtype=torch.bool) if mask is None else mask[t, ..., None] > 0
        h = torch.where(counts, new_h, h)
        c = None if c is None else torch.where(counts, new_c, c)
        out.append(h)
    return torch.stack(out), {"h": h} | ({} if c is None else {"c": c})


def gradients(run, kind, params, x, carry, mask=None):
    """Outputs and carry, and the gradients of a number in which all of them count by another weight."""
    leaves = map_tree(lambda leaf: leaf.clone().requires_grad_(), {**params, "x": x, **of(kind, carry)})
    out, last = run({k: leaves[k] for k in params}, leaves["x"], of(kind, leaves), mask)
    total = sum((value * torch.linspace(-1, 1, value.numel()).reshape(value.shape)).sum() for value in (out, *last.values()))
    return (out, last), dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def same(a, b):
    map_tree(lambda x, y: torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-11), a, b)


@kinds
def test_it_is_torchs_cell(kind):
    """Outputs, last state, gradients of weights, inputs and initial state."""
    params, (x, carry, _) = cell(kind), data()
    theirs = (torch.nn.GRU if kind == "gru" else torch.nn.LSTM)(F, H).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(params["wi"].T)
        theirs.weight_hh_l0.copy_(params["wh"].T)
        theirs.bias_ih_l0.copy_(params["b"][0])
        theirs.bias_hh_l0.zero_()
        if kind == "gru":
            theirs.bias_hh_l0[2 * H :] = params["bn"][0]
    x.requires_grad_()
    first = {name: value.clone().requires_grad_() for name, value in of(kind, carry).items()}
    begin = first["h"][None] if kind == "gru" else (first["h"][None], first["c"][None])
    expected, last = theirs(x, begin)
    (expected * expected.detach().cos()).sum().backward()
    own = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    x2, carry2 = x.detach().clone().requires_grad_(), {name: value.detach().clone().requires_grad_() for name, value in first.items()}
    out, end = unroll(own, x2, carry2)
    (out * out.detach().cos()).sum().backward()
    same((out, end["h"]), (expected, (last if kind == "gru" else last[0])[0]))
    if kind == "lstm":
        same(end["c"], last[1][0])
    same(
        (own["wi"].grad.T, own["wh"].grad.T, own["b"].grad[0]), (theirs.weight_ih_l0.grad, theirs.weight_hh_l0.grad, theirs.bias_ih_l0.grad)
    )
    if kind == "gru":
        same(own["bn"].grad[0], theirs.bias_hh_l0.grad[2 * H :])
    same((x2.grad, {k: v.grad for k, v in carry2.items()}), (x.grad, {k: v.grad for k, v in first.items()}))


@kinds
@pytest.mark.parametrize("masked", ["none", "nothing", "some"])
def test_the_gradient_written_by_hand_is_autograds(kind, masked):
    params, (x, carry, mask) = cell(kind), data()
    given = {"none": None, "nothing": torch.ones_like(mask), "some": mask}[masked]
    sides = [gradients(run, kind, params, x, carry, given) for run in (unroll, plain)]
    same(*sides)


@kinds
def test_networks_may_be_stacked(kind):
    params, (x, carry, mask) = stack_trees([cell(kind, seed) for seed in range(3)]), data(lead=(3,))
    (out, last), grads = gradients(unroll, kind, params, x, carry, mask)
    for s in range(3):
        one, end = plain(index_tree(params, s), x[:, s], of(kind, index_tree(carry, s)), mask[:, s])
        same((out[:, s], index_tree(last, s)), (one, end))
    same(grads, gradients(plain, kind, params, x, carry, mask)[1])


@kinds
def test_a_masked_step_does_not_count(kind):
    """Whatever lies in it; the state is the very same before and after."""
    params, (x, carry, mask) = cell(kind), data()
    (out, last), grads = gradients(unroll, kind, params, x, carry, mask)
    dirty = torch.where(mask[..., None] > 0, x, torch.nan)
    assert dirty.isnan().any()
    (again, end), grads_again = gradients(unroll, kind, params, dirty, carry, mask)
    map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), (out, last, grads), (again, end, grads_again))
    before = torch.cat([carry["h"][None], out[:-1]])
    assert torch.equal(out[mask == 0], before[mask == 0])
    for b in range(B):
        alone, _ = unroll(params, x[mask[:, b] > 0, b : b + 1], {k: v[b : b + 1] for k, v in of(kind, carry).items()})
        same(alone[:, 0], out[mask[:, b] > 0, b])


@kinds
def test_a_sequence_in_two_parts_is_the_whole(kind):
    params, (x, _, _) = cell(kind), data()
    whole, end = unroll(params, x)
    front, carry = unroll(params, x[:3], zero_carry(params, B))
    back, last = unroll(params, x[3:], carry)
    same((whole, end), (torch.cat([front, back]), last))


@kinds
def test_the_actors_step_is_the_learners(kind):
    params, (x, carry, _) = map_tree(torch.Tensor.float, cell(kind)), map_tree(torch.Tensor.float, data())
    out, last = unroll(params, x, of(kind, carry))
    arrays, now = map_tree(torch.Tensor.numpy, params), map_tree(torch.Tensor.numpy, of(kind, carry))
    for t in range(T):
        now = numpy_step(arrays, x[t].numpy(), now)
        assert all(value.dtype == np.float32 for value in now.values())
        np.testing.assert_allclose(now["h"], out[t].numpy(), atol=1e-6)
    assert now.keys() == last.keys()
    assert arrays["wi"].shape == (F, GATES[kind] * H)

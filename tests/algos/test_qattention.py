"""The network: its published size, what ``plain`` is by hand, and that ``fast`` is the same function with the same gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from algos.lib.qattention import SLOPE, Sizes, Values, arm_heads, init_qattention, layers, peaks, plain
from algos.lib.qattention_fast import fast
from core.errors import ConfigError

SMALL = {
    "sixteen": Sizes(5, (3, 2), latent=3, channels=8, inner=4, dense=16),
    "eight": Sizes(5, (2,), voxels=8, channels=8, inner=4, dense=16),
    "twelve, no heads": Sizes(5, voxels=12, channels=4, inner=4),
    "four, told nothing": Sizes(0, (2,), voxels=4, channels=4, inner=2, dense=3),
}


def inputs(sizes: Sizes, B: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor | None]:
    generator, V = torch.Generator().manual_seed(1), sizes.voxels
    grid = torch.rand(B, V, V, V, sizes.inputs, generator=generator, dtype=dtype)
    grid = grid * (torch.rand(B, V, V, V, 1, generator=generator) < 0.2)  # mostly empty, as scenes are
    latent = torch.randn(B, sizes.latent, generator=generator, dtype=dtype) if sizes.latent else None
    return grid, torch.randn(B, sizes.low_dim, generator=generator, dtype=dtype), latent


def weights(sizes: Sizes, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    params = init_qattention(sizes, torch.Generator().manual_seed(0))
    return {k: (v + 0.1 * k.endswith(".b")).to(dtype).requires_grad_() for k, v in params.items()}


def value(values: Values) -> Tensor:
    """A number in which every output has another part."""
    parts = [x.flatten() for x in values]
    return sum((x * torch.linspace(-1, 2, len(x), dtype=x.dtype)).sum() for x in parts if len(x)) or parts[0].sum()


def test_sizes_are_the_published_ones() -> None:
    counts = [sum(p.numel() for p in init_qattention(Sizes(11, h), torch.Generator()).values()) for h in ((), arm_heads())]
    assert counts == [879_553, 1_186_459]
    assert Sizes(11).features == 2048 and sum(arm_heads()) == 218 and arm_heads(rotation_bins=0, collision=2) == (2, 2)
    with pytest.raises(ConfigError):
        Sizes(11, voxels=10)
    with pytest.raises(ConfigError):
        Sizes(11, channels=30)


def test_a_forward_pass_has_the_published_flops() -> None:
    sizes = Sizes(11)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(init_qattention(sizes, torch.Generator()), *inputs(sizes, 1, torch.float32)[:2], sizes)
    assert counter.get_total_flops() == pytest.approx(3.607e9, rel=1e-3)


def test_weights_begin_as_published() -> None:
    sizes = Sizes(11, arm_heads())
    params = init_qattention(sizes, torch.Generator().manual_seed(0))
    for name, fan_in, out, extent, bends in layers(sizes):
        weight, field = params[f"{name}.w"], extent**3
        rule = torch.nn.init.kaiming_uniform_ if bends else torch.nn.init.xavier_uniform_
        like = rule(torch.empty(out, fan_in, field), **({"a": SLOPE} if bends else {}))
        assert abs(weight).max() <= like.abs().max() * 1.1 and weight.numel() == like.numel()
        if weight.numel() > 2000:
            assert weight.std() == pytest.approx(float(like.std()), rel=0.06)
        assert not params[f"{name}.b"].any()


def test_a_convolution_sees_its_border_go_on() -> None:
    """The last layer by hand, on features that ``plain`` gets from all the others."""
    sizes = SMALL["eight"]
    params, (grid, low_dim, _) = weights(sizes), inputs(sizes, 1)
    q = plain(params, grid, low_dim, sizes).voxels.detach()
    params["q.w"] = torch.zeros_like(params["q.w"])
    features = []
    for channel in range(sizes.channels):  # the q layer as a window onto one channel
        params["q.w"][0, channel, 1, 1, 1] = 1.0
        features.append(plain(params, grid, low_dim, sizes).voxels.detach() - params["q.b"].detach())
        params["q.w"][0, channel, 1, 1, 1] = 0.0
    x, weight = torch.stack(features, 1).unflatten(-1, (8, 8, 8))[0], weights(sizes)["q.w"][0].detach()
    for i, j, k in ((0, 0, 0), (7, 3, 0), (4, 4, 4)):
        near = [[min(max(c + d, 0), 7) for d in (-1, 0, 1)] for c in (i, j, k)]
        window = x[:, near[0]][:, :, near[1]][:, :, :, near[2]]
        torch.testing.assert_close(q[0, (i * 8 + j) * 8 + k], (window * weight).sum() + params["q.b"][0].detach())


def test_peaks_are_where_channels_peak() -> None:
    x = torch.zeros(1, 2, 4**3, dtype=torch.float64)
    x[0, 0, (3 * 4 + 0) * 4 + 1], x[0, 1, 0] = 5.0, 1.0
    found = peaks(x)[0]
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0, -1 / 3, -1.0, -1.0, -1.0, 5.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("name", SMALL)
def test_fast_is_plain_in_float64(name: str) -> None:
    sizes = SMALL[name]
    params, given = weights(sizes), inputs(sizes)
    results = [(f(params, *given[:2], sizes, given[2])) for f in (plain, fast)]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, atol=1e-10, rtol=0)
    leaves = list(params.values())
    wanted, got = (torch.autograd.grad(value(values), leaves) for values in results)
    for one, a, b in zip(params, wanted, got, strict=True):
        assert float((a - b).norm()) <= 1e-10 * float(a.norm()), one


def test_fast_is_plain_at_the_published_size_in_float32_and_near_in_bfloat16() -> None:
    sizes = Sizes(11, arm_heads())
    params, given = weights(sizes, torch.float32), inputs(sizes, 1, torch.float32)
    with torch.no_grad():
        wanted, got, short = (
            plain(params, *given[:2], sizes),
            fast(params, *given[:2], sizes),
            fast(params, *given[:2], sizes, body=torch.bfloat16),
        )
    torch.testing.assert_close(got.voxels, wanted.voxels, atol=2e-5, rtol=0)
    torch.testing.assert_close(got.heads, wanted.heads, atol=1e-3, rtol=0)
    assert short.voxels.dtype == torch.float32
    assert float((short.voxels - wanted.voxels).abs().max()) < 0.3 * float(wanted.voxels.std())


def test_gradients_are_those_of_differences() -> None:
    sizes = Sizes(2, (2, 3), latent=2, voxels=4, channels=4, inner=2, dense=3)
    params, (grid, low_dim, latent) = weights(sizes), inputs(sizes, 1)
    names = list(params)

    def whole(grid: Tensor, latent: Tensor, *leaves: Tensor) -> Tensor:
        return value(fast(dict(zip(names, leaves, strict=True)), grid, low_dim, sizes, latent))

    given = (grid.requires_grad_(), latent.requires_grad_(), *params.values())
    assert torch.autograd.gradcheck(whole, given, fast_mode=True)
    got = torch.func.grad(lambda leaves: whole(grid, latent, *leaves.values()))(params)
    for name, wanted in zip(names, torch.autograd.grad(whole(*given), list(params.values())), strict=True):
        torch.testing.assert_close(got[name], wanted)


@pytest.mark.gpu
def test_fast_is_plain_on_a_gpu() -> None:
    sizes = SMALL["sixteen"]
    params = {k: p.detach().cuda().requires_grad_() for k, p in weights(sizes).items()}
    grid, low_dim, latent = (x.cuda() for x in inputs(sizes) if x is not None)
    results = [f(params, grid, low_dim, sizes, latent) for f in (plain, fast)]
    sums = [sum(F.softplus(x).sum() for x in values) for values in results]
    torch.testing.assert_close(*sums, atol=1e-9, rtol=1e-10)
    for a, b in zip(*(torch.autograd.grad(total, list(params.values())) for total in sums), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)

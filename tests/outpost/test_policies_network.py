"""The networks in numpy are those in torch: in float64 to the last digits, in float32 up to rounding."""

import numpy as np
import pytest
import torch

from algos.lib import grids, image_context
from algos.lib.image_context import Config
from algos.lib.posterior import product_of_gaussians
from algos.lib.qattention import Sizes, arm_heads, init_qattention, plain
from algos.lib.voxels import voxelise
from outpost.policies import image_context as there
from outpost.policies.qattention import Network
from outpost.policies.voxels import dense

DTYPES = {"float64": (torch.float64, 1e-11), "float32": (torch.float32, 2e-4)}


def drawn(params, seed: int, dtype):
    """With biases, which a fresh network has not."""
    g = torch.Generator().manual_seed(seed)
    return {name: (p if name.endswith(".w") else p + 0.1 * torch.randn(p.shape, generator=g)).to(dtype) for name, p in params.items()}


def arrays(params):
    return {name: p.numpy() for name, p in params.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(9, channels=8, voxels=4),
        Sizes(9, arm_heads(rotation_bins=5), channels=8, voxels=8, inner=4),
        Sizes(5, arm_heads(rotation_bins=0, collision=2), latent=3, channels=4, voxels=12, inner=2),
        Sizes(0, arm_heads(), latent=2, channels=4, voxels=8, inner=6),
        Sizes(0, channels=4, voxels=8, inner=2),
        Sizes(9, arm_heads(), channels=16, voxels=16, inner=8),
    ],
    ids=str,
)
def test_the_network_values_what_the_plain_one_values(sizes, dtype):
    kind, close = DTYPES[dtype]
    g = torch.Generator().manual_seed(1)
    params = drawn(init_qattention(sizes, g), 2, kind)
    V, B = sizes.voxels, 3
    grid, low, latent = (torch.randn(B, *shape, generator=g, dtype=kind) for shape in ((V, V, V, 10), (sizes.low_dim,), (sizes.latent,)))
    wanted = plain(params, grid, low, sizes, latent if sizes.latent else None)
    found = Network(arrays(params))(grid.numpy(), low.numpy(), latent.numpy())
    for part, want in zip(found, wanted, strict=True):
        assert part.dtype == dtype and part.shape == want.shape
        np.testing.assert_allclose(part, want.numpy(), rtol=0, atol=close)
    assert all(want.std() > 0.01 for want in wanted if want.numel()), "not all alike"
    alone = Network(arrays(params))(grid.numpy()[1:2], low.numpy()[1:2], latent.numpy()[1:2])
    np.testing.assert_allclose(alone[0], found[0][1:2], rtol=0, atol=close, err_msg="what else is in a batch does not matter")


def test_a_grid_is_spread_out_to_the_same_bits():
    rng = np.random.default_rng(0)
    points, colours = rng.uniform(-1.1, 1.1, (400, 3)).astype(np.float32), rng.integers(256, size=(400, 3)).astype(np.uint8)
    for V in (4, 8, 12, 16):
        sparse = voxelise(points, colours, np.array([-1, -1, -1, 1, 1, 1.0]), V)
        assert dense(sparse, V).tobytes() == grids.together([sparse], V).numpy().tobytes()
    empty = voxelise(points[:0], colours[:0], np.array([-1, -1, -1, 1, 1, 1.0]), 8)
    assert dense(empty, 8).tobytes() == grids.together([empty], 8).numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["linear", "leaky"])
@pytest.mark.parametrize("pixels", [(5, 6), (8, 8), (9, 3)])
def test_the_encoder_says_what_the_one_in_torch_says(pixels, output, dtype):
    kind, close = DTYPES[dtype]
    g, config = torch.Generator().manual_seed(3), Config(latent=4, output=output, reward_scale=3.0)
    params = drawn(image_context.init_encoder(pixels, 2, 4, g), 4, kind)
    rgb = torch.randint(256, (3, *pixels, 3), generator=g, dtype=torch.uint8)
    action, reward = torch.randn(3, 2, generator=g, dtype=kind), torch.rand(3, generator=g, dtype=kind)
    wanted = image_context.encode(params, rgb, action, reward, config)
    told = there.Config(4, config.context, config.recent, output, 3.0)
    for part, want in zip(there.encode(arrays(params), rgb.numpy(), action.numpy(), reward.numpy(), told), wanted, strict=True):
        assert part.dtype == dtype
        np.testing.assert_allclose(part, want.numpy(), rtol=close, atol=close)


def test_a_product_of_gaussians_is_the_one_that_is_learned_from():
    g = torch.Generator().manual_seed(0)
    mean, variance = torch.randn(3, 5, 2, generator=g).double(), torch.rand(3, 5, 2, generator=g).double() + 0.1
    for part, want in zip(there.product_of_gaussians(mean.numpy(), variance.numpy()), product_of_gaussians(mean, variance), strict=True):
        np.testing.assert_allclose(part, want.numpy(), rtol=1e-12)

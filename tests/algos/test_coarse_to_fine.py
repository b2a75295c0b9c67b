"""The pieces of the loss by hand, and that a batch in parts has the gradient of the whole."""

import math

import pytest
import torch
from torch import Tensor

from algos.lib import coarse_to_fine as ctf
from algos.lib.adam import init_adam
from algos.lib.qattention import Params, Sizes, Values, init_qattention, plain
from algos.lib.qattention_fast import fast

HEADS = (3, 2)


def values(voxels: list[list[float]], heads: list[list[float]]) -> Values:
    return Values(torch.tensor(voxels), torch.tensor(heads))


ONLINE = values([[0.1, 0.9, 0.3], [0.8, 0.2, 0.1]], [[0.1, 0.2, 0.9, 0.4, 0.3], [0.5, 0.2, 0.1, 0.1, 0.7]])
TARGET = values([[0.3, 0.5, 0.9], [0.4, 0.2, 0.1]], [[0.9, 0.0, 0.2, 0.6, 0.9], [0.3, 0.9, 0.9, 0.9, 0.5]])


def test_the_online_network_chooses_and_the_target_values() -> None:
    voxel, choice = ctf.greedy(ONLINE, HEADS)
    assert voxel.tolist() == [1, 0] and choice.tolist() == [[2, 0], [0, 1]]
    torch.testing.assert_close(ctf.chosen(TARGET, voxel, choice, HEADS), torch.tensor([[0.5, 0.2, 0.6], [0.4, 0.3, 0.5]]))
    torch.testing.assert_close(ctf.next_value(ONLINE, TARGET, HEADS), torch.tensor([1.3 / 3, 0.4]))
    bare = [Values(v.voxels, v.heads[:, :0]) for v in (ONLINE, TARGET)]
    torch.testing.assert_close(ctf.next_value(*bare, ()), torch.tensor([0.5, 0.4]))


def test_targets_are_values_of_a_reward_that_comes_once() -> None:
    reward, discount, value = torch.tensor([0.0, 0.0, 1.0, 0.5]), torch.tensor([0.99, 0.99, 0.0, 0.99]), torch.tensor([0.5, -3.0, 9.0, 2.0])
    torch.testing.assert_close(ctf.td_target(reward, discount, value), torch.tensor([0.495, 0.0, 1.0, 1.0]))
    torch.testing.assert_close(ctf.td_target(reward, discount, value, parity=True), torch.tensor([0.495, 0.0, 1.0, 2.48]))


def test_errors_and_their_cost_are_means_over_what_is_chosen() -> None:
    y = torch.tensor([0.0, 3.0])
    error = ctf.td_error(ONLINE, torch.tensor([1, 0]), torch.tensor([[2, 0], [0, 1]]), y, HEADS)
    first = (0.9**2 + 0.9**2 + 0.4**2) / 2 / 3
    torch.testing.assert_close(error, torch.tensor([first, (2.2 + 2.5 + 2.3) / 3 - 0.5]))
    cost = ctf.regulariser(Values(-ONLINE.voxels, ONLINE.heads), ctf.Regular(voxels=2.0, heads=0.5))
    torch.testing.assert_close(cost, torch.tensor([2 * 1.3 / 3 + 0.5 * 1.9 / 5, 2 * 1.1 / 3 + 0.5 * 1.6 / 5]))


def test_weights_and_priorities_are_relative_to_the_largest() -> None:
    torch.testing.assert_close(ctf.priority(torch.tensor([0.04, 0.16])), torch.tensor([0.5, 1.0]))
    depths = [torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.25])]
    torch.testing.assert_close(ctf.row_priority(depths), torch.tensor([1.5, 1.25]))
    torch.testing.assert_close(ctf.row_priority(depths, parity=True), torch.tensor([2.0, 2.25]))


SIZES = Sizes(3, HEADS, latent=2, voxels=4, channels=4, inner=4, dense=8)


def batch(B: int = 7) -> ctf.Rows:
    g = torch.Generator().manual_seed(3)

    def numbers(*shape: int) -> Tensor:
        return torch.rand(shape, generator=g, dtype=torch.float64)

    voxel, choice = torch.randint(64, (B,), generator=g), torch.stack([torch.randint(n, (B,), generator=g) for n in HEADS], -1)
    discount = torch.tensor([0.99, 0.0, 0.99, 0.0, 0.0, 0.99, 0.99], dtype=torch.float64)
    grids = [numbers(B, 4, 4, 4, 10) for _ in range(2)]
    weight = numbers(B)
    return ctf.Rows(grids[0], numbers(B, 3), voxel, choice, numbers(B).round(), discount, grids[1], numbers(B, 3), weight, numbers(B, 2))


def network(params, grid: Tensor, low_dim: Tensor, latent: Tensor) -> Values:
    return fast(params, grid, low_dim, SIZES, latent)


def networks() -> tuple[Params, Params]:
    made = [init_qattention(SIZES, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    first, second = ({name: p.double() for name, p in params.items()} for params in made)
    return first, second


def test_a_batch_in_parts_has_the_gradient_of_the_whole_loss() -> None:
    (params, target), rows = networks(), batch()
    with torch.no_grad():
        online, valued = (plain(p, rows.next_grid, rows.next_low_dim, SIZES, rows.latent) for p in (params, target))
        y = (rows.reward + rows.discount * ctf.next_value(online, valued, HEADS)).clamp(0, 1)
    leaves, latent = {k: p.clone().requires_grad_() for k, p in params.items()}, rows.latent.clone().requires_grad_()
    q = plain(leaves, rows.grid, rows.low_dim, SIZES, latent)
    error = ctf.td_error(q, rows.voxel, rows.choice, y, HEADS)
    loss = ((error + q.voxels.abs().mean(1) + q.heads.abs().mean(1)) * rows.weight).mean()
    wanted = torch.autograd.grad(loss, [*leaves.values(), latent])
    for at_once in (2, 3, 16):
        got = ctf.gradients(params, target, rows, network, HEADS, at_once=at_once)
        for a, b in zip([*got.params.values(), got.latent], wanted, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(got.error, error.detach())
        torch.testing.assert_close(got.metrics["loss"], loss.detach())
        torch.testing.assert_close(got.metrics["target"], y.mean())


def test_rows_without_a_next_state_are_not_looked_at() -> None:
    (params, target), rows = networks(), batch()
    seen: list[int] = []

    def counting(params, grid: Tensor, low_dim: Tensor, latent: Tensor) -> Values:
        seen.append(len(grid))
        return network(params, grid, low_dim, latent)

    rows.next_grid[rows.discount == 0] = math.nan
    value = ctf.next_values(params, target, rows, counting, HEADS, 3)
    assert seen == [3, 3, 1, 1] and not value[rows.discount == 0].any() and value.isfinite().all()
    assert not ctf.next_values(params, target, rows._replace(discount=rows.discount * 0), counting, HEADS, 3).any() and len(seen) == 4


@pytest.mark.parametrize("clip", [0.01, 0.0])
def test_a_step_is_torchs_adam_behind_clipped_gradients(clip: float) -> None:
    (params, target), how = networks(), ctf.Descent(clip=clip, weight_decay=1e-2)
    theirs = {k: p.clone().requires_grad_() for k, p in params.items()}
    adam = torch.optim.Adam(theirs.values(), lr=how.lr, weight_decay=how.weight_decay)
    ours, moved, moments = params, target, init_adam(params)
    for step in range(1, 4):
        grads = {k: torch.sin(step * torch.arange(p.numel(), dtype=p.dtype)).reshape(p.shape) * 0.03 for k, p in params.items()}
        ours, moved, moments = ctf.descend(ours, moved, moments, torch.tensor(float(step), dtype=torch.float64), grads, how)
        for name, p in theirs.items():
            p.grad = grads[name].clone()
        if clip:
            torch.nn.utils.clip_grad_value_(theirs.values(), clip)
        adam.step()
    for name, p in theirs.items():
        torch.testing.assert_close(ours[name], p.detach(), atol=1e-9, rtol=1e-7)
    name = "q.w"
    assert (moved[name] != target[name]).all() and (moved[name] - target[name]).norm() < 0.01 * (ours[name] - target[name]).norm()

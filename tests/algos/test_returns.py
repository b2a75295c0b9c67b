"""Exact answers of returns, advantages, normalisation and the linear baseline."""

import numpy as np
import pytest
import torch

from algos.lib import returns
from algos.lib.returns import discounted, features, gae, linear_baseline, normalized

GAMMA, LAMBDA = 0.97, 0.9


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def episodes(lengths: list[int], T: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    reward, value = (torch.randn(len(lengths), T, generator=g, dtype=torch.float64) for _ in range(2))
    valid = (torch.arange(T) < torch.tensor(lengths)[:, None]).double()
    return reward * valid, value, valid


def test_discounted_returns_are_the_sum():
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    for t in range(7):
        expected = sum(GAMMA ** (u - t) * x[..., u] for u in range(t, 7))
        torch.testing.assert_close(discounted(x, GAMMA)[..., t], expected, rtol=0, atol=1e-14)


def test_advantages_against_brute_force_with_episodes_that_end_early():
    """Equation 16 of Schulman et al. 2016 written out: a sum of temporal differences up to the episode's own end."""
    lengths, T = [9, 1, 5], 9
    reward, value, valid = episodes(lengths, T)
    ours = gae(reward, value, valid, GAMMA, LAMBDA)
    for e, length in enumerate(lengths):
        values = [*value[e, :length].tolist(), 0.0]
        deltas = [reward[e, t].item() + GAMMA * values[t + 1] - values[t] for t in range(length)]
        for t in range(T):
            expected = sum((GAMMA * LAMBDA) ** (u - t) * deltas[u] for u in range(t, length))
            assert ours[e, t].item() == pytest.approx(expected, abs=2e-15)


def test_lambda_one_is_the_return_less_the_baseline():
    reward, value, valid = episodes([4, 6], 6)
    expected = (discounted(reward, GAMMA) - value) * valid
    torch.testing.assert_close(gae(reward, value, valid, GAMMA, 1.0), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("filling", [float("nan"), float("inf"), 1e30])
def test_what_lies_behind_the_end_has_no_influence(filling):
    reward, value, valid = episodes([3, 5], 5)
    inputs = features(torch.randn(2, 5, 2))[:, :, :3].double()
    clean = gae(reward, value, valid, GAMMA, LAMBDA), linear_baseline(inputs, reward, valid), normalized(reward, valid, (1,))
    reward, value = (torch.where(valid > 0, x, filling) for x in (reward, value))
    inputs = torch.where(valid[..., None] > 0, inputs, filling)
    dirty = gae(reward, value, valid, GAMMA, LAMBDA), linear_baseline(inputs, reward, valid), normalized(reward, valid, (1,))
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)
        assert not a[valid == 0].any()


def test_normalised_by_task():
    x = torch.randn(2, 50, dtype=torch.float64) * torch.tensor([[1.0], [1000.0]]) + 7
    valid = (torch.rand(2, 50) < 0.7).double()
    ours = normalized(x, valid, (1,))
    for task in range(2):
        of_task = ours[task][valid[task] > 0]
        assert of_task.mean().item() == pytest.approx(0, abs=1e-10)
        assert of_task.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_what_never_varies_is_nothing_however_large():
    """In float32 the mean of many equal numbers is not that number: divided by the spread of such errors, they would be of size 1."""
    assert normalized(torch.full((1, 5000), 1000.1), torch.ones(1, 5000), (1,)).abs().max() < 1e-3


def test_time_begins_anew_with_each_episode():
    f = features(torch.full((2, 3, 4, 2), 20.0))
    assert f.shape == (2, 3, 4, 8)
    assert torch.equal(f[..., :4], torch.tensor([10.0, 10.0, 100.0, 100.0]).expand(2, 3, 4, 4))  # no farther than LARGEST_OBS
    u = torch.arange(4) / 100
    torch.testing.assert_close(f[1, 2, :, 4:], torch.stack([u, u**2, u**3, torch.ones(4)], 1))


def test_baseline_is_least_squares_of_each_group():
    g = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 200, 5, generator=g, dtype=torch.float64)
    target = torch.randn(3, 200, generator=g, dtype=torch.float64)
    valid = (torch.rand(3, 200, generator=g) < 0.8).double()
    ours = linear_baseline(inputs, target, valid)
    for group in range(3):
        rows = valid[group].numpy() > 0
        x, y = inputs[group].numpy()[rows], target[group].numpy()[rows]
        expected = x @ np.linalg.lstsq(x, y, rcond=None)[0]
        np.testing.assert_allclose(ours[group].numpy()[rows], expected, atol=1e-6)


def test_baseline_of_features_that_depend_on_each_other():
    """Constant observations repeat the constant: there is no single solution, but one prediction."""
    obs, t = torch.ones(1, 4, 30, 3), torch.arange(30) / 30
    target = (1 + 2 * t).expand(1, 4, 30)
    ours = linear_baseline(features(obs).flatten(1, 2), target.flatten(1), torch.ones(1, 120))
    torch.testing.assert_close(ours.view(4, 30), target[0], atol=1e-3, rtol=0)


def test_a_ridge_grows_for_the_group_that_needs_it_only(monkeypatch):
    solve, ridges = torch.linalg.solve_ex, []
    inputs, target, valid = torch.randn(2, 20, 3), torch.randn(2, 20), torch.ones(2, 20)
    gram = inputs.double().mT @ inputs.double()

    def fails_twice(matrix, moment):
        ridges.append((matrix - gram).diagonal(dim1=1, dim2=2)[:, 0])
        solution, code = solve(matrix, moment)
        solution[0] = torch.nan if len(ridges) < 3 else solution[0]
        return solution, code

    expected = linear_baseline(inputs, target, valid)
    monkeypatch.setattr(returns.torch.linalg, "solve_ex", fails_twice)
    ours = linear_baseline(inputs, target, valid)
    torch.testing.assert_close(
        torch.stack(ridges), torch.tensor([[1e-5, 1e-5], [1e-4, 1e-5], [1e-3, 1e-5]]).double(), rtol=1e-3, atol=1e-12
    )
    assert torch.equal(ours[1], expected[1])
    torch.testing.assert_close(ours[0], expected[0], rtol=0, atol=1e-2)


def test_a_group_without_solution_predicts_nothing(monkeypatch):
    monkeypatch.setattr(returns, "RIDGE", 0.0)
    inputs = torch.randn(2, 20, 3)
    inputs[0] = 0
    target = torch.randn(2, 20)
    ours = linear_baseline(inputs, target, torch.ones(2, 20))
    assert not ours[0].any()
    expected = inputs[1].numpy() @ np.linalg.lstsq(inputs[1].numpy(), target[1].numpy(), rcond=None)[0]
    np.testing.assert_allclose(ours[1].numpy(), expected, atol=1e-5)

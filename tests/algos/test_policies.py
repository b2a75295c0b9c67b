"""Heads of on-policy networks against torch.distributions, and their draws on arrays against both."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, OneHotCategorical, kl_divergence

from algos.lib.policies import Choice, Distribution, Gaussian, gumbel, head
from core.types import Field, TaskSpec

ACT = 3


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def gaussian(std: tuple[float, ...] = (0.3, 1.0, 2.5)) -> tuple[Distribution, Independent]:
    policy, out = Gaussian(ACT), torch.randn(2, 5, ACT, dtype=torch.float64)
    at = policy.read({"log_std": torch.tensor([std], dtype=torch.float64).log()}, out)
    return at, Independent(Normal(out, torch.tensor(std, dtype=torch.float64).expand_as(out)), 1)


def choice() -> tuple[Distribution, OneHotCategorical]:
    out = torch.randn(2, 5, ACT, dtype=torch.float64)
    return Choice(ACT).read({}, out), OneHotCategorical(logits=out)


@pytest.mark.parametrize(("policy", "made"), [(Gaussian(ACT), gaussian), (Choice(ACT), choice)])
def test_a_head_is_the_distribution(policy, made):
    (old, old_reference), (new, new_reference) = made(), made()
    action = old_reference.sample()
    torch.testing.assert_close(policy.log_prob(old, action), old_reference.log_prob(action))
    torch.testing.assert_close(policy.entropy(old), old_reference.entropy())
    torch.testing.assert_close(policy.kl(old, new), kl_divergence(old_reference, new_reference))
    torch.testing.assert_close(policy.kl(old, old), torch.zeros(2, 5, dtype=torch.float64))


def test_divergence_of_standard_deviations():
    (old, a), (new, b) = gaussian((0.5, 1.0, 2.0)), gaussian((1.0, 3.0, 0.7))
    torch.testing.assert_close(Gaussian(ACT).kl(old, new), kl_divergence(a, b))


def test_a_gaussian_draws_as_it_scores():
    policy, out = Gaussian(ACT, 0.5), np.random.default_rng(0).standard_normal((4, ACT), dtype=np.float32)
    noise = np.random.default_rng(1).standard_normal((4, ACT), dtype=np.float32)
    params = {"log_std": policy.init()["log_std"].numpy()}
    np.testing.assert_allclose(policy.draw(params, out, noise), out + 0.5 * noise, rtol=1e-6)
    assert np.array_equal(policy.draw(params, out, None), out)
    each = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))[:, None, None].repeat(ACT, 2)  # one of each simulator
    np.testing.assert_allclose(policy.draw({"log_std": each}, out, noise), out + np.exp(each[:, 0]) * noise, rtol=1e-6)


def test_bounds_hold_when_scored_and_when_drawn():
    policy = Gaussian(1, 1.0, 0.5, 2.0)
    for raw, std in ((0.1, 0.5), (9.0, 2.0)):
        log_std = torch.full((1, 1), math.log(raw))
        at = policy.read({"log_std": log_std}, torch.zeros(1, 1))
        assert at.log_std.exp().item() == pytest.approx(std)
        drawn = policy.draw({"log_std": log_std.numpy()}, np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
        assert drawn.item() == pytest.approx(std)


def test_at_a_bound_there_is_a_gradient_beyond_it_none():
    policy = Gaussian(1, 1.0, 0.5, 2.0)

    def slope(params: dict[str, torch.Tensor]) -> float:
        return torch.func.grad(lambda p: policy.entropy(policy.read(p, torch.zeros(1, 1))).sum())(params)["log_std"].item()

    for raw in (0.1, 9.0):
        beyond = {"log_std": torch.full((1, 1), math.log(raw))}
        assert slope(beyond) == 0
        assert slope(policy.bounded(beyond)) == 1


def test_a_choice_is_drawn_as_often_as_its_probability():
    policy, n = Choice(ACT), 20_000
    out = np.log(np.array([[0.6, 0.3, 0.1]], np.float32)).repeat(n, 0)
    drawn = policy.draw({}, out, np.random.default_rng(0).standard_normal((n, ACT), dtype=np.float32))
    assert np.array_equal(drawn.sum(1), np.ones(n))
    np.testing.assert_allclose(drawn.mean(0), [0.6, 0.3, 0.1], atol=0.015)
    assert np.array_equal(policy.draw({}, out[:1], None), [[1, 0, 0]])


def test_gumbel_numbers():
    """Mean 0.5772 (Euler), variance pi^2 / 6; finite however far out the normal number is."""
    numbers = gumbel(np.random.default_rng(0).standard_normal((50_000, 1), dtype=np.float32))
    assert numbers.mean() == pytest.approx(0.5772, abs=0.02)
    assert numbers.var() == pytest.approx(math.pi**2 / 6, abs=0.06)
    assert np.isfinite(gumbel(np.array([[-40.0, 40.0]], np.float32))).all()


def test_the_head_suits_the_actions():
    spec = (Field("obs", (2,)),)
    assert isinstance(head(TaskSpec("t", spec, ACT, 5)), Gaussian)
    assert isinstance(head(TaskSpec("t", spec, ACT, 5, discrete=True)), Choice)

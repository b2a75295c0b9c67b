"""Trust region steps against closed forms: quadratics, and the Fisher matrix of a linear Gaussian policy."""

import pytest
import torch

from algos.lib.mlp import init_mlp, mlp
from algos.lib.policies import Choice, Distribution, Gaussian
from algos.lib.trust_region import (
    Output,
    Region,
    conjugate_gradient,
    curvature,
    flat,
    full_step,
    gauss_newton,
    line_search,
    shaped,
    trust_region_step,
)

REGION = Region(delta=0.01, cg_iterations=10, damping=0.0, backtrack=0.8, backtracks=15)
OBS, ACT, STEPS = 4, 2, 300


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(n):
    root = drawn(n, n)
    return root @ root.T / n + 0.1 * torch.eye(n, dtype=torch.float64)


def linear_gaussian():
    """A policy, x (B, O), and parameters -> (surrogate, KL) with made-up advantages."""
    head = Gaussian(ACT, 0.7)
    network = init_mlp((OBS, ACT), torch.Generator().manual_seed(1))
    policy = {k: v.double() for k, v in (network | head.init()).items()}
    x, advantage = drawn(STEPS, OBS, seed=2), drawn(STEPS, seed=3)
    old = head.read(policy, mlp(policy, x))
    action = old.out + old.log_std.exp() * drawn(STEPS, ACT, seed=4)
    before = head.log_prob(old, action)

    def both(params):
        now = head.read(params, mlp(params, x))
        return (torch.exp(head.log_prob(now, action) - before) * advantage).mean(), head.kl(old, now).mean()

    return policy, x, both


def test_conjugate_gradient_solves():
    matrix, b = positive(20), drawn(20, seed=1)
    x = conjugate_gradient(lambda v: matrix @ v, b, 40)
    assert (matrix @ x - b).norm() < 1e-6
    assert torch.equal(conjugate_gradient(lambda v: matrix @ v, torch.zeros_like(b), 10), torch.zeros_like(b))


def test_vectors_and_dicts_are_the_same_numbers():
    policy, _, _ = linear_gaussian()
    vector = flat(policy.values())
    assert all(torch.equal(policy[k], v) for k, v in shaped(vector, policy).items())


def test_kl_and_its_slope_are_zero_at_the_old_parameters():
    policy, _, both = linear_gaussian()
    leaves = {k: v.requires_grad_() for k, v in policy.items()}
    _, kl = both(leaves)
    assert kl.item() == 0
    assert flat(torch.autograd.grad(kl, list(leaves.values()))).abs().max() < 1e-15


def test_the_fisher_matrix_of_a_linear_gaussian_policy():
    """blockdiag(E[x x'] / variance, 2 I), x with a 1 for the bias."""
    policy, x, both = linear_gaussian()
    leaves = {k: v.requires_grad_() for k, v in policy.items()}
    product = curvature(both(leaves)[1], list(leaves.values()))
    with_one = torch.cat([x, torch.ones(STEPS, 1, dtype=x.dtype)], 1)
    second = with_one.T @ with_one / STEPS  # (O + 1, O + 1)
    for seed in range(3):
        v = {k: drawn(*p.shape, seed=10 + seed) for k, p in policy.items()}
        mean_part = second @ torch.cat([v["w0"], v["b0"]]) * torch.exp(-2 * policy["log_std"])
        expected = flat([mean_part[:OBS], mean_part[OBS:], 2 * v["log_std"]])
        torch.testing.assert_close(product(flat(v.values())), expected, rtol=0, atol=1e-13)


def test_conjugate_gradient_on_the_fisher_matrix_has_a_small_residual():
    policy, _, both = linear_gaussian()
    leaves = {k: v.requires_grad_() for k, v in policy.items()}
    gain, kl = both(leaves)
    slope = flat(torch.autograd.grad(gain, list(leaves.values()), retain_graph=True))
    product = curvature(kl, list(leaves.values()))
    assert (product(conjugate_gradient(product, slope, 10)) - slope).norm() < 1e-6


def test_a_full_step_has_the_kl_that_was_asked_for():
    """Up to what the quadratic model leaves out: nothing where only the means move."""
    policy, _, both = linear_gaussian()
    leaves = {k: v.requires_grad_() for k, v in policy.items()}
    gain, kl = both(leaves)
    slope = flat(torch.autograd.grad(gain, list(leaves.values()), retain_graph=True))
    product = curvature(kl, list(leaves.values()))
    for keep, tolerance in ((1.0, 5e-4), (0.0, 1e-12)):
        part = torch.cat([slope[:-ACT], keep * slope[-ACT:]])
        x = conjugate_gradient(product, part, 20)
        step = shaped(full_step(x, product(x), 0.01), policy)
        after = both({k: p.detach() + step[k] for k, p in policy.items()})[1]
        assert abs(after.item() - 0.01) < tolerance


def test_a_step_raises_the_objective_within_the_region():
    policy, _, both = linear_gaussian()
    taken = trust_region_step(both, policy, REGION)
    gain, kl = both(taken.params)
    assert gain > both(policy)[0]
    assert 0.005 < kl <= REGION.delta
    assert taken.share >= 0.8


def test_the_step_is_the_natural_gradient():
    """Of b'x within x'Fx / 2 <= delta: F^-1 b scaled to the border."""
    fisher, b, origin = positive(6), drawn(6, seed=5), {"x": torch.zeros(6, dtype=torch.float64)}
    region = REGION._replace(cg_iterations=20, delta=0.01 * (1 + 1e-9))

    def both(params):
        return b @ params["x"], params["x"] @ fisher @ params["x"] / 2

    natural = torch.linalg.solve(fisher, b)
    taken = trust_region_step(both, origin, region)
    if taken.share < 1:  # rounding may put the full step just outside
        assert taken.share == 0.8
    torch.testing.assert_close(taken.params["x"], taken.share * natural * (0.02 / (b @ natural)).sqrt(), rtol=1e-6, atol=0)


def test_the_search_takes_the_longest_step_that_improves():
    def both(params):
        x = params["x"].sum()
        return x * (0.6 - x), torch.zeros(())

    taken = line_search(both, {"x": torch.zeros(1)}, torch.ones(1), torch.zeros(()), REGION)
    assert taken.share == 0.8**3
    torch.testing.assert_close(taken.params["x"], torch.full((1,), 0.8**3))


def test_parameters_are_bitwise_as_before_where_nothing_improves():
    policy = {"x": drawn(3), "y": drawn(2, 2)}
    copies = {k: v.clone() for k, v in policy.items()}
    zero, step = torch.zeros(()), torch.ones(7, dtype=torch.float64)
    worse = {
        "no gain": lambda params: (zero, zero),
        "too far": lambda params: (zero + 1, zero + 1),
        "not a number": lambda params: (zero + 1, zero * torch.nan),
    }
    for both in worse.values():
        taken = line_search(both, policy, step, zero, REGION)
        assert taken.share == 0
        assert all(torch.equal(taken.params[k], copies[k]) for k in copies)
    taken = line_search(lambda params: (zero + 1, zero), policy, step * torch.inf, zero, REGION)
    assert taken.share == 0


def test_a_flat_objective_moves_nothing():
    policy, _, both = linear_gaussian()

    def constant(params):
        gain, kl = both(params)
        return 0 * gain, kl

    taken = trust_region_step(constant, policy, REGION)
    assert taken.share == 0
    assert all(taken.params[k] is policy[k] for k in policy)


@pytest.mark.parametrize("head", [Gaussian(ACT, 0.7), Choice(ACT)])
def test_at_the_old_parameters_the_cheaper_product_is_the_hessian_s(head):
    network = init_mlp((OBS, 5, ACT), torch.Generator().manual_seed(1))
    leaves = {k: v.double().requires_grad_() for k, v in (network | head.init()).items()}
    x = drawn(STEPS, OBS, seed=2)

    def policy(params):
        return head.read(params, mlp(params, x, "tanh"))

    old = Distribution(*(part.detach() for part in policy(leaves)))
    exact = curvature(head.kl(old, policy(leaves)).mean(), list(leaves.values()))
    cheap = gauss_newton(Output(policy, lambda at: head.kl(old, Distribution(*at)).mean()), leaves)
    for seed in range(3):
        v = drawn(sum(leaf.numel() for leaf in leaves.values()), seed=seed)
        torch.testing.assert_close(cheap(v), exact(v), rtol=1e-9, atol=1e-12)

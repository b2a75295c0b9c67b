"""The mathematics of MAML in float64: quadratics in closed form, and a bandit of which all outcomes are enumerated."""

import pytest
import torch

from algos import maml
from algos.lib.adaptation import adapted, to_lanes
from core.types import Field, TaskSpec


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratics(tasks=5, n=4):
    roots = drawn(tasks, n, n, seed=1)
    return roots @ roots.mT / n + 0.5 * torch.eye(n, dtype=torch.float64), drawn(tasks, n, seed=2)


def quadratic_gradient(theta, steps, lr, *, through):
    """Of the mean over tasks of (x - c)'A(x - c) / 2 after ``steps``, each task a lane."""
    A, c = quadratics()

    def losses(params):
        off = params["x"] - c
        return torch.einsum("mi,mij,mj->m", off, A, off) / 2

    leaf = {"x": theta.clone().requires_grad_()}
    after = adapted(to_lanes(leaf, len(A)), [lambda p: losses(p).sum()] * steps, lr, through=through)
    value = losses(after).mean()
    return torch.autograd.grad(value, leaf["x"])[0], value.item()


@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_of_quadratics(steps):
    """mean P A P (x - c) with P = (I - lr A)^steps, and without the derivative of the inner gradient mean A P (x - c)."""
    A, c = quadratics()
    theta, lr = drawn(4, seed=3), 0.1
    P = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - lr * A, steps)
    exact = (P @ A @ P @ (theta - c)[..., None]).mean(0)[:, 0]
    short = (A @ P @ (theta - c)[..., None]).mean(0)[:, 0]
    found, _ = quadratic_gradient(theta, steps, lr, through=True)
    first, _ = quadratic_gradient(theta, steps, lr, through=False)
    torch.testing.assert_close(found, exact, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(first, short, rtol=1e-13, atol=1e-13)
    assert (first - found).norm() > 0.1 * found.norm()
    for i in range(4):
        move = torch.zeros(4, dtype=torch.float64)
        move[i] = 1e-5
        up, down = (quadratic_gradient(theta + sign * move, steps, lr, through=True)[1] for sign in (1, -1))
        assert abs((up - down) / 2e-5 - found[i]) < 1e-9


class Bandit:
    """Two pulls of a softmax over three arms, all nine outcomes enumerated as steps whose weights are their probabilities."""

    def __init__(self):
        spec = TaskSpec("test", (Field("obs", (1,)),), 3, 2, discrete=True)
        self.algorithm = maml.make(maml.Config(hidden=(), inner_lr=0.8), spec, 1, 1)
        self.rewards, self.logits = torch.tensor([1.0, -0.3, 0.4]).double(), torch.tensor([0.2, -0.5, 0.7]).double()
        pulls = torch.cartesian_prod(torch.arange(3), torch.arange(3))  # (9, 2)
        arms = torch.eye(3, dtype=torch.float64)[pulls]
        chances = torch.softmax(self.logits, 0)[pulls].prod(1)
        to_go = self.rewards[pulls].flip(1).cumsum(1).flip(1)
        log_prob = torch.log_softmax(self.logits, 0)[pulls]
        columns = torch.ones(9, 2, 1), arms, to_go, chances[:, None].expand(9, 2), log_prob
        self.data = maml.Episodes(*(x.flatten(0, 1)[None].double() for x in columns))

    def params(self, logits):
        return {"w0": torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True), "b0": logits.reshape(1, 1, 3)}

    def value(self, logits):
        """Expected reward of a pull."""
        return torch.softmax(logits, 0) @ self.rewards

    def surrogate(self, logits):
        """The inner objective: weights sum to the two pulls, and each has its rewards to go."""
        return -self.algorithm.inner_loss(self.params(logits), self.data)

    def log_form(self, logits):
        at = self.algorithm.distribution(self.params(logits), self.data.obs)
        return (self.algorithm.head.log_prob(at, self.data.action) * self.data.advantage * self.data.valid).sum() / 2


def test_the_ratio_has_the_curvature_of_the_expected_return_and_the_log_probability_has_not():
    bandit = Bandit()
    leaf = bandit.logits.clone().requires_grad_()
    (true,) = torch.autograd.grad(bandit.value(leaf), leaf)
    for surrogate in (bandit.surrogate, bandit.log_form):
        torch.testing.assert_close(torch.autograd.grad(surrogate(leaf), leaf)[0], true)
    hessian = torch.autograd.functional.hessian
    true = hessian(bandit.value, bandit.logits)
    torch.testing.assert_close(hessian(bandit.surrogate, bandit.logits), true, rtol=0, atol=1e-15)
    wrong = hessian(bandit.log_form, bandit.logits)
    assert (wrong - true).diagonal().abs().max() > 0.1


def test_the_exact_meta_gradient_of_the_bandit():
    """Through the inner step of the class, against finite differences of the true value after a true gradient step."""
    bandit = Bandit()
    lr = bandit.algorithm.config.inner_lr

    def adapted_value(logits):
        at = logits.clone().requires_grad_()
        (step,) = torch.autograd.grad(bandit.value(at), at)
        return bandit.value(logits + lr * step).item()

    leaf = bandit.logits.clone().requires_grad_()
    after = bandit.algorithm.adaptation(bandit.params(leaf), [bandit.data], through=True)
    (found,) = torch.autograd.grad(bandit.value(after["b0"].flatten()), leaf)
    for i in range(3):
        move = 1e-5 * torch.eye(3, dtype=torch.float64)[i]
        slope = (adapted_value(bandit.logits + move) - adapted_value(bandit.logits - move)) / 2e-5
        assert abs(slope - found[i]) < 1e-9

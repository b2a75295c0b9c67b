"""Exact answers that SAC must give: densities, gradients, targets, and the optimum of a one-step problem."""

import math

import pytest
import torch

from algos.lib.adam import adam, init_adam
from algos.lib.dists import tanh_gaussian
from algos.lib.normalizer import Normalizer, scale_of
from algos.sac import SAC, Config, Data, make
from core.tree import index_tree, map_tree
from core.types import Batch, Field, TaskSpec

OBS, ACT = 3, 2


def sac(tasks: int = 1, **settings) -> SAC:
    config = Config(**{"hidden": (16, 16), "batch_size": 8} | settings)
    return make(config, TaskSpec("test", (Field("obs", (OBS,)),), ACT, 100), tasks)


def batch(algorithm: SAC, seeds: int = 1, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    lead = (seeds, algorithm.tasks, algorithm.config.batch_size)
    obs, next_obs = (torch.randn(*lead, OBS, generator=g) for _ in range(2))
    action = torch.rand(*lead, ACT, generator=g) * 2 - 1
    return Batch(obs, action, torch.randn(*lead, generator=g), next_obs, torch.full(lead, 0.99))


def data_of(x: torch.Tensor, noise: torch.Tensor, alpha: float) -> Data:
    K, B, _ = x.shape
    return Data(x, torch.zeros_like(noise), x.new_zeros(K, B), x.new_full((K, 1), alpha), noise)


def gradient(algorithm: SAC, policy: dict, data: Data) -> dict[str, torch.Tensor]:
    """Of the policy's loss, the critic being replaced."""
    return torch.func.grad(lambda p: algorithm.policy_losses(p, {}, data)[0].mean())(policy)


def run(algorithm: SAC, state, updates: int, seeds: int = 1) -> dict[str, torch.Tensor]:
    generators = [torch.Generator().manual_seed(100 + s) for s in range(seeds)]
    metrics = {}
    for i in range(updates):
        one = batch(algorithm, seed=i)
        metrics = algorithm.update(state, map_tree(lambda x: x.expand(seeds, *x.shape[1:]), one), algorithm.noise(state, generators))
    return metrics


def test_density_of_the_tanh_gaussian_integrates_to_one():
    """Quadrature in pre-tanh space: integral of pi(a) da = integral of pi(tanh u) (1 - tanh(u)^2) du."""
    mean, log_std = torch.tensor(0.7, dtype=torch.float64), torch.tensor(math.log(0.9), dtype=torch.float64)
    u = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    noise = (u - mean) / log_std.exp()
    _, log_prob = tanh_gaussian(mean.expand(len(u), 1), log_std.expand(len(u), 1), noise[:, None])
    integral = torch.trapezoid(log_prob.exp() * (1 - torch.tanh(u) ** 2), u)
    assert integral.item() == pytest.approx(1.0, abs=1e-6)


def test_entropy_is_of_the_squashed_density():
    """mu = 0.7, sigma = 0.9: 0.376 nats, where the Gaussian before tanh has 1.314."""
    u = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    mean, std = 0.7, 0.9
    noise = ((u - mean) / std)[:, None]
    _, log_prob = tanh_gaussian(torch.full_like(noise, mean), torch.full_like(noise, math.log(std)), noise)
    weight = torch.exp(-0.5 * noise[:, 0] ** 2) / (std * math.sqrt(2 * math.pi))
    assert torch.trapezoid(-log_prob * weight, u).item() == pytest.approx(0.376, abs=1e-3)


def test_log_prob_is_stable_far_out():
    """At u = 8 in float32: -log(1 - tanh(u)^2) is 14.614, where the usual log(1 - a^2 + 1e-6) saturates at 13.8."""
    u = torch.tensor([[8.0]])
    _, log_prob = tanh_gaussian(torch.zeros(1, 1), torch.zeros(1, 1), u)
    gaussian = -0.5 * 64 - 0.5 * math.log(2 * math.pi)
    exact = gaussian - math.log(4) + 2 * 8 + 2 * math.log1p(math.exp(-16))
    assert log_prob.item() == pytest.approx(exact, abs=1e-4)
    naive = gaussian - math.log(1 - math.tanh(8) ** 2 + 1e-6)
    assert abs(naive - exact) > 0.1


def test_temperature_of_a_task_follows_that_task_only():
    algorithm = sac(tasks=3)
    log_prob = torch.randn(3, 8)
    log_alpha = {"log_alpha": torch.zeros(3)}
    base = torch.func.grad(algorithm.alpha_loss)(log_alpha, log_prob)["log_alpha"]
    changed = log_prob.clone()
    changed[1] += 5.0
    after = torch.func.grad(algorithm.alpha_loss)(log_alpha, changed)["log_alpha"]
    assert torch.equal(base[[0, 2]], after[[0, 2]])
    assert base[1] != after[1]
    torch.testing.assert_close(base, -(log_prob.mean(1) + algorithm.target_entropy) / 3)


def test_target_bootstraps_through_truncation_and_not_through_termination():
    """With lr 0 nothing moves: the critic's loss shows the target. bootstrap 0 must leave the bare reward."""
    algorithm = sac(policy_lr=1e-12, critic_lr=1e-12, alpha_lr=1e-12)
    state = index_tree(algorithm.init([0]), 0)
    one = index_tree(batch(algorithm), 0)
    noise = index_tree(algorithm.noise(None, [torch.Generator().manual_seed(0)]), 0)
    q = algorithm.q_values(state.params.critic, one.obs, one.action)
    dead = one._replace(bootstrap=torch.zeros_like(one.bootstrap))
    _, metrics = algorithm.update_one(state, dead, noise)
    torch.testing.assert_close(metrics["critic_loss"], (q - one.reward).square().mean((1, 2)).sum())
    next_action, log_prob = algorithm.sample_action(state.params.policy, one.next_obs, noise.target)
    next_q = algorithm.q_values(state.target, one.next_obs, next_action).amin(0)
    y = one.reward + 0.99 * (next_q - log_prob)
    _, metrics = algorithm.update_one(state, one, noise)
    torch.testing.assert_close(metrics["critic_loss"], (q - y).square().mean((1, 2)).sum())


def test_log_prob_and_q_have_one_number_per_row():
    algorithm = sac(tasks=2)
    state = index_tree(algorithm.init([0]), 0)
    x = torch.randn(2, 5, OBS)
    action, log_prob = algorithm.sample_action(state.params.policy, x, torch.randn(2, 5, ACT))
    assert action.shape == (2, 5, ACT)
    assert log_prob.shape == (2, 5)
    assert algorithm.q_values(state.params.critic, x, action).shape == (2, 2, 5)


def test_twin_critics_begin_apart_and_the_target_equal():
    state = sac().init([0])
    for leaf in state.params.critic.values():
        assert not torch.equal(leaf[0, 0], leaf[0, 1])
    for name, leaf in state.target.items():
        assert torch.equal(leaf, state.params.critic[name])
        assert leaf.data_ptr() != state.params.critic[name].data_ptr()


def test_target_moves_by_tau():
    algorithm = sac(tau=0.25)
    state = algorithm.init([0])
    before = {k: v.clone() for k, v in state.target.items()}
    run(algorithm, state, 1)
    for name, leaf in state.target.items():
        torch.testing.assert_close(leaf, before[name] + 0.25 * (state.params.critic[name] - before[name]))


def test_adam_is_torchs_adam():
    torch.manual_seed(0)
    params = {"w": torch.randn(4, 3)}
    own, state = dict(params), init_adam(params)
    reference = torch.nn.Parameter(params["w"].clone())
    optimiser = torch.optim.Adam([reference], lr=0.01)
    for i in range(1, 6):
        gradient = torch.randn(4, 3)
        reference.grad = gradient.clone()
        optimiser.step()
        own, state = adam(own, {"w": gradient}, state, torch.tensor(float(i)), lr=0.01)
    torch.testing.assert_close(own["w"], reference.detach(), rtol=1e-5, atol=1e-7)


def test_optimum_of_a_one_step_quadratic_problem():
    """r = -(a - a*)^2 with an exact Q and no squashing: pi* is exp(Q / alpha), a Gaussian of variance alpha / 2 around a*."""
    alpha, best = 0.3, 0.4
    torch.manual_seed(0)
    params = {"mean": torch.zeros(1), "log_std": torch.zeros(1)}
    state, steps = init_adam(params), 3000
    noise = torch.randn(4096)
    noise = (noise - noise.mean()) / noise.std(correction=0)  # exact first two moments make the answer exact

    def loss(p: dict) -> torch.Tensor:
        action = p["mean"] + p["log_std"].exp() * noise
        log_prob = -0.5 * noise.square() - p["log_std"] - 0.5 * math.log(2 * math.pi)
        return (alpha * log_prob + (action - best) ** 2).mean()

    for i in range(1, steps + 1):
        params, state = adam(params, torch.func.grad(loss)(params), state, torch.tensor(float(i)), lr=0.01)
    assert params["mean"].item() == pytest.approx(best, abs=1e-3)
    assert (2 * params["log_std"]).exp().item() == pytest.approx(alpha / 2, rel=1e-3)


def test_policy_of_the_algorithm_finds_the_optimum_of_a_bandit():
    """The same through SAC's own policy loss, critic fixed: the mode of the squashed policy goes to the best action."""
    algorithm = sac(policy_lr=3e-3, batch_size=64)
    state = index_tree(algorithm.init([1]), 0)
    best = torch.tensor([0.3, -0.2])
    algorithm.q_values = lambda critic, x, action: -((action - best) ** 2).sum(-1).expand(2, -1, -1)  # type: ignore[method-assign]
    policy, moments = state.params.policy, state.policy_adam
    g = torch.Generator().manual_seed(0)
    for i in range(1, 601):
        x, noise = torch.randn(1, 64, OBS, generator=g), torch.randn(1, 64, ACT, generator=g)
        grads = gradient(algorithm, policy, data_of(x, noise, 0.02))
        policy, moments = adam(policy, grads, moments, torch.tensor(float(i)), lr=3e-3)
    action, _ = algorithm.sample_action(policy, torch.randn(1, 256, OBS, generator=g), torch.zeros(1, 256, ACT))
    torch.testing.assert_close(action.mean((0, 1)), best, atol=0.03, rtol=0)


def test_normalizer_holds_the_moments_of_all_batches():
    algorithm = sac(normalize_obs=True)
    state = algorithm.init([0])
    run(algorithm, state, 4)
    seen = torch.cat([batch(algorithm, seed=i).obs.flatten(0, 2) for i in range(4)])
    torch.testing.assert_close(state.normalizer.mean[0], seen.mean(0))
    scale = scale_of(index_tree(state.normalizer, 0))
    torch.testing.assert_close(scale, 1 / seen.std(0, correction=0), rtol=1e-4, atol=1e-5)


def test_what_never_moves_is_not_blown_up():
    assert scale_of(Normalizer(torch.tensor([0.7]), torch.tensor([0.49]), torch.ones(1), torch.zeros(()), torch.zeros(1))).item() <= 100.1


def test_losses_of_the_algorithm_have_the_exact_optimum_of_the_quadratic_bandit():
    """Q(a) = -(u - u*)^2 - alpha log(1 - a^2) for a = tanh(u): what squashing adds to the density, Q takes away again. So SAC's own loss
    has its minimum at u ~ N(u*, alpha / 2), exactly. The noise has exact first two moments, the input is always zero."""
    alpha, best = 0.3, torch.tensor([0.4, -0.7])
    algorithm = sac()

    def q_values(critic, x, action):
        u = torch.atanh(action)
        return -((u - best).square() + alpha * torch.log1p(-action.square())).sum(-1).expand(2, -1, -1)

    algorithm.q_values = q_values  # type: ignore[method-assign]
    to_double = {"dtype": torch.float64}
    policy = {k: v.to(**to_double) for k, v in index_tree(algorithm.init([0]), 0).params.policy.items()}
    moments, x = init_adam(policy), torch.zeros(1, 8, OBS, **to_double)
    noise = torch.randn(1, 8, ACT, generator=torch.Generator().manual_seed(0), **to_double)
    noise = (noise - noise.mean(1)) / noise.std(1, correction=0)
    for i in range(1, 501):
        lr = 0.03 if i < 300 else 0.003 if i < 430 else 0.0003
        grads = gradient(algorithm, policy, data_of(x, noise, alpha))
        policy, moments = adam(policy, grads, moments, torch.tensor(float(i), **to_double), lr=lr)
    action, _ = algorithm.sample_action(policy, x, noise)
    u = torch.atanh(action[0])
    torch.testing.assert_close(u.mean(0), best.double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(u.var(0, correction=0), torch.full((2,), alpha / 2, **to_double), rtol=1e-3, atol=0)

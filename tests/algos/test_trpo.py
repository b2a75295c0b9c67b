"""TRPO on made-up rounds: its gradient, its region, its seeds; and that it learns a one-step problem."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from algos import trpo
from core.errors import ConfigError
from core.tree import index_tree, map_tree
from core.types import Field, Round, TaskSpec
from tests.algos.made import OBS, SIMULATORS, SPEC, a_round, seen
from tests.algos.made import params as own

SMALL = trpo.Config(hidden=(8, 8), episodes=3)


def made(tasks=2, config=SMALL, seeds=(0,)):
    """Algorithm, state, and a round [S]."""
    algorithm = trpo.make(config, SPEC, tasks, SIMULATORS)
    lead = (len(seeds), 1, tasks, SIMULATORS, config.episodes, SPEC.horizon)
    return algorithm, algorithm.init(seeds), a_round(algorithm, lead, torch.Generator().manual_seed(0))


def gradient(algorithm, policy, one):
    leaves = {k: v.detach().double().requires_grad_() for k, v in policy.items()}
    data, _ = algorithm.data(leaves, map_tree(torch.Tensor.double, one))
    gain, kl = algorithm.objective(leaves, data)
    return dict(zip(leaves, torch.autograd.grad(gain, list(leaves.values())), strict=True)), kl


def test_the_objective_rises_within_the_region():
    algorithm, state, batch = made()
    first = index_tree(state.policy, 0)
    data, _ = algorithm.data({k: v.clone() for k, v in first.items()}, index_tree(batch, 0))
    metrics = algorithm.update(state, batch, algorithm.noise(state, [torch.Generator()]))
    assert 0 < metrics["accepted"] <= 1
    assert 0.3 * SMALL.delta < metrics["kl"] <= SMALL.delta
    gain, kl = algorithm.objective(index_tree(state.policy, 0), data)
    assert gain > 1e-3  # that of normalised advantages is 0 before
    torch.testing.assert_close((-gain, kl), (metrics["policy_loss"][0], metrics["kl"][0]))


def test_the_first_gradient_is_the_policy_gradient():
    """At the acting parameters the ratio's slope is that of the log-probability."""
    algorithm, state, batch = made()
    one = index_tree(batch, 0)
    found, kl = gradient(algorithm, index_tree(state.policy, 0), one)
    leaves = {k: v[0].double().requires_grad_() for k, v in state.policy.items()}
    data, _ = algorithm.data(leaves, map_tree(torch.Tensor.double, one))
    log_prob = algorithm.head.log_prob(algorithm.distribution(leaves, data.obs), data.action)
    weights = data.valid / data.valid.sum(1, keepdim=True) / 2
    expected = torch.autograd.grad((weights * log_prob * data.advantage).sum(), list(leaves.values()))
    for got, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-14)
    assert kl.item() == 0


def test_a_task_with_large_rewards_leaves_the_others_gradient_alone():
    algorithm, state, batch = made(tasks=3)
    one = index_tree(batch, 0)
    scaled = one._replace(reward=one.reward.clone())
    scaled.reward[:, 1] *= 1000
    policy = index_tree(state.policy, 0)
    before, _ = gradient(algorithm, policy, one)
    after, _ = gradient(algorithm, policy, scaled)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-8)
    plain = trpo.make(replace(SMALL, normalize_advantage=False), SPEC, 3)
    row = OBS + 1, OBS  # the first layer's row of the task that was scaled, and of another
    before, after = gradient(plain, policy, one)[0]["w0"], gradient(plain, policy, scaled)[0]["w0"]
    torch.testing.assert_close(after[row[1]], before[row[1]], rtol=1e-10, atol=0)
    assert after[row[0]].norm() > 100 * before[row[0]].norm()


def test_a_constant_reward_changes_nothing():
    algorithm, state, batch = made()
    before = map_tree(torch.clone, state.policy)
    metrics = algorithm.update(state, batch._replace(reward=batch.valid * 0), algorithm.noise(state, [torch.Generator()]))
    assert metrics["accepted"] == 0
    assert all(torch.equal(state.policy[k], before[k]) for k in before)


def test_actors_draw_from_the_learners_distribution():
    algorithm, state, _ = made(tasks=3)
    obs, noise = torch.randn(3, 4, OBS), torch.randn(3, 4, 2)
    at = algorithm.distribution(index_tree(state.policy, 0), obs)
    which = np.repeat(np.arange(3), 4)
    now = seen(12, which, obs=obs.flatten(0, 1).numpy())
    action, _, _ = algorithm.act(own(algorithm, state), None, now, noise.flatten(0, 1).numpy())
    np.testing.assert_allclose(action, (at.out + at.log_std.exp() * noise).flatten(0, 1).numpy(), atol=1e-6)


@pytest.mark.parametrize("discrete", [False, True])
def test_it_learns_where_to_go(discrete):
    """One step per episode, three tasks: the task says which action is best."""
    spec = TaskSpec("test", (Field("obs", (1,)),), 3, 1, discrete=discrete)
    algorithm = trpo.make(trpo.Config(hidden=(16,), episodes=100, init_std=1.0, delta=0.05), spec, 3)
    state, rng = algorithm.init([0]), np.random.default_rng(0)
    tasks, obs = np.repeat(np.arange(3), 100), np.ones((300, 1), np.float32)
    returns = []
    for _ in range(30):
        noise = rng.standard_normal((300, 3), dtype=np.float32)
        action, _, _ = algorithm.act(own(algorithm, state), None, seen(300, tasks, obs=obs), noise)
        reward = -np.square(action - np.eye(3)[tasks]).mean(1).astype(np.float32)
        lead = (1, 1, 3, 1, 100, 1)
        columns = [torch.from_numpy(x).reshape(*lead, *x.shape[1:]) for x in (obs, action, reward)]
        algorithm.update(state, Round(*columns, torch.ones(lead), {}), algorithm.noise(state, [torch.Generator()]))
        returns.append(reward.mean())
    assert returns[-1] > 0.4 * returns[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("delta", 0), ("episodes", 0), ("gamma", 1.5), ("backtrack", 1.0), ("damping", -1.0), ("activation", "gelu"), ("hidden", (0,))],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"algo.{name} is"):
        trpo.Config(**{name: value})

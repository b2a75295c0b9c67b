"""Exact answers that PPO must give: its first gradient, which steps it learns from, what it ignores; and a one-step problem learned."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from algos.lib.advantages import explained_variance
from algos.lib.returns import discounted
from algos.lib.surrogate import clipped, likelihood_ratio, minibatches, task_major
from algos.ppo import PPO, Config, make
from core.errors import ConfigError
from core.tree import index_tree, named_leaves
from core.types import Field, Round, TaskSpec
from tests.algos.made import ACT, SPEC, a_round, params, seen, whole_round

DISCRETE = TaskSpec("test", SPEC.observation, ACT, SPEC.horizon, discrete=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def ppo(tasks: int = 2, spec: TaskSpec = SPEC, **settings: Any) -> PPO:
    return make(Config(**{"hidden": (16, 16), "episodes": 3, "epochs": 2, "minibatches": 2, "lr": 3e-3} | settings), spec, tasks)


def rounds(algorithm: PPO, seeds: int = 1, seed: int = 0) -> Round:
    lead = (seeds, 1, algorithm.tasks, 2, algorithm.plan.episodes, SPEC.horizon)
    return a_round(algorithm, lead, torch.Generator().manual_seed(seed))


def updated(algorithm: PPO, state: Any, batches: list[Round], generator: torch.Generator) -> Any:
    for batch in batches:
        algorithm.update(state, batch, algorithm.noise(state, [generator] * state.steps.shape[0]))
    return state


def assert_same(a: Any, b: Any) -> None:
    for (path, x), (_, y) in zip(named_leaves(a), named_leaves(b), strict=True):
        assert torch.equal(x, y), path


def first_gradient(algorithm: PPO, policy: dict[str, torch.Tensor], batch: Round) -> dict[str, torch.Tensor]:
    samples, _ = algorithm.samples(policy, task_major(index_tree(batch, 0)))
    return torch.func.grad(lambda p: algorithm.loss(p, samples, whole_round(samples.valid)))(policy)


def test_the_first_gradient_is_the_policy_gradient():
    """- mean over tasks of the mean over steps of grad log pi(a|s) A: written out with torch's own distributions, step by step."""
    algorithm = ppo(entropy=0.0)
    batch = rounds(algorithm)
    policy = {k: v[0] for k, v in algorithm.init([0]).policy.items()}
    samples, _ = algorithm.samples(policy, task_major(index_tree(batch, 0)))
    ours = first_gradient(algorithm, policy, batch)

    own = {k: v.clone().requires_grad_() for k, v in policy.items()}
    total = torch.zeros(())
    for k in range(2):
        steps = [i for i in range(samples.valid.shape[1]) if samples.valid[k, i]]
        for i in steps:
            x = torch.cat([samples.inputs[k, i], torch.eye(2)[k]])
            for layer in range(3):
                x = x @ own[f"w{layer}"] + own[f"b{layer}"][0]
                x = torch.tanh(x) if layer < 2 else x
            log_prob = Independent(Normal(x, own["log_std"][0].exp()), 1).log_prob(samples.action[k, i])
            total = total - log_prob * samples.advantage[k, i] / len(steps) / 2
    total.backward()
    for name, grads in ours.items():
        torch.testing.assert_close(grads, own[name].grad, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_task_with_large_rewards_does_not_own_the_gradient(normalize):
    """With a head for each task: the other task's gradient is the same to the bit, its own nearly the same."""
    algorithm = ppo(multi_head=True, entropy=0.0, normalize_advantage=normalize)
    batch = rounds(algorithm)
    policy = {k: v[0] for k, v in algorithm.init([0]).policy.items()}
    scale = torch.tensor([1000.0, 1.0])[:, None, None, None]
    before = first_gradient(algorithm, policy, batch)["w2"]
    after = first_gradient(algorithm, policy, batch._replace(reward=batch.reward * scale))["w2"]
    assert torch.equal(after[1], before[1])
    torch.testing.assert_close(after[0], before[0] * (1 if normalize else 1000), rtol=1e-2, atol=1e-5)


def test_the_clipped_surrogate():
    ratio = torch.tensor([0.5, 0.5, 1.0, 1.5, 1.5])
    advantage = torch.tensor([1.0, -1.0, 2.0, 1.0, -1.0])
    torch.testing.assert_close(clipped(ratio, advantage, 0.2), torch.tensor([0.5, -0.8, 2.0, 1.2, -1.5]))
    assert clipped(likelihood_ratio(torch.tensor(1000.0)), torch.tensor(0.0), 0.2) == 0


def test_minibatches_hold_every_valid_step_once_and_every_task_alike():
    valid = torch.zeros(3, 40)
    for k, n in enumerate((40, 17, 2)):
        valid[k, torch.randperm(40)[:n]] = 1
    parts = minibatches(valid, 4, torch.Generator().manual_seed(0))
    assert len(parts) == 4
    met = torch.zeros(3, 40)
    for part in parts:
        counts = (part.weight > 0).sum(1)
        assert ((counts - valid.sum(1) / 4).abs() < 1).all()
        torch.testing.assert_close(part.weight.sum(1), (counts > 0).float())
        met.scatter_add_(1, part.chosen, (part.weight > 0).float())
    assert torch.equal(met, valid)
    other = minibatches(valid, 4, torch.Generator().manual_seed(1))
    assert not torch.equal(parts[0].chosen, other[0].chosen)


@pytest.mark.parametrize("spec", [SPEC, DISCRETE], ids=["gaussian", "choice"])
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("heads", [False, True])
def test_actors_compute_the_learners_policy(tasks, heads, spec):
    algorithm = ppo(tasks, spec, multi_head=heads)
    batch = rounds(algorithm)
    if spec.discrete:
        batch = batch._replace(action=torch.nn.functional.one_hot(batch.action.argmax(-1), ACT).float())
    state = updated(algorithm, algorithm.init([0]), [batch] * 2, torch.Generator().manual_seed(0))
    obs, which = torch.randn(8, SPEC.obs_dim), np.arange(8) % tasks
    own = params(algorithm, state)
    at = algorithm.actions({k: v[0] for k, v in state.policy.items()}, obs.expand(tasks, -1, -1))
    out = at.out[torch.from_numpy(which), torch.arange(8)].numpy()
    action, _, extra = algorithm.act(own, None, seen(8, which, obs=obs.numpy()), None)
    np.testing.assert_allclose(action, np.eye(ACT)[out.argmax(1)] if spec.discrete else out, atol=1e-5)
    assert not extra
    noise = np.random.default_rng(0).standard_normal((8, ACT), dtype=np.float32)
    drawn, _, _ = algorithm.act(own, None, seen(8, which, obs=obs.numpy()), noise)
    if not spec.discrete:
        np.testing.assert_allclose(drawn, out + at.log_std.exp().reshape(1, ACT).numpy() * noise, atol=1e-5)


def test_the_noise_says_how_steps_are_shuffled():
    algorithm, batch = ppo(), rounds(ppo())
    states = [algorithm.init([0]) for _ in range(3)]
    for state, seed in zip(states, (1, 1, 2), strict=True):
        algorithm.update(state, batch, torch.tensor([seed]))
    assert torch.equal(states[0].policy["w0"], states[1].policy["w0"])
    assert not torch.equal(states[0].policy["w0"], states[2].policy["w0"])


def test_a_round_is_left_when_the_policy_has_moved_enough():
    taken = {}
    for limit in (0.0, 1e-6, 1e6):
        algorithm = ppo(epochs=5, target_kl=limit)
        state = updated(algorithm, algorithm.init([0]), [rounds(algorithm)], torch.Generator().manual_seed(0))
        taken[limit] = state.steps.item()
    assert taken == {0.0: 10, 1e-6: 2, 1e6: 10}


def test_metrics_of_a_round_that_moves_nothing():
    """A step size of next to nothing: ratio 1 everywhere."""
    algorithm = ppo(lr=1e-12, init_std=2.0)
    state = algorithm.init([0, 1])
    metrics = algorithm.update(state, rounds(algorithm, 2), torch.tensor([0, 0]))
    assert all(value.shape == (2,) for value in metrics.values())
    for name, value in {"kl": 0.0, "clip_fraction": 0.0, "policy_loss": 0.0, "std": 2.0}.items():
        torch.testing.assert_close(metrics[name], torch.full((2,), value), atol=1e-5, rtol=0)
    assert metrics["entropy"].tolist() == pytest.approx([ACT * (0.5 * np.log(2 * np.pi * np.e) + np.log(2.0))] * 2)


def test_explained_variance():
    returns, valid = torch.tensor([[1.0, 2.0, 3.0, 99.0], [5.0, 5.0, 5.0, 5.0]]), torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 1]])
    assert explained_variance(returns * valid, returns, valid).item() == pytest.approx(0.5)  # 1 and, where nothing varies, 0
    assert explained_variance(torch.zeros(2, 4), returns, valid).item() == pytest.approx(0, abs=1e-6)


def test_the_standard_deviation_stays_in_its_bounds():
    algorithm = ppo(init_std=1.0, min_std=0.9, max_std=1.1, lr=0.1, entropy=10.0)
    state = updated(algorithm, algorithm.init([0]), [rounds(algorithm)], torch.Generator().manual_seed(0))
    torch.testing.assert_close(state.policy["log_std"].exp(), torch.full((1, 1, ACT), 1.1))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"hidden": (0,)}, "algo.hidden"),
        ({"hidden": (), "multi_head": True}, "1 or more layers"),
        ({"activation": "gelu"}, "relu, tanh"),
        ({"clip": 0}, "algo.clip is 0; it must be positive"),
        ({"gamma": 1.5}, "algo.gamma is 1.5"),
        ({"entropy": -1.0}, "algo.entropy is -1.0; it must be 0 or more"),
        ({"init_std": 20.0}, "algo.init_std is 20.0; it must be between"),
    ],
)
def test_a_wrong_setting_is_found_at_once(setting, said):
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        Config(**setting)


GOALS = np.array([0.8, -0.5], np.float32)


def play(algorithm: PPO, state: Any, rng: np.random.Generator, simulators: int = 40) -> Round:
    """One step per episode: the nearer the action is to the task's goal the better; the second task pays a hundred times as much."""
    N, E, own = simulators, algorithm.plan.episodes, params(algorithm, state)
    which = np.arange(2).repeat(N * E)
    obs, noise = (rng.standard_normal((len(which), n), dtype=np.float32) for n in (2, algorithm.noise_dim))
    action, _, _ = algorithm.act(own, None, seen(len(which), which, obs=obs), noise)
    reward = -np.square(action - GOALS[which, None]).sum(1) * np.array([1, 100], np.float32)[which]
    lead = (1, 1, 2, N, E, 1)
    made = (torch.from_numpy(x).reshape(*lead, *x.shape[1:]) for x in (obs, action, reward))
    return Round(*made, torch.ones(lead), {})


def test_it_learns_a_one_step_problem():
    spec = TaskSpec("test", (Field("obs", (2,)),), 1, 1)
    algorithm = ppo(2, spec, lr=0.03, epochs=4, minibatches=2, entropy=0.0, init_std=0.7)
    state, rng, generator = algorithm.init([0]), np.random.default_rng(0), torch.Generator().manual_seed(0)
    scores = []
    for _ in range(10):
        batch = play(algorithm, state, rng)
        scores.append(discounted(batch.reward, 1.0).mean((0, 1, 3, 4, 5)))
        updated(algorithm, state, [batch], generator)
    first, last = scores[0], torch.stack(scores[-3:]).mean(0)
    assert (last > 0.2 * first).all(), (first, last)  # rewards are negative

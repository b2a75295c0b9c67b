"""MAML: its own gradients against finite differences in float64, then its way through a round as a learner walks it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import algos
from algos import maml
from algos.lib.trust_region import curvature, flat, shaped
from core.abilities import Adapting
from core.errors import ConfigError
from core.tree import index_tree, map_tree, named_leaves
from core.types import Field, Round, TaskSpec
from tests.algos.made import SIMULATORS, SPEC, a_round, seen
from tests.algos.made import params as own

TASKS = 2
M = TASKS * SIMULATORS
SMALL = maml.Config(hidden=(8, 8), episodes=3, inner_lr=0.3)
LINEAR = replace(SMALL, hidden=(), inner_steps=2)
TRPO = replace(SMALL, outer="trpo")


def double(tree):
    return map_tree(torch.Tensor.double, tree)


def leaves_of(params):
    return {k: v.detach().clone().requires_grad_() for k, v in params.items()}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(config=SMALL, seeds=(0,)):
    """Algorithm, state and a round [S], its last phase acted by no particular policy."""
    algorithm = maml.make(config, SPEC, TASKS, SIMULATORS)
    lead = (len(seeds), algorithm.plan.phases, TASKS, SIMULATORS, config.episodes, SPEC.horizon)
    return algorithm, algorithm.init(seeds), a_round(algorithm, lead, torch.Generator().manual_seed(0))


def of_one_seed(config):
    """Algorithm, parameters, phases and old distribution of one seed in float64."""
    algorithm, state, batch = made(config)
    params = double(index_tree(state.params, 0))
    phases, old, _ = algorithm.phases(params, double(index_tree(batch, 0)))
    return algorithm, params, phases, old


def whole_update(algorithm, state, batch):
    """A round as the learner goes through it. Returns the metrics of the update."""
    for phase in range(algorithm.plan.phases - 1):
        algorithm.inner(state, batch, phase)
    return algorithm.update(state, batch, algorithm.noise(state, [torch.Generator()] * len(state.updates)))


# ---- the class's own gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, TRPO, LINEAR, replace(SMALL, entropy=0.1)], ids=["ppo", "trpo", "two steps", "entropy"])
def test_the_outer_gradient_is_that_of_the_outer_objective(config):
    algorithm, params, phases, old = of_one_seed(config)

    def objective(params):
        return algorithm.clipped_loss(params, phases) if config.outer == "ppo" else -algorithm.both(params, phases, old)[0]

    leaves = leaves_of(params)
    slope = flat(torch.autograd.grad(objective(leaves), list(leaves.values())))
    algorithm.config = replace(config, first_order=True)
    short = flat(torch.autograd.grad(objective(leaves), list(leaves.values())))
    algorithm.config = config
    assert (short - slope).norm() > 0.05 * slope.norm()
    at = flat(params.values())
    for seed in range(3):
        way = drawn(*at.shape, seed=seed)
        up, down = (objective(shaped(at + sign * 1e-6 * way, params)).item() for sign in (1, -1))
        assert abs((up - down) / 2e-6 - (slope @ way).item()) < 1e-7


@pytest.mark.parametrize("config", [TRPO, replace(LINEAR, outer="trpo")], ids=["one step", "two steps"])
def test_the_hessian_of_kl_reaches_through_the_adaptation(config):
    algorithm, params, phases, old = of_one_seed(config)

    def slope(vector):
        leaves = leaves_of(shaped(vector, params))
        return flat(torch.autograd.grad(algorithm.both(leaves, phases, old)[1], list(leaves.values())))

    leaves, at = leaves_of(params), flat(params.values())
    kl = algorithm.both(leaves, phases, old)[1]
    assert kl.item() == 0
    assert slope(at).abs().max() < 1e-14
    product = curvature(kl, list(leaves.values()))
    for seed in range(2):
        way = drawn(*at.shape, seed=seed)
        torch.testing.assert_close(product(way), (slope(at + 1e-6 * way) - slope(at - 1e-6 * way)) / 2e-6, rtol=1e-5, atol=1e-7)


def test_a_trust_region_update_raises_the_adapted_objective_within_the_region():
    algorithm, state, batch = made(TRPO)
    metrics = whole_update(algorithm, state, batch)
    assert metrics["accepted"] > 0
    assert 0.2 * TRPO.delta < metrics["kl"] <= TRPO.delta
    assert metrics["policy_loss"] < -1e-3  # that of normalised advantages is 0 before


# ---- a round -------------------------------------------------------------------------------------------------------------


def linear_step(w, b, log_std, data, lr):
    """By hand, of a linear Gaussian policy of one lane: the gradient of the mean of log-probability times advantage."""
    count, variance = data.valid.sum(), torch.exp(2 * log_std)
    off = data.action - data.obs @ w - b
    weight = (data.advantage * data.valid)[:, None]
    return (
        w + lr * data.obs.T @ (weight * off / variance) / count,
        b + lr * (weight * off / variance).sum(0, keepdim=True) / count,
        log_std + lr * (weight * (off.square() / variance - 1)).sum(0, keepdim=True) / count,
    )


def test_each_inner_step_uses_the_episodes_of_its_own_phase():
    algorithm, state, batch = made(LINEAR)
    state, batch = double(state), double(batch)
    params, lanes = index_tree(state.params, 0), index_tree(state.acting, 0)
    phases, old, _ = algorithm.phases(params, index_tree(batch, 0))
    algorithm.inner(state, batch, 0)
    algorithm.inner(state, batch, 1)
    for lane in range(M):
        w, b, log_std = params["w0"], params["b0"], params["log_std"]
        for phase in phases[:2]:
            w, b, log_std = linear_step(w, b, log_std, index_tree(phase, lane), LINEAR.inner_lr)
        for name, wanted in {"w0": w, "b0": b, "log_std": log_std}.items():
            torch.testing.assert_close(lanes[name][lane], wanted, rtol=1e-12, atol=1e-14)
    last = algorithm.distribution(lanes, phases[2].obs)
    assert torch.equal(old.out, last.out)  # what the update takes for the policies that acted
    assert torch.equal(algorithm.both(params, phases, old)[1], torch.zeros((), dtype=torch.float64))


def test_a_learner_can_tell_that_it_adapts():
    assert isinstance(made()[0], Adapting)
    assert not isinstance(algos.find("trpo").make(algos.find("trpo").Config(), SPEC, 1), Adapting)


def test_actors_get_adapted_parameters_and_after_the_update_the_common_ones_again():
    algorithm, state, batch = made()
    before = map_tree(torch.clone, state)
    metrics = algorithm.inner(state, batch, 0)
    assert metrics["moved"] > 0
    assert all(torch.equal(state.params[k], before.params[k]) for k in state.params)
    assert not any(torch.equal(state.acting[k][0, i], state.acting[k][0, j]) for k in state.acting for i in range(M) for j in range(i))
    algorithm.update(state, batch, algorithm.noise(state, [torch.Generator()]))
    for name, value in state.params.items():
        assert not torch.equal(value, before.params[name])
        assert torch.equal(algorithm.policy(state)[name], value[:, None].expand_as(state.acting[name]))


def test_adapting_at_test_time_is_the_inner_step():
    """From the common parameters and then from those of each simulator; on simulators as tasks of one each."""
    algorithm, state, batch = made(replace(SMALL, inner_steps=2))
    params = {k: v[0].numpy().copy() for k, v in state.params.items()}
    of_lanes = own(algorithm, state)
    of_lanes = {k: v.copy() for k, v in of_lanes.items()}
    for phase in range(2):
        algorithm.inner(state, batch, phase)
        one = map_tree(lambda x, p=phase: x[0, p].flatten(0, 1)[None, :, None], batch)
        params, of_lanes = algorithm.adapt(params, one), algorithm.adapt(of_lanes, one)
        for name, wanted in own(algorithm, state).items():
            assert params[name].dtype == np.float32
            np.testing.assert_allclose(params[name], wanted, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(of_lanes[name], params[name])


def test_a_lane_acts_as_it_would_alone():
    algorithm, state, batch = made()
    algorithm.inner(state, batch, 0)
    params, noise = own(algorithm, state), np.random.default_rng(0).standard_normal((M, 2), dtype=np.float32)
    every, _, _ = algorithm.act(params, None, seen(M), noise)
    order = np.array([2, 0, 3, 1])
    now = seen(M)
    mixed, _, _ = algorithm.act(params, None, now._replace(obs=now.obs[order], lanes=order), noise[order])
    np.testing.assert_allclose(mixed, every[order], atol=1e-6)
    some, _, _ = algorithm.act(params, None, now._replace(obs=now.obs[1:3], lanes=np.array([1, 2])), noise[1:3])
    np.testing.assert_allclose(some, every[1:3], atol=1e-6)
    for lane in range(M):
        one = seen(1, obs=now.obs[lane : lane + 1])
        plain, _, _ = algorithm.act({k: v[lane] for k, v in params.items()}, None, one, noise[lane : lane + 1])
        np.testing.assert_allclose(plain, every[lane : lane + 1], atol=1e-6)
        at = algorithm.distribution(index_tree(state.acting, 0), torch.from_numpy(now.obs)[:, None])
        drawn_there = (at.out[lane, 0] + at.log_std[lane, 0].exp() * torch.from_numpy(noise[lane])).numpy()
        np.testing.assert_allclose(every[lane], drawn_there, atol=1e-6)


def test_simulators_beyond_the_lanes_go_round():
    """As an evaluation with more simulators has them: before adaptation all lanes are alike."""
    algorithm, state, _ = made()
    plain = {k: v[0].numpy() for k, v in state.params.items()}
    now, noise = seen(3 * M), np.ones((3 * M, 2), np.float32)
    many, _, _ = algorithm.act(own(algorithm, state), None, now, noise)
    np.testing.assert_allclose(many, algorithm.act(plain, None, now, noise)[0], atol=1e-6)


def test_a_lane_whose_episodes_were_all_lost_stays_where_it_is():
    algorithm, state, batch = made()
    other, lost = map_tree(torch.clone, state), map_tree(lambda x: x.clone(), batch)
    for column in lost[:4]:
        column[:, :, 1, 0] = 0  # lane 2
    algorithm.inner(state, batch, 0)
    algorithm.inner(other, lost, 0)
    for name, value in other.acting.items():
        assert torch.equal(value[0, 2], other.params[name][0])
        assert torch.equal(value[0, [0, 1, 3]], state.acting[name][0, [0, 1, 3]])
    metrics = algorithm.update(other, lost, algorithm.noise(other, [torch.Generator()]))
    assert all(torch.isfinite(value).all() for value in (*metrics.values(), *other.params.values()))


@pytest.mark.parametrize("config", [SMALL, TRPO], ids=["ppo", "trpo"])
def test_a_run_goes_on_bit_for_bit_from_a_copy_in_the_midst_of_a_round(config):
    algorithm, state, batch = made(config)
    whole_update(algorithm, state, batch)
    algorithm.inner(state, batch, 0)
    copied = map_tree(torch.clone, state)
    for one in (state, copied):
        algorithm.update(one, batch, algorithm.noise(one, [torch.Generator()]))
        whole_update(algorithm, one, batch)
    for (path, a), (_, b) in zip(named_leaves(state), named_leaves(copied), strict=True):
        assert torch.equal(a, b), path


@pytest.mark.parametrize("outer", ["ppo", "trpo"])
def test_it_learns_to_adapt(outer):
    """One-step episodes; each simulator has a target of its own, which no policy can know before it adapts."""
    spec, lanes, E = TaskSpec("test", (Field("obs", (1,)),), 2, 1), 20, 20
    config = maml.Config(hidden=(16,), episodes=E, inner_lr=0.05, outer=outer, lr=0.01, init_std=0.5, delta=0.03)
    algorithm = maml.make(config, spec, 1, lanes)
    state, rng, returns = algorithm.init([0]), np.random.default_rng(0), []
    now = seen(E * lanes, obs=np.ones((E * lanes, 1), np.float32))._replace(lanes=np.repeat(np.arange(lanes), E))
    for _ in range(15):
        targets, phases = rng.uniform(-1, 1, (lanes, 1, 2)), []
        for phase in range(2):
            action, _, _ = algorithm.act(own(algorithm, state), None, now, rng.standard_normal((lanes * E, 2), "f4"))
            action = action.reshape(lanes, E, 2)
            phases.append((action[None, :, :, None], -np.square(action - targets).sum(-1)[None, :, :, None]))
            batch = rounds(phases, (1, 2, 1, lanes, E, 1))
            if not phase:
                algorithm.inner(state, batch, 0)
        metrics = algorithm.update(state, batch, algorithm.noise(state, [torch.Generator()]))
        returns.append([metrics[name].item() for name in ("return_before", "return_after")])
    (_, untrained), (before, after) = np.mean(returns[:4], 0), np.mean(returns[-4:], 0)
    assert after > untrained + 0.1
    assert after > before + 0.3


def rounds(phases, lead):
    """Of actions and rewards of the phases so far, the others zeros."""
    action, reward = torch.zeros(*lead, 2), torch.zeros(lead)
    for p, (acted, brought) in enumerate(phases):
        action[0, p], reward[0, p] = torch.from_numpy(acted), torch.from_numpy(brought)
    return Round(torch.ones(*lead, 1), action, reward, torch.ones(lead), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("inner_lr", 0), ("inner_steps", 0), ("gae_lambda", -0.1), ("outer", "sgd"), ("clip", 0), ("max_grad_norm", -1.0), ("hidden", (0,))],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"algo.{name} is"):
        maml.Config(**{name: value})

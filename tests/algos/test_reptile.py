"""Reptile: exact answers on quadratics, and the wrapper against the algorithm inside."""

import pytest
import torch

import algos
from algos.lib.adam import AdamState
from algos.lib.reptile import annealed, inner_loop, interpolate, meta_step, optimizer_of, weights_of
from core.errors import ConfigError
from core.tree import map_tree, named_leaves
from tests.algos.made import SPEC, batch, params, seen

ALPHA, K_INNER, TASKS, DIM = 0.1, 3, 4, 5


def quadratics():
    """A_i positive definite, c_i, and P_i = (I - alpha A_i)^k, in float64."""
    g = torch.Generator().manual_seed(0)
    m = torch.randn(TASKS, DIM, DIM, generator=g, dtype=torch.float64)
    A = m @ m.mT / DIM + torch.eye(DIM, dtype=torch.float64)
    P = torch.linalg.matrix_power(torch.eye(DIM, dtype=torch.float64) - ALPHA * A, K_INNER)
    return A, torch.randn(TASKS, DIM, generator=g, dtype=torch.float64), P


def adapted(theta, A, c, k=K_INNER):
    """phi (TASKS, DIM) by autograd: k plain gradient steps on every task's own loss."""

    def step(phi, _):
        def loss(p):
            d = p["x"] - c
            return 0.5 * torch.einsum("ti,tij,tj->", d, A, d)

        return {"x": phi["x"] - ALPHA * torch.func.grad(loss)(phi)["x"]}

    return inner_loop({"x": theta.expand(len(c), DIM)}, step, range(k))


def test_direction_on_quadratics():
    A, c, P = quadratics()
    theta = torch.randn(DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = meta_step({"x": theta}, adapted(theta, A, c), ALPHA, tasks=True)["x"]
    exact = (torch.einsum("tij,tj->ti", torch.eye(DIM) - P, theta - c)).mean(0) / ALPHA
    torch.testing.assert_close((theta - moved) / ALPHA**2, exact)


def test_fixed_point_on_quadratics_is_not_that_of_joint_training():
    A, c, P = quadratics()
    weights = torch.eye(DIM, dtype=torch.float64) - P
    root = torch.linalg.solve(weights.sum(0), torch.einsum("tij,tj->i", weights, c))
    joint = torch.linalg.solve(A.sum(0), torch.einsum("tij,tj->i", A, c))
    theta = {"x": torch.zeros(DIM, dtype=torch.float64)}
    for _ in range(300):
        theta = meta_step(theta, adapted(theta["x"], A, c), 0.9, tasks=True)
    torch.testing.assert_close(theta["x"], root)
    assert (root - joint).norm() > 1e-3


def test_one_inner_step_of_sgd_is_joint_sgd_with_the_product_of_both_step_sizes():
    A, c, _ = quadratics()
    theta = joint = torch.randn(DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for _ in range(5):
        theta = meta_step({"x": theta}, adapted(theta, A, c, k=1), 0.3, tasks=True)["x"]
        joint = joint - ALPHA * 0.3 * torch.einsum("tij,tj->ti", A, joint - c).mean(0)
    torch.testing.assert_close(theta, joint, rtol=1e-13, atol=1e-13)


def test_interpolation_and_annealing():
    a, b = torch.randn(2, 7), torch.randn(2, 7)
    assert torch.equal(interpolate(a, b, 1.0), b)
    assert torch.equal(interpolate(a, b, torch.tensor([0.0, 1.0])), torch.stack([a[0], b[1]]))
    assert annealed(torch.tensor([0.0, 5.0, 10.0, 11.0]), 0.8, 10).tolist() == pytest.approx([0.8, 0.4, 0.0, 0.0])
    assert annealed(torch.tensor([0.0, 99.0]), 0.5, 0).tolist() == [0.5, 0.5]


# ---- around SAC -------------------------------------------------------------------------------------------------------


def settings(**changes):
    return algos.find("sac").Config(**{"hidden": (16, 16), "batch_size": 8, "normalize_obs": True, "normalize_reward": True} | changes)


def reptile(tasks: int = 3, inner=None, **changes):
    module = algos.find("reptile")
    return module.make(module.Config(settings=inner or settings(), **changes), SPEC, tasks)


def run(algorithm, state, updates: int, first: int = 0):
    """Returns copies of the state after each update."""
    generators = [torch.Generator().manual_seed(7 + s) for s in range(len(state.updates))]
    seen = []
    for i in range(first, first + updates):
        one = map_tree(lambda x: x.expand(len(state.updates), *x.shape[1:]), batch(algorithm, 3, i))
        algorithm.update(state, one, algorithm.noise(state, generators))
        seen.append(map_tree(torch.clone, state))
    return seen


def equal(one, other) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(named_leaves(one), named_leaves(other), strict=True))


def test_at_eps_one_and_with_the_optimiser_carried_it_is_the_inner_algorithm():
    outer = reptile(inner_updates=2, optimizer="carry")
    inner = algos.find("sac").make(settings(), SPEC, 1)
    state, plain = outer.init([5]), inner.init([5])
    generator = torch.Generator().manual_seed(7)
    run(outer, state, 4)
    for i in range(4):
        inner.update(plain, batch(outer, 3, i)._replace(chosen=()), inner.noise(plain, [generator]))
    assert equal(state.inner, plain)
    assert equal(state.theta, weights_of(plain))


def test_theta_waits_for_the_end_of_a_task_then_moves_and_phi_with_it():
    outer = reptile(inner_updates=3, meta_step=0.5)
    state = outer.init([5])
    before = map_tree(torch.clone, state.theta)
    twin = reptile(inner_updates=100)
    free = twin.init([5])
    during, alone = run(outer, state, 3), run(twin, free, 3)
    for t in range(2):
        assert equal(during[t].theta, before)
        assert equal(during[t].inner, alone[t].inner)
    expected = interpolate(before, weights_of(alone[2].inner), 0.5)
    assert equal(during[2].theta, expected)
    assert equal(weights_of(during[2].inner), expected)
    assert not equal(expected, before)


@pytest.mark.parametrize("optimizer", ["reset", "carry"])
def test_the_inner_optimiser_begins_anew_or_goes_on(optimizer):
    outer = reptile(inner_updates=2, optimizer=optimizer)
    within, after = run(outer, outer.init([5]), 2)
    assert all(leaf.abs().max() > 0 for _, leaf in named_leaves(optimizer_of(within.inner)))
    fresh = all(leaf.abs().max() == 0 for _, leaf in named_leaves(optimizer_of(after.inner)))
    assert fresh == (optimizer == "reset")
    assert after.inner.normalizer.batches.item() == 2, "statistics go on with theta"
    assert after.updates.item() == 2


def test_what_is_optimiser_and_what_is_not():
    state = reptile().init([0]).inner
    names = {name.split(".")[0] for name, _ in named_leaves(weights_of(state))}
    assert names == {"params", "target", "normalizer"}
    rest = list(named_leaves(optimizer_of(state)))
    assert len(rest) + len(list(named_leaves(weights_of(state)))) == len(list(named_leaves(state)))
    assert isinstance(state.policy_adam, AdamState)


def test_eps_falls_to_zero_and_theta_then_stands_still():
    outer = reptile(inner_updates=2, meta_iterations=2)
    state = outer.init([1])
    told = []
    for i in range(8):
        metrics = outer.update(state, batch(outer, 3, i), outer.noise(state, [torch.Generator().manual_seed(i)]))
        told.append(metrics["meta_step"].item())
        if i == 3:
            last = map_tree(torch.clone, state.theta)
    assert told == [1, 1, 0.5, 0.5, 0, 0, 0, 0]
    assert equal(state.theta, last)


def test_eps_goes_to_another_end_and_targets_may_stay():
    assert annealed(torch.tensor([0.0, 5.0, 10.0, 11.0]), 0.9, 10, 1.0).tolist() == pytest.approx([0.9, 0.95, 1.0, 1.0])
    outer = reptile(inner_updates=2, meta_step=0.9, meta_iterations=4, meta_step_end=1.0, optimizer="carry", target="stays")
    state = outer.init([1])
    before = map_tree(torch.clone, state.theta)
    alone = reptile(inner_updates=100, optimizer="carry")
    free = run(alone, alone.init([1]), 2)[-1]
    after = run(outer, state, 2)[-1]
    expected = interpolate(before, weights_of(free.inner), 0.9)  # 0.1 of where the task began, 0.9 of where it ended
    assert equal(after.theta.params, expected.params)
    assert equal(after.theta.target, free.inner.target)
    assert equal(after.inner.target, free.inner.target)
    assert not equal(expected.target, free.inner.target)


def test_without_momentum_is_a_setting_of_the_inner_algorithm():
    outer = reptile(inner=settings(adam_beta1=0.0), inner_updates=2, optimizer="carry")
    states = run(outer, outer.init([0]), 4)
    assert all(torch.isfinite(leaf).all() for _, leaf in named_leaves(states[-1]))


def test_actors_act_with_theta_in_every_task_alike():
    outer = reptile(inner=settings(multi_head=True), inner_updates=3)
    state = outer.init([3])
    own = params(outer, state)
    run(outer, state, 2)
    assert all((params(outer, state)[name] == value).all() for name, value in own.items())
    actions = [outer.act(own, None, seen(4, task), None)[0] for task in range(3)]
    assert all((action == actions[0]).all() for action in actions)


def test_a_seed_in_a_stack_is_the_seed_alone():
    outer = reptile(inner_updates=2)
    together = outer.init([3, 4])
    run(outer, together, 3)
    for s, seed in enumerate([3, 4]):
        alone, generator = outer.init([seed]), torch.Generator().manual_seed(7 + s)
        for i in range(3):
            outer.update(alone, batch(outer, 3, i), outer.noise(alone, [generator]))
        for (name, a), (_, b) in zip(named_leaves(together), named_leaves(alone), strict=True):
            torch.testing.assert_close(a[s], b[0], msg=name)


def test_the_update_is_one_graph():
    outer = reptile(inner_updates=2, meta_iterations=5)
    state, twin = outer.init([0]), outer.init([0])
    noise = outer.noise(state, [torch.Generator().manual_seed(0)])
    compiled = torch.compile(outer.update, fullgraph=True, backend="eager")
    for i in range(3):
        compiled(state, batch(outer, 3, i), noise)
        outer.update(twin, batch(outer, 3, i), noise)
    for (name, a), (_, b) in zip(named_leaves(state), named_leaves(twin), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_its_plan_holds_one_task_for_the_inner_updates():
    plan = reptile(inner_updates=7).plan
    assert (plan.tasks, plan.hold, plan.batch_size) == (1, 7, 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inner": "reptile"}, "wraps another"),
        ({"inner": "nothing"}, "unknown algorithm"),
        ({"inner_updates": 0}, "inner_updates"),
        ({"meta_step": 0.0}, "meta_step"),
        ({"meta_iterations": -1}, "meta_iterations"),
        ({"meta_step_end": 1.5}, "meta_step_end"),
        ({"optimizer": "keep"}, "reset, carry"),
        ({"target": "goes"}, "moves, stays"),
        ({"settings": 3}, "another algorithm"),
    ],
)
def test_impossible_settings_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        algos.find("reptile").Config(**changes)

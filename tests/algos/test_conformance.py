"""Every algorithm, found by name, is held to the contract of core.contracts.Algorithm."""

from unittest.mock import patch

import numpy as np
import pytest
import torch

import algos
from core.tree import map_tree, named_leaves
from tests.algos.made import CASES, HORIZON, SEEING, SPEC, batch, columns_of, made, on_policy, params, seen, spec_of

COMPILED = [case for case in CASES if not on_policy(case[0]) and getattr(made(*case), "whole_graph", True)]
ON_POLICY = [name for name in algos.names() if on_policy(name)]


@pytest.mark.parametrize(("name", "tasks"), CASES)
def test_update_changes_the_state_in_place_and_reports_per_seed(name, tasks):
    algorithm = made(name, tasks)
    state = algorithm.init([7])
    before = {path: (leaf, leaf.clone()) for path, leaf in named_leaves(state)}
    metrics = algorithm.update(state, batch(algorithm, tasks), algorithm.noise(state, [torch.Generator().manual_seed(0)]))
    after = dict(named_leaves(state))
    assert all(after[path] is leaf for path, (leaf, _) in before.items())
    assert any(not torch.equal(leaf, copy) for leaf, copy in before.values())
    assert all(leaf.shape[0] == 1 for leaf in after.values())
    assert metrics
    for value in metrics.values():
        assert value.shape[0] == 1
        assert torch.isfinite(value).all()


@pytest.mark.parametrize(("name", "tasks"), COMPILED)
def test_update_never_waits_for_the_device(name, tasks):
    algorithm = made(name, tasks)
    state = algorithm.init([0])
    one, noise = batch(algorithm, tasks), algorithm.noise(state, [torch.Generator().manual_seed(0)])

    def refuse(*_, **__):
        raise AssertionError("update moved data to the host")

    with patch.multiple(torch.Tensor, item=refuse, cpu=refuse, numpy=refuse, tolist=refuse, __bool__=refuse, __float__=refuse):
        algorithm.update(state, one, noise)


@pytest.mark.parametrize(("name", "tasks"), CASES)
def test_same_inputs_same_bits(name, tasks):
    algorithm = made(name, tasks)
    states = [algorithm.init([5]) for _ in range(2)]
    for state in states:
        generator = torch.Generator().manual_seed(1)
        for i in range(2):
            algorithm.update(state, batch(algorithm, tasks, i), algorithm.noise(state, [generator]))
    for (path, a), (_, b) in zip(named_leaves(states[0]), named_leaves(states[1]), strict=True):
        assert torch.equal(a, b), path


def a_round_learned(algorithm, state, batch, seeds):
    """As the learner goes through it: with what comes between its phases. Returns all that came of it."""
    told = [algorithm.inner(state, batch, phase) for phase in range(algorithm.plan.phases - 1)]
    told.append(algorithm.update(state, batch, torch.tensor(seeds)))
    return list(named_leaves((state, *told)))


@pytest.mark.parametrize("name", ON_POLICY)
def test_seeds_do_not_know_each_other(name):
    algorithm = made(name, 2)
    batches = [batch(algorithm, 2, seed) for seed in (0, 1)]
    both = a_round_learned(algorithm, algorithm.init([3, 4]), map_tree(lambda *one: torch.cat(one), *batches), [7, 8])
    for s, own in enumerate(batches):
        alone = a_round_learned(algorithm, algorithm.init([3 + s]), own, [7 + s])
        for (path, a), (_, b) in zip(both, alone, strict=True):
            assert torch.equal(a[s], b[0]), path
    drawn = algorithm.noise(algorithm.init([0, 1]), [torch.Generator().manual_seed(s) for s in (0, 1)])
    assert (drawn.shape, drawn.dtype) == ((2,), torch.int64)
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("filling", [torch.nan, 1e6])
@pytest.mark.parametrize("name", ON_POLICY)
def test_what_lies_behind_the_end_of_an_episode_has_no_influence(name, filling):
    algorithm = made(name, 2)
    clean = batch(algorithm, 2)
    behind = clean.valid == 0

    def filled(column):
        return torch.where(behind.reshape(*behind.shape, *[1] * (column.dim() - behind.dim())), filling, column)

    dirty = map_tree(filled, clean)._replace(valid=clean.valid)
    one, other = (a_round_learned(algorithm, algorithm.init([0]), given, [0]) for given in (clean, dirty))
    for (path, a), (_, b) in zip(one, other, strict=True):
        assert torch.equal(a, b), path


@pytest.mark.parametrize("name", ON_POLICY)
def test_a_policy_that_runs_away_stays_a_number(name):
    """Standard deviations are so small that a step makes some actions, or the zeros behind an end, e^1000 times as likely."""
    steps = {} if name == "trpo" else {"epochs": 4, "lr": 0.05}
    algorithm = made(name, 2, init_std=0.01, **steps)
    state = algorithm.init([0])
    for _ in range(3):
        metrics = algorithm.update(state, batch(algorithm, 2), algorithm.noise(state, [torch.Generator().manual_seed(1)]))
        assert all(torch.isfinite(value).all() for value in metrics.values()), metrics
    assert all(torch.isfinite(leaf).all() for _, leaf in named_leaves(state))


@pytest.mark.parametrize("name", ON_POLICY)
def test_standard_deviations_stay_in_their_bounds(name):
    """Beyond a bound there is no gradient that would bring one back."""
    steps = {"delta": 1.0} if name == "trpo" else {"lr": 0.1}
    algorithm = made(name, 2, init_std=1.0, min_std=0.999, max_std=1.001, entropy=0.1, **steps)
    state = algorithm.init([0])
    algorithm.update(state, batch(algorithm, 2), algorithm.noise(state, [torch.Generator().manual_seed(1)]))
    stds = [leaf.exp() for path, leaf in named_leaves(state) if path in ("policy.log_std", "params.log_std")]
    assert stds
    assert all(std.min() >= 0.999 - 1e-6 and std.max() <= 1.001 + 1e-6 for std in stds)
    assert any((std != 1).any() for std in stds)


@pytest.mark.parametrize(("name", "tasks"), CASES)
def test_acting_without_noise_is_deterministic(name, tasks):
    """Through an episode, with what the algorithm wants to remember."""
    algorithm = made(name, tasks)
    own = params(algorithm, algorithm.init([0]))
    explores = np.ones((6, algorithm.noise_dim), np.float32)
    for task in range(tasks):
        carries = [None, None, None]
        for t in range(HORIZON):
            now, actions = seen(6, task, first=t == 0, sight=name in SEEING), []
            for i, noise in enumerate((None, None, explores)):
                action, carries[i], extra = algorithm.act(own, carries[i], now, noise)
                assert action.shape == (6, spec_of(name).action_dim)
                assert action.dtype == np.float32
                assert {name: value.shape[1:] for name, value in extra.items()} == columns_of(algorithm)
                actions.append(action)
            assert np.array_equal(actions[0], actions[1])
            assert not np.array_equal(actions[0], actions[2])
            if not on_policy(name):
                assert max(abs(action).max() for action in actions) <= 1


@pytest.mark.parametrize(("name", "tasks"), CASES)
def test_a_trial_begins_without_memory(name, tasks):
    algorithm = made(name, tasks)
    own = params(algorithm, algorithm.init([0]))
    noise, carry = np.ones((6, algorithm.noise_dim), np.float32), None
    for t in range(3):
        _, carry, _ = algorithm.act(own, carry, seen(6, first=t == 0, sight=name in SEEING), noise)
    fresh, _, _ = algorithm.act(own, None, seen(6, sight=name in SEEING), noise)
    again, _, _ = algorithm.act(own, carry, seen(6, sight=name in SEEING), noise)
    np.testing.assert_array_equal(fresh, again)


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_actors_compute_the_learners_policy(tasks, normalize, heads):
    """numpy on the actor against torch on the learner, after updates have moved everything."""
    module = algos.find("sac")
    algorithm = module.make(module.Config(normalize_obs=normalize, multi_head=heads), SPEC, tasks)
    state = algorithm.init([0])
    for i in range(3):
        algorithm.update(state, batch(algorithm, tasks, i), algorithm.noise(state, [torch.Generator().manual_seed(i)]))
    obs = torch.randn(tasks, 8, 5)
    noise = torch.randn(tasks, 8, 2)
    one = map_tree(lambda leaf: leaf[0], state)
    expected, _ = algorithm.sample_action(one.params.policy, algorithm._normalized(obs, one.normalizer), noise)
    which = np.arange(tasks * 8) % tasks  # in no order
    rows = which, np.arange(tasks * 8) // tasks
    now = seen(len(which), which, obs=obs.numpy()[rows])
    action, _, _ = algorithm.act(params(algorithm, state), None, now, noise.numpy()[rows])
    np.testing.assert_allclose(action, expected.numpy()[rows], atol=1e-5)

"""Every algorithm, found by name, is held to the contract of core.contracts.Algorithm."""

from unittest.mock import patch

import numpy as np
import pytest
import torch

import algos
from core.contracts import Algorithm
from core.tree import map_tree, named_leaves
from core.types import Batch, Field, TaskSpec

SPEC = TaskSpec("test", (Field("obs", (5,)),), 2, 100)
CASES = [(name, tasks) for name in algos.names() for tasks in (1, 3)]


def made(name: str, tasks: int) -> Algorithm:
    module = algos.find(name)
    return module.make(module.Config(), SPEC, tasks)


def batch(algorithm: Algorithm, tasks: int, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    lead = (1, tasks, algorithm.plan.batch_size)
    obs, next_obs = torch.randn(*lead, 5, generator=g), torch.randn(*lead, 5, generator=g)
    action = torch.rand(*lead, 2, generator=g) * 2 - 1
    return Batch(obs, action, torch.randn(*lead, generator=g), next_obs, torch.full(lead, algorithm.plan.gamma))


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


@pytest.mark.parametrize(("name", "tasks"), CASES)
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


@pytest.mark.parametrize(("name", "tasks"), CASES)
def test_acting_is_bounded_and_without_noise_deterministic(name, tasks):
    algorithm = made(name, tasks)
    params = {k: v[0].numpy() for k, v in algorithm.policy(algorithm.init([0])).items()}
    obs = np.random.default_rng(0).standard_normal((6, 5), dtype=np.float32)
    for task in [np.full(6, k) for k in range(tasks)]:
        action, _, _ = algorithm.act(params, None, obs, None, task)
        again, _, _ = algorithm.act(params, None, obs, None, task)
        explored, _, _ = algorithm.act(params, None, obs, np.ones((6, 2), np.float32), task)
        assert action.shape == (6, 2)
        assert action.dtype == np.float32
        assert np.array_equal(action, again)
        assert not np.array_equal(action, explored)
        assert max(abs(action).max(), abs(explored).max()) <= 1


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
    params = {k: v[0].numpy() for k, v in algorithm.policy(state).items()}
    which = np.arange(tasks * 8) % tasks  # in no order
    rows = which, np.arange(tasks * 8) // tasks
    action, _, _ = algorithm.act(params, None, obs.numpy()[rows], noise.numpy()[rows], which)
    np.testing.assert_allclose(action, expected.numpy()[rows], atol=1e-5)

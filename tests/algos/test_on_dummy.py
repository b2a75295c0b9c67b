"""Every algorithm against a real simulator's spec: acts, fills its declared columns, updates, and survives a checkpoint bit by bit."""

import numpy as np
import pytest
import torch

import algos
from core.checkpoint import Checkpoints
from core.rows import row_dtype
from core.tree import map_tree, named_leaves
from core.types import Batch
from simulators.pool import SimulatorPool


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("name", algos.names())
def test_an_algorithm_acts_updates_and_comes_back(name, tasks, tmp_path):
    module = algos.find(name)
    with SimulatorPool("dummy:point", [0, 1, 2], {"horizon": 10}) as pool:
        algorithm = module.make(module.Config(), pool.spec, tasks)
        state = algorithm.init([3])
        params = {k: v[0].numpy() for k, v in algorithm.policy(state).items()}
        assert all(v.dtype == np.float32 for v in params.values())
        declared = {field.name: field for field in algorithm.fields()}
        assert set(declared) < set(row_dtype(pool.spec, declared.values()).names) or not declared
        pool.reset([0, 0, 0])
        carry = None
        for t in range(12):
            noise = np.random.default_rng(t).standard_normal((3, 2), dtype=np.float32)
            action, carry, extra = algorithm.act(params, carry, pool.obs["obs"], noise, np.full(3, tasks - 1))
            assert extra.keys() == declared.keys()
            assert all(extra[key].shape == (3, *field.shape) for key, field in declared.items())
            pool.step(action)

        lead = (1, tasks, algorithm.plan.batch_size)
        obs = torch.randn(*lead, pool.spec.obs_dim)
        batch = Batch(obs, torch.rand(*lead, 2) * 2 - 1, torch.randn(lead), obs + 0.1, torch.full(lead, 0.9))
        generator = torch.Generator().manual_seed(0)
        algorithm.update(state, batch, algorithm.noise(state, [generator]))
    Checkpoints(tmp_path).save(1, {"tensors": dict(named_leaves(state))})
    loaded = Checkpoints(tmp_path).load().components["tensors"]
    twin = map_tree(torch.clone, algorithm.init([99]))
    for path, leaf in named_leaves(twin):
        leaf.copy_(loaded[path])
    noise = algorithm.noise(state, [generator])
    for one in (state, twin):
        algorithm.update(one, batch, noise)
    for (path, a), (_, b) in zip(named_leaves(state), named_leaves(twin), strict=True):
        assert torch.equal(a, b), path

"""Every algorithm against a real simulator's spec: acts, fills its declared columns, updates, and survives a checkpoint bit by bit."""

import numpy as np
import pytest
import torch

import algos
from core.abilities import Encoding
from core.checkpoint import Checkpoints
from core.rows import row_dtype
from core.seen import Watch
from core.tree import map_tree, named_leaves
from simulators.pool import SimulatorPool
from tests.algos.made import SEEING, batch, columns_of, made, params


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("name", algos.names())
def test_an_algorithm_acts_updates_and_comes_back(name, tasks, tmp_path):
    task, options = ("blocks:touch", {"size": 16}) if name in SEEING else ("dummy:point", {})
    with SimulatorPool(task, [0, 1, 2], {"horizon": 10, **options}) as pool:
        algorithm = made(name, tasks, pool.spec)
        state = algorithm.init([3])
        own = params(algorithm, state)
        assert all(v.dtype == np.float32 for v in own.values())
        declared, encoded = columns_of(algorithm), algorithm.encoded() if isinstance(algorithm, Encoding) else None
        assert set(declared) < set(row_dtype(pool.spec, algorithm.fields(), encoded).names) or not declared
        pool.reset([0, 0, 0])
        carry, watch = None, Watch(np.full(3, tasks - 1), pool.spec.action_dim)
        for t in range(12):
            noise = np.random.default_rng(t).standard_normal((3, algorithm.noise_dim), dtype=np.float32)
            action, carry, extra = algorithm.act(own, carry, watch.seen(pool.obs), noise)
            assert extra.keys() == declared.keys()
            assert all(extra[key].shape == (3, *shape) for key, shape in declared.items())
            watch.acted(action)
            step = pool.step(np.clip(action, -1, 1))
            watch.stepped(step.reward, step.terminated | step.truncated)

        one = batch(algorithm, tasks, spec=pool.spec)
        generator = torch.Generator().manual_seed(0)
        algorithm.update(state, one, algorithm.noise(state, [generator]))
    Checkpoints(tmp_path).save(1, {"tensors": dict(named_leaves(state))})
    loaded = Checkpoints(tmp_path).load().components["tensors"]
    twin = map_tree(torch.clone, algorithm.init([99]))
    for path, leaf in named_leaves(twin):
        leaf.copy_(loaded[path])
    noise = algorithm.noise(state, [generator])
    for state_of in (state, twin):
        algorithm.update(state_of, one, noise)
    for (path, a), (_, b) in zip(named_leaves(state), named_leaves(twin), strict=True):
        assert torch.equal(a, b), path

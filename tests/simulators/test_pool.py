"""The pool steps exactly what the simulators would do in this process."""

import numpy as np
import psutil
import pytest

import simulators
from core.errors import ConfigError, MissingExtra, SimulatorError
from simulators.pool import SimulatorPool


def _actions(steps, n, dim=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n, dim)).astype(np.float32)


def _copy(observation):
    return {name: value.copy() for name, value in observation.items()}


def _assert_equal(pooled, slot, direct):
    for name, value in direct.items():
        np.testing.assert_array_equal(pooled[name][slot], value, err_msg=name)
        assert pooled[name].dtype == value.dtype


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("task", ["dummy:point", "dummy:counter"])
def test_equals_stepping_directly(task, workers):
    """Over ends of episodes, by truncation and by termination, with every dtype."""
    options = {"horizon": 7, "terminate_on_success": True}
    seeds, variations = [11, 12, 70001, 14, 15], [0, 1, 2, 3, 40]
    direct = [simulators.make(task, seed, **options) for seed in seeds]
    with SimulatorPool(task, seeds, options, workers=workers) as pool:
        assert pool.spec == direct[0].spec
        pool.reset(variations)
        for slot, simulator in enumerate(direct):
            _assert_equal(pool.obs, slot, simulator.reset(variations[slot]))
        for actions in _actions(25, len(seeds)):
            got = pool.step(actions)
            assert not got.lost.any()
            for slot, simulator in enumerate(direct):
                step = simulator.step(actions[slot])
                _assert_equal(got.closing, slot, step.obs)
                assert got.reward[slot] == np.float32(step.reward)
                assert (got.terminated[slot], got.truncated[slot], got.success[slot]) == step[2:]
                obs = step.obs
                if step.terminated or step.truncated:
                    variations[slot] += 1
                    obs = simulator.reset(variations[slot])
                _assert_equal(got.obs, slot, obs)
            assert pool.variations.tolist() == variations
        assert pool.failures == 0


def test_the_final_observation_is_kept():
    with SimulatorPool("dummy:counter", [1, 2], {"horizon": 3}) as pool:
        pool.reset([5, 6])
        for actions in _actions(3, 2):
            got = pool.step(actions)
    assert got.truncated.tolist() == [True, True]
    assert got.closing["obs"][:, 1:3].tolist() == [[5, 3], [6, 3]]
    assert got.obs["obs"][:, 1:3].tolist() == [[6, 0], [7, 0]]


@pytest.mark.parametrize("task", ["dummy:point", pytest.param("metaworld:push-v3", marks=pytest.mark.metaworld)])
def test_replay_restores_mid_episode_bit_for_bit(task):
    lengths = [9, 0, 4]
    with SimulatorPool(task, [1, 2, 3], workers=2) as pool:
        dim = pool.spec.action_dim
        actions = _actions(20, 3, dim)
        taken = [actions[:length, slot] for slot, length in enumerate(lengths)]
        pool.replay([4, 5, 6], taken)
        assert pool.variations.tolist() == [4, 5, 6]
        resumed = [_copy(pool.obs)] + [_copy(pool.step(a).obs) for a in _actions(5, 3, dim, seed=7)]
    for slot, (variation, length) in enumerate(zip([4, 5, 6], lengths, strict=True)):
        simulator = simulators.make(task, slot + 1)
        obs = simulator.reset(variation)
        for action in taken[slot][:length]:
            obs = simulator.step(action).obs
        _assert_equal(resumed[0], slot, obs)
        for t, a in enumerate(_actions(5, 3, dim, seed=7)):
            _assert_equal(resumed[t + 1], slot, simulator.step(a[slot]).obs)


def test_replay_of_a_closed_episode_is_refused():
    with SimulatorPool("dummy:point", [1], {"horizon": 3}) as pool, pytest.raises(SimulatorError, match="not of an open episode"):
        pool.replay([0], [_actions(3, 1)[:, 0]])


def test_reset_in_the_middle_of_a_step():
    with SimulatorPool("dummy:counter", [1]) as pool:
        pool.reset([0])
        pool.send(_actions(1, 1)[0])
        pool.reset([3])
        assert pool.obs["obs"][0, 1:3].tolist() == [3, 0]
        assert pool.step(_actions(1, 1)[0]).obs["obs"][0, 2] == 1


def test_misuse_is_told():
    with SimulatorPool("dummy:point", [1, 2]) as pool:
        pool.reset([0, 0])
        with pytest.raises(SimulatorError, match="shape"):
            pool.send(np.zeros((1, 2), np.float32))
        with pytest.raises(SimulatorError, match="finite"):
            pool.send(np.full((2, 2), np.nan, np.float32))
        with pytest.raises(SimulatorError, match="without send"):
            pool.recv()
        pool.send(np.zeros((2, 2), np.float32))
        with pytest.raises(SimulatorError, match="twice"):
            pool.send(np.zeros((2, 2), np.float32))
    with pytest.raises(SimulatorError, match="closed"):
        pool.step(np.zeros((2, 2), np.float32))


def test_close_twice_leaves_no_process():
    before = set(psutil.Process().children())
    pool = SimulatorPool("dummy:point", range(3), workers=3)
    assert len(set(psutil.Process().children()) - before) >= 3
    pool.close()
    pool.close()
    assert set(psutil.Process().children()) <= before


@pytest.mark.parametrize(
    ("name", "seeds", "options", "workers", "says"),
    [
        ("dummy:pont", [1], {}, 1, "Perhaps you meant 'point'"),
        ("dummy:point", [1], {"hrizon": 1}, 1, "Perhaps you meant 'horizon'"),
        ("dummy:point", [1, 2], {}, 3, "workers is 3"),
        ("dummy:point", [], {}, 1, "workers is 1"),
        ("dummy:point", [1, -2], {}, 1, "negative"),
        ("gym:Nothing-v1", [1], {}, 1, "not an environment"),
    ],
)
def test_impossible_settings(name, seeds, options, workers, says):
    before = set(psutil.Process().children())
    with pytest.raises(ConfigError, match=says):
        SimulatorPool(name, seeds, options, workers=workers)
    assert set(psutil.Process().children()) <= before


def test_a_missing_package_is_named_by_the_worker(tmp_path, monkeypatch):
    (tmp_path / "gymnasium.py").write_text("raise ImportError('hidden for the test')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="pip install"):
        SimulatorPool("gym:Pendulum-v1", [1])

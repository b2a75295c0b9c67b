"""Every simulator that exists is held to the contract: shapes, dtypes, determinism, ends of episodes. New ones are found by discovery."""

import numpy as np
import pytest

import simulators
from core.contracts import Simulator
from simulators.pool import SimulatorPool
from tests.drawing import draws

_TRIED = {
    "gym": ("Pendulum-v1",),
    "metaworld": ("reach-v3", "push-v3", "door-lock-v3", "drawer-open-v3", "window-close-v3"),
    "metaworld_vision": ("reach-v3", "peg-insert-side-v3"),
    "rlbench": ("reach_target", "push_buttons"),
}
"""Simulators with many or no listed tasks: these stand for all. Others are tried with every task."""


def _names():
    for simulator in simulators.names():
        marks = [pytest.mark.metaworld] if simulator.startswith("metaworld") else []
        marks += [draws] if simulator == "metaworld_vision" else []
        for task in _TRIED.get(simulator) or simulators._module(simulator).tasks():
            yield pytest.param(f"{simulator}:{task}", marks=marks)


every = pytest.mark.parametrize("name", list(_names()))
STEPS = 100
_alone: list[Simulator] = []


@pytest.fixture(autouse=True)
def _where_it_is_installed(request):
    """RLBench is tried on its double."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if params.get("name", "").startswith("rlbench:"):
        request.getfixturevalue("rlbench_double")
    yield
    _alone.clear()


def _made(name, seed, **options):
    """A simulator. Where a process can have but one, the one before is closed."""
    if not getattr(simulators._module(simulators.split(name)[0]), "ONE_PER_PROCESS", False):
        return simulators.make(name, seed, **options)
    while _alone:
        _alone.pop().close()
    _alone.append(simulators.make(name, seed, **options))
    return _alone[-1]


def _actions(spec, steps=STEPS):
    """Random ones. What a keyframe cannot reach would end the episode: those stay near the middle."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (steps, spec.action_dim))
    return (drawn * (0.25 if spec.keyframes else 1.0)).astype(np.float32)


def _roll(simulator, variation, steps=STEPS):
    """First observations (steps + 1, O) of an episode, and its rewards (steps,)."""
    seen, rewards = [simulator.reset(variation)["obs"]], []
    for action in _actions(simulator.spec, steps):
        step = simulator.step(action)
        seen.append(step.obs["obs"])
        rewards.append(step.reward)
        if step.terminated or step.truncated:
            break
    return np.array(seen), np.array(rewards)


@every
def test_the_spec_is_kept(name):
    simulator = _made(name, 3)
    assert isinstance(simulator, Simulator)
    spec = simulator.spec
    assert spec.task == name
    assert (spec.observation[0].name, spec.observation[0].dtype) == ("obs", "float32")
    step = None
    for observation in (simulator.reset(0), (step := simulator.step(np.zeros(spec.action_dim, np.float32))).obs):
        assert list(observation) == [field.name for field in spec.observation]
        for field in spec.observation:
            assert (observation[field.name].shape, observation[field.name].dtype) == (field.shape, field.dtype)
    assert [type(value) for value in step[1:]] == [float, bool, bool, bool]
    simulator.close()
    simulator.close()


@every
def test_another_process_and_a_used_simulator_see_the_same_bits(name):
    used = _made(name, 5)
    _roll(used, 8, steps=20)
    seen, rewards = _roll(used, 2)
    with SimulatorPool(name, [5]) as pool:
        pool.reset([2])
        elsewhere, rewards_elsewhere = [pool.obs["obs"][0].copy()], []
        for action in _actions(pool.spec)[: len(rewards)]:
            step = pool.step(action[None])
            elsewhere.append(step.closing["obs"][0].copy())
            rewards_elsewhere.append(step.reward[0])
    np.testing.assert_array_equal(seen, elsewhere)
    np.testing.assert_array_equal(rewards.astype(np.float32), rewards_elsewhere)


@pytest.mark.parametrize("name", [one for one in _names() if one.values != ("semicircle:sparse",)])
def test_other_seeds_and_variations_differ(name):
    """In what is first observed, or where nothing is to be seen at first, in what actions bring. Where rewards are sparse, that needs to
    get there first: the semicircle's own tests do."""
    one, two = ([_bytes(_made(name, seed), v) for v in range(4)] for seed in (0, 1))
    # Two episodes may share a goal of the set of 50: several are compared.
    assert any(other != one[0] for other in one[1:])
    assert one != two


def _bytes(simulator, variation):
    """Of a first observation, images too, and of what ten actions bring."""
    first = simulator.reset(variation)
    return [part.tobytes() for part in (*first.values(), *_roll(simulator, variation, steps=10))]


def _framed():
    """(simulator, options) of which a part repeats the step before, in each way it can be asked for."""
    for one in _names():
        yield pytest.param(*one.values, {}, marks=one.marks)
        if one.values[0].startswith("dummy:"):
            yield pytest.param(*one.values, {"frames": 2}, marks=one.marks)
        if one.values[0].startswith("metaworld:"):
            for options in ({"frames": 1}, {"step": "stock"}, {"reset_every": 3, "horizon": 20}, {"hide_goal": True}):
                yield pytest.param(*one.values, options, marks=one.marks)


@pytest.mark.parametrize(("name", "options"), list(_framed()))
def test_what_the_spec_calls_repeated_is_the_frame_of_the_step_before(name, options):
    """Replay stores it once: from an episode's first step on, the numbers F to 2F are what the first F were, bit by bit."""
    simulator = _made(name, 6, **options)
    F = simulator.spec.repeated
    with SimulatorPool(name, [6], options) as pool:
        assert pool.spec == simulator.spec
    assert 0 <= 2 * F <= simulator.spec.obs_dim
    if name.startswith("metaworld:"):
        assert bool(F) == (options.get("frames") != 1)
    assert F or options.get("frames") != 2
    for variation in (2, 3, 4):
        seen, _ = _roll(simulator, variation, steps=40)
        assert seen[1:, F : 2 * F].tobytes() == seen[:-1, :F].tobytes()


@every
def test_the_horizon_is_exact_and_only_truncates(name):
    simulator = _made(name, 0, horizon=7)
    assert simulator.spec.horizon == 7
    for variation in range(2):
        simulator.reset(variation)
        ends = [simulator.step(action)[2:4] for action in _actions(simulator.spec, 7)]
        assert ends == [(False, False)] * 6 + [(False, True)]


@every
def test_what_was_observed_stays(name):
    """A returned array is not written again: the caller may keep it."""
    simulator = _made(name, 0)
    first = simulator.reset(0)
    before = {field: value.copy() for field, value in first.items()}
    for action in _actions(simulator.spec, 3):
        simulator.step(action)
    simulator.reset(1)
    for field, value in first.items():
        np.testing.assert_array_equal(value, before[field])


@every
def test_the_global_random_state_is_left_alone(name):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    _roll(_made(name, 0), 1, steps=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_the_point_can_reach_its_goal_and_terminate():
    simulator = _made("dummy:point", 4, terminate_on_success=True)
    obs = simulator.reset(1)["obs"]
    for _ in range(50):
        step = simulator.step(np.clip(10 * (obs[2:] - obs[:2]), -1, 1))
        obs = step.obs["obs"]
        if step.terminated:
            break
    assert step.success
    assert (step.terminated, step.truncated) == (True, False)
    assert -0.1 < step.reward <= 0


def test_the_counter_tells_what_it_is():
    simulator = _made("dummy:counter", 70000)
    simulator.reset(9)
    simulator.step(np.array([0.5, -1], np.float32))
    step = simulator.step(np.array([0.25, 1], np.float32))
    assert step.obs["obs"].tolist() == [70000 - 65536, 9, 2, 1, 0.25, 1]
    assert step.reward == 2.0

"""The fast step of Meta-World has the bits of stock's, alone and in blocks, in all tasks; where it cannot be had, stock steps."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import simulators
from core.contracts import BlockArrays
from core.errors import ConfigError, SimulatorError
from simulators.metaworld import native, stock
from simulators.metaworld.experts import expert
from simulators.metaworld.fast import FastStep, origin
from simulators.metaworld.goals import vectors
from simulators.metaworld.tasks import TASKS
from tests.simulators.identity import compare

# CI brings a compiler: there a missing one is a failure, not a reason to look away.
COMPILER = "CI" in os.environ or any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++"))))
pytestmark = [pytest.mark.metaworld, pytest.mark.skipif(not COMPILER, reason="no C++ compiler: there is no fast step on this machine")]
SAMPLE = ("assembly-v3", "hammer-v3", "pick-place-v3", "push-v3", "soccer-v3", "stick-pull-v3")
"""live views as initial values, float32 rewards, several objects, the other ways to grasp"""
KNOWN_TO_DIFFER: tuple[str, ...] = ()
"""tasks that stock steps, because no port of them has its bits"""
SETTINGS = stock.Stepping()


def test_this_machine_has_the_fast_step_and_every_task_its_port():
    assert native.unavailable() == ""
    assert sorted(native.task_index()) == sorted(set(TASKS) - set(KNOWN_TO_DIFFER))


@pytest.mark.parametrize("task", SAMPLE)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_sample_has_the_bits_of_stock(task, version):
    found = compare(task, version, 600, goals=2, episode_steps=100)
    assert not found.found
    assert found.steps == 600
    assert found.rewards > 300


@pytest.mark.identity
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_task_has_the_bits_of_stock(task, version):
    assert not compare(task, version, 4000).found
    assert not compare(task, version, 800, hide_goal=True, episode_steps=100).found


def _draws_without_physics(task):
    """Three draws with and without the physics steps of a reset, and the resets that follow."""
    quick, whole = (stock.environment(task, "v2", hide_goal=False) for _ in range(2))
    for seed in range(3):
        drawn = stock.draw(quick, seed)
        whole._freeze_rand_vec = False
        whole.seed(seed)
        whole.reset_model()
        np.testing.assert_array_equal(drawn, whole._last_rand_vec)
        np.testing.assert_array_equal(stock.begin(quick, drawn), stock.begin(whole, drawn))
        np.testing.assert_array_equal(quick.data.qpos, whole.data.qpos)


@pytest.mark.parametrize("task", ["door-open-v3", "pick-place-v3", "shelf-place-v3"])
def test_a_draw_needs_no_physics(task):
    _draws_without_physics(task)


@pytest.mark.identity
@pytest.mark.parametrize("task", TASKS)
def test_no_tasks_draw_needs_physics(task):
    _draws_without_physics(task)


@pytest.mark.identity
@pytest.mark.parametrize("task", TASKS)
def test_a_reset_moves_nothing_of_the_model_but_bodies_and_sites(task):
    """What a snapshot does not hold must not change."""
    from mujoco import MjModel

    env = stock.environment(task, "v1", hide_goal=False)
    arrays = [name for name in dir(MjModel) if not name.startswith("_") and isinstance(getattr(env.model, name), np.ndarray)]
    assert {"body_pos", "site_pos", "geom_pos", "body_quat"} < set(arrays)
    before = {name: getattr(env.model, name).copy() for name in arrays}
    for vector in vectors(task, "train")[:3]:
        stock.begin(env, vector)
    moved = {name for name in arrays if getattr(env.model, name).tobytes() != before[name].tobytes()}  # some hold NaN
    assert moved <= {"body_pos", "site_pos"}


@pytest.mark.parametrize("step", ["fast", "stock"])
def test_success_can_be_judged_by_the_same_rule_under_both_rewards(step):
    """Under v1 stock compares two fixed points in hand-insert and is never satisfied."""
    found = {}
    for version in ("v1", "v2"):
        for rule in ("of_reward", "v2"):
            simulator = simulators.make("metaworld:hand-insert-v3", 0, reward_version=version, success_rule=rule, step=step)
            obs, act, successes = simulator.reset(0)["obs"], expert("hand-insert-v3"), []
            for _ in range(80):
                got = simulator.step(act(obs))
                obs = got.obs["obs"]
                successes.append(got.success)
            found[version, rule] = successes
    assert not any(found["v1", "of_reward"])
    assert any(found["v2", "of_reward"])
    assert found["v1", "v2"] == found["v2", "v2"] == found["v2", "of_reward"]


def _actions(steps=40, n=1):
    return np.random.default_rng(1).uniform(-1.5, 1.5, (steps, n, 4)).astype(np.float32)


def _roll(step, vector, actions):
    seen = [step.begin(vector)]
    rewards = []
    for action in actions:
        obs, reward, *_ = step.step(action)
        seen.append(obs)
        rewards.append(reward)
    return np.array(seen), np.array(rewards)


@pytest.mark.parametrize("task", ["push-v3", "door-lock-v3", "peg-insert-side-v3"])
def test_simulators_that_share_a_model_do_not_meet(task):
    """They are stepped in turn, in episodes with other goals, which move bodies of the one model."""
    goals, actions = vectors(task, "train")[:3], _actions()[:, 0]
    alone = [_roll(FastStep(task, SETTINGS), goal, actions) for goal in goals]
    together = [FastStep(task, SETTINGS) for _ in goals]
    seen = [[step.begin(goal)] for step, goal in zip(together, goals, strict=True)]
    rewards = [[] for _ in goals]
    for t, action in enumerate(actions):
        for i, step in enumerate(together):
            obs, reward, *_ = step.step(action)
            seen[i].append(obs)
            rewards[i].append(reward)
        if t % 10 == 0:
            origin(task).snapshot(vectors(task, "test")[t])  # a reset in between moves the model too
    for i in range(len(goals)):
        np.testing.assert_array_equal(seen[i], alone[i][0])
        np.testing.assert_array_equal(rewards[i], alone[i][1])


def test_a_snapshot_is_the_reset_it_was_taken_of():
    """From the cache, after other episodes, and from a cache that has forgotten it."""
    step, (one, other), actions = FastStep("pick-place-v3", SETTINGS), vectors("pick-place-v3", "train")[:2], _actions()[:, 0]
    first = _roll(step, one, actions)
    _roll(step, other, actions)
    again = _roll(step, one, actions)
    step.origin._snapshots.clear()
    anew = _roll(step, one, actions)
    for later in (again, anew):
        np.testing.assert_array_equal(first[0], later[0])
        np.testing.assert_array_equal(first[1], later[1])


def test_old_snapshots_are_forgotten(monkeypatch):
    monkeypatch.setattr("simulators.metaworld.fast._KEPT", 2)
    step = FastStep("reach-v3", SETTINGS)
    step.origin._snapshots.clear()
    for vector in vectors("reach-v3", "train")[:4]:
        step.begin(vector)
    assert len(step.origin._snapshots) == 2


@pytest.mark.parametrize("frames", [1, 2])
def test_a_block_is_its_simulators_one_by_one(frames):
    names = ["metaworld:push-v3", "metaworld:reach-v3", "metaworld:push-v3"]
    options = {"frames": frames, "horizon": 20}
    alone = [simulators.make(name, seed, **options) for seed, name in enumerate(names)]
    blocked = [simulators.make(name, seed, **options) for seed, name in enumerate(names)]
    arrays = _arrays(3, alone[0].spec.obs_dim)
    block = simulators.block(names, blocked, arrays)
    for simulator in (*alone, *blocked):
        simulator.reset(2)
    for actions in _actions(20, 3):
        arrays.action[:] = actions
        ended = block.step()
        assert ended == arrays.truncated.any()
        np.testing.assert_array_equal(arrays.obs["obs"], arrays.closing["obs"])
        for i, simulator in enumerate(alone):
            step = simulator.step(actions[i])
            np.testing.assert_array_equal(arrays.closing["obs"][i], step.obs["obs"])
            assert arrays.reward[i] == np.float32(step.reward)
            assert (arrays.success[i], arrays.truncated[i]) == (step.success, step.truncated)
    assert arrays.truncated.all()
    assert arrays.progress[1] == 7 + 2


def test_before_a_reset_and_after_the_end_nothing_is_stepped():
    step = FastStep("reach-v3", SETTINGS)
    with pytest.raises(SimulatorError, match="before its first reset"):
        step.step(np.zeros(4, np.float32))
    step.begin(vectors("reach-v3", "train")[0])
    with pytest.raises(SimulatorError, match=r"shape \(2,\)"):
        step.step(np.zeros(2, np.float32))
    step.close()
    step.close()
    for use in (lambda: step.step(np.zeros(4, np.float32)), step.go_on, lambda: step.begin(vectors("reach-v3", "train")[0])):
        with pytest.raises(SimulatorError, match="closed"):
            use()


def test_a_block_that_was_not_reset_says_so():
    made = [simulators.make("metaworld:reach-v3", 0)]
    with pytest.raises(SimulatorError, match="before its first reset"):
        simulators.block(["metaworld:reach-v3"], made, _arrays(1, 39)).step()


def test_threads_that_share_a_model_take_turns():
    task, actions = "door-open-v3", _actions()[:, 0]
    goals = vectors(task, "train")[:4]
    wanted = [_roll(FastStep(task, SETTINGS), goal, actions) for goal in goals]
    steps = [FastStep(task, SETTINGS) for _ in goals]
    steps[0].origin._snapshots.clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: _roll(*pair, actions), zip(steps, goals, strict=True)))
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_block_says_which_simulator_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [simulators.make("metaworld:reach-v3", seed) for seed in range(3)]
    arrays = _arrays(3, 39)
    block = simulators.block(["metaworld:reach-v3"] * 3, made, arrays)
    for simulator in made:
        simulator.reset(0)
    made[1].stepper.data.qvel[:] = 1e12
    with pytest.raises(SimulatorError, match="unstable") as error:
        block.step()
    assert error.value.retryable
    assert arrays.progress[1] == 7 + 1


def test_a_reward_that_is_not_finite_never_leaves_a_block(monkeypatch):
    made = [simulators.make("metaworld:reach-v3", seed) for seed in range(2)]
    arrays = _arrays(2, 39)
    block = simulators.block(["metaworld:reach-v3"] * 2, made, arrays)
    made[0].reset(0)
    source = made[1].stepper.origin
    source._snapshots.clear()
    monkeypatch.setattr(source, "_constants", lambda: np.full(12 + native.MAX_EXTRAS, np.nan))
    made[1].reset(0)
    source._snapshots.clear()
    with pytest.raises(SimulatorError, match="not finite") as error:
        block.step()
    assert not error.value.retryable
    assert arrays.progress[1] == 7 + 1


def test_stock_simulators_make_no_block():
    made = [simulators.make("metaworld:reach-v3", 0, step=step) for step in ("fast", "stock")]
    assert simulators.block(["metaworld:reach-v3"] * 2, made, _arrays(2, 39)) is None


def _arrays(n, width):
    flags = (np.zeros(n, bool) for _ in range(3))
    return BlockArrays(
        np.zeros((n, 4), np.float32),
        {"obs": np.zeros((n, width), np.float32)},
        {"obs": np.zeros((n, width), np.float32)},
        np.zeros(n, np.float32),
        *flags,
        np.zeros(8),
        first_slot=7,
    )


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A machine that has not compiled the step yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for cached in (native.library, native.unavailable, native.task_index, origin):
        cached.cache_clear()
    yield tmp_path
    for cached in (native.library, native.unavailable, native.task_index, origin):
        cached.cache_clear()


def test_without_a_compiler_stock_steps(elsewhere, monkeypatch):
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.delenv("CXX", raising=False)
    assert "apt install g++" in native.unavailable()
    with pytest.warns(RuntimeWarning, match="reach-v3 is stepped by stock"):
        simulator = simulators.make("metaworld:reach-v3", 0)
    simulator.reset(0)
    assert simulator.step(np.zeros(4, np.float32)).obs["obs"].shape == (39,)
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler"):
        simulators.make("metaworld:reach-v3", 0, step="fast")


def test_a_compiler_that_fails_is_quoted(elsewhere, monkeypatch):
    broken = elsewhere / "broken-c++"
    broken.write_text(f"#!/bin/sh\necho called >> {elsewhere}/calls; echo no such standard >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    for _ in range(3):
        assert "no such standard" in native.unavailable()
        native.unavailable.cache_clear()
    assert [path.name for path in (elsewhere / "manyhands").glob("*.so")] == []
    assert (elsewhere / "calls").read_text().count("called") == 3 + 1, "each asked for its version, one to compile"


def test_a_damaged_library_is_made_again(elsewhere, monkeypatch):
    assert native.unavailable() == ""
    (made,) = (elsewhere / "manyhands").glob("*.so")
    damaged = elsewhere / "other" / "manyhands" / made.name  # another path: what is loaded stays loaded
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"short")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "other"))
    found = []
    for _ in range(2):
        native.library.cache_clear()
        native.unavailable.cache_clear()
        found.append(native.unavailable())
    assert "was damaged" in found[0]
    assert found[1] == ""
    assert damaged.stat().st_size > 10_000


def test_a_user_without_a_home_has_stocks_step(elsewhere, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(native.Path, "home", homeless)
    assert "home directory" in native.unavailable()


def test_a_folder_that_cannot_be_written_is_named(elsewhere, monkeypatch):
    (elsewhere / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "file"))
    assert "set XDG_CACHE_HOME" in native.unavailable()


def test_other_bits_are_refused(monkeypatch):
    """The checks at load notice a function whose last bit is another one."""
    lib, sin = native.library(), np.sin
    monkeypatch.setattr(np, "sin", lambda x: np.nextafter(sin(x), 2.0))
    with pytest.raises(native.Unavailable, match=r"np\.sin has other last bits"):
        native._check(lib)
    monkeypatch.undo()
    math = lib.metaworld_math().contents
    monkeypatch.setattr(math, "fused_dot", 1 - math.fused_dot)
    with pytest.raises(native.Unavailable, match=r"np\.linalg\.norm has other last bits"):
        native._check(lib)


def test_it_is_compiled_once(elsewhere, monkeypatch):
    assert native.unavailable() == ""
    native.library.cache_clear()
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("compiled again"))
    native.library()

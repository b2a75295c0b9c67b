"""Runs that begin with another run's networks: the same functions, by the names of tasks; what is frozen, what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from algos.lib.mlp import init_mlp, mlp, task_mlp
from algos.lib.transfer import network
from algos.sac import Config, make
from core.errors import ConfigError
from core.tree import index_tree, map_tree, named_leaves
from manyhands import build
from manyhands.config import InitConfig
from manyhands.config_file import load, save
from manyhands.session import resume, train_seeds
from manyhands.warm_start import Source, fitted
from tests.algos.made import ACT, OBS, SPEC, batch, seen
from tests.system.tiny import assert_equal, saved, tiny

SIZES = {"hidden": (16, 16), "batch_size": 8}
OLD = ("dummy:point", "dummy:counter", "dummy:third")


def updated(tasks: int = 3, updates: int = 3, **settings):
    """An algorithm and a state of it that has learned something everywhere."""
    algorithm = make(Config(**SIZES | settings), SPEC, tasks)
    state = algorithm.init([1])
    for i in range(updates):
        algorithm.update(state, batch(algorithm, tasks, i), algorithm.noise(state, [torch.Generator().manual_seed(i)]))
    return algorithm, state


def begun(old, state, origin, *, policy_only=False, **changes):
    """A new algorithm for ``len(origin)`` tasks, its fresh state, and that state with the old networks."""
    new = make(replace(old.config, **changes), SPEC, len(origin))
    fresh = new.init([9])
    return new, fresh, new.begin_from(fresh, old, state, origin, policy_only=policy_only)


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("stack", [None, 2])
def test_a_network_keeps_its_functions(heads, stack):
    """Known tasks exactly; a new one that of the mean row and head; a single one without one-hot."""
    g = torch.Generator().manual_seed(0)
    old = init_mlp((OBS + 3, 16, 16, 4), g, stack=stack, heads=3 if heads else None)
    old = {k: v.double() for k, v in old.items()}
    x = torch.randn(1, 7, OBS, generator=g, dtype=torch.float64)
    want = task_mlp(old, x.expand(3, -1, -1), heads=heads)
    several = network(old, [2, 0], told=3, tells=2, heads=heads)
    got = task_mlp(several, x.expand(2, -1, -1), heads=heads)
    for i, k in enumerate([2, 0]):
        torch.testing.assert_close(got[..., i, :, :], want[..., k, :, :], rtol=0, atol=1e-14)
        one = network(old, [k], told=3, tells=0, heads=heads)
        assert one["w0"].shape[-2] == OBS
        torch.testing.assert_close(task_mlp(one, x, heads=heads)[..., 0, :, :], want[..., k, :, :], rtol=0, atol=1e-14)
    mean = network(old, [None], told=3, tells=0, heads=heads)
    exact = {name: leaf.clone() for name, leaf in old.items()}
    exact["w0"] = torch.cat([old["w0"][..., :OBS, :], old["w0"][..., OBS:, :].mean(-2, keepdim=True)], -2)
    if heads:
        exact |= {name: old[name].mean(-3) for name in ("w2", "b2")}
    told = torch.cat([x[0], torch.ones(7, 1, dtype=torch.float64)], 1)
    torch.testing.assert_close(task_mlp(mean, x, heads=heads)[..., 0, :, :], mlp(exact, told), rtol=0, atol=1e-14)


def test_from_one_task_to_several():
    g = torch.Generator().manual_seed(0)
    old = init_mlp((OBS, 16, 4), g)
    x = torch.randn(3, 7, OBS, generator=g)
    torch.testing.assert_close(task_mlp(network(old, [0, None, None], told=0, tells=3, heads=False), x, heads=False), mlp(old, x))


@pytest.mark.parametrize("heads", [False, True])
def test_sac_acts_and_judges_as_before(heads):
    old, state = updated(normalize_obs=True, normalize_reward=True, multi_head=heads)
    new, _, then = begun(old, state, [1])
    assert {name: tuple(leaf.shape) for name, leaf in named_leaves(then)} == {
        name: tuple(leaf.shape) for name, leaf in named_leaves(new.init([0]))
    }
    obs = np.random.default_rng(0).standard_normal((6, OBS), dtype=np.float32)
    noise = np.ones((6, ACT), np.float32)

    def acts(algorithm, of, task):
        own = {k: v[0].numpy() for k, v in algorithm.policy(of).items()}
        return algorithm.act(own, None, seen(6, task, obs=obs), noise)[0]

    np.testing.assert_allclose(acts(new, then, 0), acts(old, state, 1), atol=1e-6)
    x, a = torch.from_numpy(obs), torch.rand(6, ACT)
    for which in ("critic", "target"):
        one, other = (s.target if which == "target" else s.params.critic for s in (index_tree(state, 0), index_tree(then, 0)))
        want = old.q_values(one, x.expand(3, -1, -1), a.expand(3, -1, -1))[:, 1]
        torch.testing.assert_close(new.q_values(other, x[None], a[None])[:, 0], want, atol=1e-6, rtol=0)
    assert then.params.log_alpha["log_alpha"][0, 0] == state.params.log_alpha["log_alpha"][0, 1]
    assert then.normalizer.reward_square[0, 0] == state.normalizer.reward_square[0, 1]
    assert then.updates.item() == 0
    assert all((leaf == 0).all() for _, leaf in named_leaves((then.policy_adam, then.critic_adam, then.alpha_adam)))


def test_a_new_task_among_old_ones():
    old, state = updated(normalize_reward=True)
    _, _, then = begun(old, state, [0, 1, 2, None])
    temperatures = state.params.log_alpha["log_alpha"][0]
    assert torch.equal(then.params.log_alpha["log_alpha"][0, :3], temperatures)
    torch.testing.assert_close(then.params.log_alpha["log_alpha"][0, 3], temperatures.mean())
    rows = state.params.policy["w0"][0, OBS:]
    assert torch.equal(then.params.policy["w0"][0, OBS:-1], rows)
    torch.testing.assert_close(then.params.policy["w0"][0, -1], rows.mean(0))
    assert then.normalizer.reward_batches[0].tolist() == [3, 3, 3, 0], "the new task's rewards are measured anew"


def test_policy_only():
    old, state = updated(normalize_obs=True)
    _, fresh, then = begun(old, state, [0, 1, 2], policy_only=True)
    assert all(torch.equal(then.params.policy[k], state.params.policy[k]) for k in state.params.policy)
    assert torch.equal(then.normalizer.mean, state.normalizer.mean)
    assert then.params.critic is fresh.params.critic
    assert then.target is fresh.target
    assert then.params.log_alpha is fresh.params.log_alpha


# ---- what moves -------------------------------------------------------------------------------------------------------


def after(algorithm, state, updates: int):
    state = map_tree(torch.clone, state)
    for i in range(updates):
        algorithm.update(state, batch(algorithm, algorithm.tasks, 50 + i), algorithm.noise(state, [torch.Generator().manual_seed(i)]))
    return dict(named_leaves(state))


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("train", ["all", "actor", "last_layer"])
def test_what_is_frozen_stays_bit_by_bit(train, heads):
    old, state = updated(multi_head=heads, max_grad_norm=1.0)
    new, _, then = begun(old, state, [0, None, 2], train=train)
    moved = {name for name, leaf in after(new, then, 3).items() if not torch.equal(leaf, dict(named_leaves(then))[name])}
    params = {name.removeprefix("params.") for name in moved if name.startswith("params.")}
    layers = {f"{kind}{i}" for kind in "wb" for i in range(3)}
    policy, critic = {f"policy.{name}" for name in layers}, {f"critic.{name}" for name in layers}
    output = {f"{net}.{name}" for net in ("policy", "critic") for name in ("w2", "b2")}
    expected = {"all": policy | critic, "actor": policy, "last_layer": output}[train]
    assert params == expected | {"log_alpha.log_alpha"}


def test_while_critics_warm_up_only_they_learn():
    old, state = updated()
    new, _, then = begun(old, state, [0, 1, 2], critic_warm_up=2)
    begin = dict(named_leaves(then))
    two, three = after(new, then, 2), after(new, then, 3)
    for name, leaf in begin.items():
        if name.startswith(("params.policy", "params.log_alpha", "policy_adam", "alpha_adam")):
            assert torch.equal(two[name], leaf), name
            assert not torch.equal(three[name], leaf), name
        elif name.startswith(("params.critic", "target")):
            assert not torch.equal(two[name], leaf), name
    step = (three["params.policy.b0"] - begin["params.policy.b0"]).abs().max().item()
    assert step == pytest.approx(new.config.policy_lr, rel=1e-2), "Adam's first step, bias-corrected"


# ---- which run goes with which ----------------------------------------------------------------------------------------


def source(algorithm, state, **changes) -> Source:
    config = replace(tiny(), tasks=OLD[: algorithm.tasks], algo=algorithm.config, **changes)
    return Source("old-s0-0000", 100, config, dict(named_leaves(state)))


def test_tasks_are_found_by_their_names():
    old, state = updated(tasks=2)
    config = replace(tiny(), tasks=("dummy:counter", "dummy:point"), algo=old.config)
    got = fitted(config, SPEC, source(old, state))
    want = state.params.policy["w0"]
    assert torch.equal(got["params.policy.w0"][0, OBS:], want[0, OBS:].flip(0))
    assert not [name for name in got if "adam" in name or name == "updates"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": (16, 8)}, r"algo.hidden is \(16, 8\)"),
        ({"multi_head": True}, "algo.multi_head is True"),
        ({"normalize_obs": True}, "algo.normalize_obs is True"),
    ],
)
def test_other_networks_are_refused(changes, said):
    old, state = updated(tasks=1)
    with pytest.raises(ConfigError, match=said):
        fitted(replace(tiny(), algo=replace(old.config, **changes)), SPEC, source(old, state))


def test_other_observations_and_another_algorithm_are_refused():
    old, state = updated(tasks=1)
    wider = SPEC.__class__("test", (SPEC.observation[0]._replace(shape=(OBS + 1,)),), ACT, 6)
    with pytest.raises(ConfigError, match=f"other observations or actions than the {OBS + 1} and {ACT} numbers"):
        fitted(replace(tiny(), algo=old.config), wider, source(old, state))
    from algos.reptile import Config as ReptileConfig

    with pytest.raises(ConfigError, match="has learned by sac, this run learns by reptile"):
        fitted(replace(tiny(), algorithm="reptile", algo=ReptileConfig()), SPEC, source(old, state))


def test_reptile_gives_theta():
    from algos.reptile import Config as ReptileConfig

    config = replace(tiny(), tasks=OLD, algorithm="reptile", algo=ReptileConfig(settings=Config(**SIZES), inner_updates=2, meta_step=0.5))
    outer = build.algorithm(config, SPEC)
    state = outer.init([1])
    for i in range(3):
        outer.update(state, batch(outer, 3, i), outer.noise(state, [torch.Generator().manual_seed(i)]))
    found = Source("meta-s0-0000", 100, config, dict(named_leaves(state)))
    got = fitted(replace(tiny(), algo=Config(**SIZES)), SPEC, found)
    assert torch.equal(got["params.policy.w0"], state.theta.params.policy["w0"])
    assert not torch.equal(got["params.policy.w0"], state.inner.params.policy["w0"])
    several = fitted(replace(tiny(), tasks=("a:b", "a:c"), algo=Config(**SIZES)), SPEC, found)
    assert (several["params.policy.w0"][0, OBS:] == 0).all(), "the same function in every task"


def test_settings_of_a_wrapper_and_of_a_beginning_survive_their_file(tmp_path):
    from algos.reptile import Config as ReptileConfig

    config = replace(
        tiny(), algorithm="reptile", algo=ReptileConfig(settings=Config(**SIZES, gamma=0.5)), init=InitConfig("x", parts="policy")
    )
    save(config, tmp_path / "config.json")
    assert load(tmp_path / "config.json") == config
    data = json.loads((tmp_path / "config.json").read_text())
    data["algo"]["settings"]["gamma"] = 2.0
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"gamma is 2\.0"):
        load(tmp_path / "config.json")
    del data["init"], data["algo"]["settings"]["gamma"]
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert load(tmp_path / "config.json").init == InitConfig(), "files of before have none"
    with pytest.raises(ConfigError, match=r"no meaning without init\.run"):
        InitConfig(step=3)


# ---- whole runs -------------------------------------------------------------------------------------------------------


def only(root, *, but=()):
    (folder,) = (path.parent for path in root.glob("*/config.json") if path.parent.name not in but)
    return folder


def test_a_run_begins_with_anothers_networks_and_never_needs_it_again(tmp_path):
    """Its first policy is the other's last; its optimiser, replay and counts are new; the other run may be thrown away."""
    short = {"total_steps": 120, "evaluation": {"episodes": 1}}
    assert train_seeds(tiny(**short), [0], tmp_path) == 0
    first = only(tmp_path)
    config = tiny(**short, seed=3, algo={"critic_warm_up": 10_000}, init={"run": first.name[-4:]})
    assert train_seeds(config, [3], tmp_path) == 0
    second = only(tmp_path, but=[first.name])
    old, new = saved(first).components, saved(second).components
    assert_equal(dict(new["published"]["params"]), dict(old["published"]["params"]))
    assert new["learner"]["updates"] == old["learner"]["updates"] > 10
    assert not torch.equal(new["learner"]["tensors"]["params.critic.w0"], old["learner"]["tensors"]["params.critic.w0"])
    shutil.rmtree(first)
    again = replace(config, total_steps=160, algo=replace(config.algo, critic_warm_up=0))
    save(again, second / "config.json")
    assert resume(second.name, tmp_path, None) == 0
    assert saved(second).step == 160
    shutil.rmtree(second / "checkpoints")  # as if it had died before its first checkpoint
    assert resume(second.name, tmp_path, None) == 0
    assert saved(second).step == 160


@pytest.mark.parametrize(
    ("init", "said"), [({"run": "nobody"}, "unknown run 'nobody'"), ({"run": "tiny", "step": 7}, "no complete checkpoint")]
)
def test_a_run_or_checkpoint_that_is_not_there_is_refused_before_anything_starts(tmp_path, init, said):
    assert train_seeds(tiny(total_steps=80, evaluation={"episodes": 1}), [0], tmp_path) == 0
    with pytest.raises(ConfigError, match=said):
        train_seeds(tiny(init=init), [1], tmp_path)
    with pytest.raises(ConfigError, match=r"algo\.hidden"):
        train_seeds(tiny(init={"run": "tiny"}, algo={"hidden": (8,)}), [1], tmp_path)
    assert only(tmp_path)


def test_a_run_of_reptile_and_what_begins_with_it(tmp_path):
    """Through the real loop, with one task; then SAC goes on from theta."""
    from algos.reptile import Config as ReptileConfig

    inner = tiny().algo
    config = replace(
        tiny(total_steps=90, evaluation={"episodes": 1}), algorithm="reptile", algo=ReptileConfig(settings=inner, inner_updates=4)
    )
    assert train_seeds(config, [0], tmp_path) == 0
    first = only(tmp_path)
    old = saved(first).components
    theta, updates = old["learner"]["tensors"], old["learner"]["updates"]
    assert updates > 8
    assert np.array_equal(old["published"]["params"]["w0"], theta["theta.params.policy.w0"][0].numpy())
    assert resume(first.name, tmp_path, None) == 0
    assert train_seeds(tiny(total_steps=80, init={"run": first.name}, algo={"critic_warm_up": 999}), [1], tmp_path) == 0
    new = saved(only(tmp_path, but=[first.name])).components["published"]["params"]
    assert np.array_equal(new["w0"], old["published"]["params"]["w0"])


def test_settings_inside_a_wrapper_on_the_command_line():
    from manyhands.arguments import parse_train

    parsed = parse_train(["ml10-reptile-small", "--algo.settings.gamma", "0.5", "--algo.inner-updates", "3"])
    assert (parsed.config.algo.settings.gamma, parsed.config.algo.inner_updates) == (0.5, 3)
    with pytest.raises(ConfigError, match=r"algo\.tau is 0\.0"):
        parse_train(["ml10-reptile-small", "--algo.settings.tau", "0"])

"""Every algorithm that can begin from another run: it acts as that one did, in tasks known and new, with an optimiser of its own."""

import numpy as np
import pytest
import torch

import algos
from core.abilities import Encoding, Transferring
from core.errors import ConfigError
from core.tree import map_tree, named_leaves
from tests.algos.made import OBS, SIMULATORS, batch, made, on_policy, params, seen

NAMES = [name for name in algos.names() if isinstance(made(name, 1), Transferring)]
ON_POLICY = [name for name in NAMES if on_policy(name)]
VARIANTS = [
    *((name, {}) for name in NAMES),
    ("ppo", {"multi_head": True}),
    ("trpo", {"hidden": ()}),
    ("rl2", {"cell": "lstm", "encoder": (8,)}),
    ("pearl", {"critic": "twin"}),
    ("task_embedding", {"latent": 0}),
    ("task_embedding", {"encoder_hidden": ()}),
]
FRESH = ("adam", "moments", "updates", "steps")
N = 4


def learned(name: str, tasks: int, **settings):
    """An algorithm, and a state of it that has learned something."""
    algorithm = made(name, tasks, **settings)
    state = algorithm.init([1])
    for i in range(2):
        algorithm.update(state, batch(algorithm, tasks, i), algorithm.noise(state, [torch.Generator().manual_seed(i)]))
    return algorithm, state


def begun(name, old, state, origin, *, policy_only=False, **settings):
    """A new algorithm for ``len(origin)`` tasks, its fresh state, and that state with the old networks."""
    new = made(name, len(origin), **settings)
    fresh = new.init([9])
    return new, fresh, new.begin_from(fresh, old, state, origin, policy_only=policy_only)


def acted(algorithm, state, task: int) -> list[np.ndarray]:
    """Deterministic and explored actions at a trial's first step, and after a step of it."""
    rng, actions = np.random.default_rng(0), []
    for noise in (None, rng.standard_normal((N, algorithm.noise_dim), dtype=np.float32)):
        carry = None
        for first in (True, False):
            sight, obs = isinstance(algorithm, Encoding), rng.standard_normal((N, OBS), dtype=np.float32)
            action, carry, _ = algorithm.act(params(algorithm, state), carry, seen(N, task, obs=obs, first=first, sight=sight), noise)
            actions.append(action)
    return actions


def test_these_can_begin_from_another_run():
    """What begins with a run of Reptile is the algorithm inside."""
    assert set(NAMES) >= {"sac", "ppo", "trpo", "task_embedding", "maml", "rl2", "pearl"}
    assert "reptile" not in NAMES


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("origin", [[0, 1, 2], [2], [1, None, 0, 2]])
def test_it_acts_as_the_other_run_did_in_tasks_that_both_know(name, settings, origin):
    old, state = learned(name, 3, **settings)
    new, fresh, then = begun(name, old, state, origin, **settings)
    for here, there in enumerate(origin):
        if there is not None:
            for got, want in zip(acted(new, then, here), acted(old, state, there), strict=True):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)  # a row folded into a bias is another order of sums
    assert {k: v.shape for k, v in named_leaves(then)} == {k: v.shape for k, v in named_leaves(fresh)}
    if origin == [0, 1, 2]:
        theirs, ours = old.policy(state), new.policy(then)
        assert all(torch.equal(leaf, ours[k]) for k, leaf in theirs.items())


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_from_one_task_to_several(name, settings):
    old, state = learned(name, 1, **settings)
    new, _, then = begun(name, old, state, [0, None], **settings)
    for task in range(2):
        for got, want in zip(acted(new, then, task), acted(old, state, 0), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("policy_only", [False, True])
def test_its_optimiser_is_fresh_and_nothing_is_shared(name, settings, policy_only):
    old, state = learned(name, 3, **settings)
    before = map_tree(torch.clone, state)
    new, fresh, then = begun(name, old, state, [1, None], policy_only=policy_only, **settings)
    own = dict(named_leaves(fresh))
    for leaf_name, leaf in named_leaves(then):
        if any(word in leaf_name for word in FRESH):
            assert leaf is own[leaf_name], leaf_name
            assert not leaf.any(), leaf_name
    new.update(then, batch(new, 2, 5), new.noise(then, [torch.Generator().manual_seed(5)]))
    assert all(torch.equal(leaf, dict(named_leaves(before))[k]) for k, leaf in named_leaves(state)), "the other run's state is its own"


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("ppo", {"hidden": (16, 8)}, r"algo.hidden is \(16, 8\), the run to begin from has \(16, 16\); fix: the same setting"),
        ("ppo", {"activation": "relu"}, "algo.activation is relu"),
        ("ppo", {"multi_head": True}, "algo.multi_head is True"),
        ("trpo", {"hidden": (8,)}, r"algo.hidden is \(8,\)"),
        ("maml", {"activation": "relu"}, "algo.activation is relu"),
        ("rl2", {"cell": "lstm"}, "algo.cell is lstm"),
        ("rl2", {"hidden": 16}, "algo.hidden is 16"),
        ("rl2", {"seen_reward_scale": 0.1}, "algo.seen_reward_scale is 0.1"),
        ("c2farm", {"reach": (0.1,)}, "algo.reach is"),
        ("c2farm", {"channels": 8}, "algo.channels is 8"),
        ("pearl", {"latent_dim": 4}, "algo.latent_dim is 4"),
        ("pearl", {"critic": "twin"}, "algo.critic is twin"),
        ("pearl", {"context": 9}, "algo.context is 9"),
        ("task_embedding", {"latent": 0}, "algo.latent is 0"),
        ("task_embedding", {"window": 4}, "algo.window is 4"),
    ],
)
def test_other_networks_are_refused(name, changes, said):
    old, state = learned(name, 1)
    with pytest.raises(ConfigError, match=said):
        begun(name, old, state, [0], **changes)


def test_every_lane_of_maml_begins_with_what_adaptation_begins_with():
    """Whatever the other run's lanes had become, and however many there were."""
    old, state = learned("maml", 3)
    old.inner(state, batch(old, 3, 7), 0)
    assert not torch.equal(state.acting["w0"][:, 0], state.params["w0"])
    new, _, then = begun("maml", old, state, [None])
    assert new.lanes == SIMULATORS
    for name, leaf in state.params.items():
        assert torch.equal(then.params[name], leaf)
        for lane in range(new.lanes):
            assert torch.equal(then.acting[name][:, lane], leaf)


def test_of_pearl_the_encoder_belongs_to_the_policy():
    old, state = learned("pearl", 3)
    _, fresh, then = begun("pearl", old, state, [None], policy_only=True)
    taken = {name for name, net in then.params._asdict().items() if net is not getattr(fresh.params, name)}
    assert taken == {"encoder", "policy"}
    assert then.target is fresh.target
    _, _, whole = begun("pearl", old, state, [None])
    assert all(torch.equal(whole.target[name], leaf) for name, leaf in state.target.items())
    assert torch.equal(whole.params.log_alpha["log_alpha"], state.params.log_alpha["log_alpha"])


def test_a_new_task_embeds_as_the_mean_of_the_encoders_rows():
    old, state = learned("task_embedding", 3)
    _, fresh, then = begun("task_embedding", old, state, [0, None], policy_only=True)
    for name in ("encoder.w0", "encoder.log_std"):
        assert torch.equal(then.policy[name][0, 0], state.policy[name][0, 0])
        torch.testing.assert_close(then.policy[name][0, 1], state.policy[name][0].mean(0))
    assert then.inference is fresh.inference


@pytest.mark.parametrize("name", ON_POLICY)
def test_it_learns_on(name):
    old, state = learned(name, 3)
    new, _, then = begun(name, old, state, [None])
    before = {k: v.copy() for k, v in params(new, then).items()}
    new.update(then, batch(new, 1, 8), new.noise(then, [torch.Generator().manual_seed(8)]))
    assert any(not np.array_equal(before[k], v) for k, v in params(new, then).items())
    assert all(np.isfinite(v).all() for v in params(new, then).values())

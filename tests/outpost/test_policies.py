"""A client's policy chooses what an actor of the cluster would choose and fills the same columns of replay, over whole episodes.

In float64, where no two choices are as good but for rounding; that float32 differs by rounding only is held in test_policies_network.py.
"""

import json
from typing import Any

import numpy as np
import pytest

import algos
from algos.lib.image_context import Config as Inferred
from core.abilities import Remote
from core.errors import ConfigError
from outpost import Failed, policies
from tests.algos.made import SPEC, made, params, seen
from tests.outpost.side_by_side import Table, play, policy_of, same_bytes, told_collisions, weights

SMALL: dict[str, Any] = {"voxels": 8, "channels": 4, "rotation_bins": 12, "room": 400, "batch_size": 4, "lr": 1e-2}


def c2farm(table: Table, **settings):
    return algos.find("c2farm").make(algos.find("c2farm").Config(**{**SMALL, **settings}), table.spec, len(table.own))


def reptile(table: Table, inner: str, settings: object):
    return algos.find("reptile").make(algos.find("reptile").Config(inner=inner, settings=settings), table.spec, len(table.own))


def check(played, table: Table) -> None:
    """Both sides agree on all; episodes ended, and more than one thing was done."""
    for step in played:
        same_bytes(step.here[2], step.there[2])
        same_bytes(*step.closing)
        same_bytes({"action": step.here[0]}, {"action": step.there[0]})
    assert sum(int(step.ended.sum()) for step in played) > len(table.own)
    assert len({step.here[0].tobytes() for step in played}) > len(played) / 2


@pytest.mark.parametrize("updates", [0, 3], ids=["initialised", "trained"])
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({"explore": 0.5}, {"cameras": 3}),
        ({"reach": (), "voxels": 12, "explore": 0.5, "parity": True}, {}),
        ({"reach": (0.2, 0.05), "explore": 1.0}, {"cameras": 2, "rotation": False}),
        ({"room": 40}, {}),
    ],
    ids=["plain", "three cameras", "one depth", "three depths", "no room"],
)
def test_c2farm_acts_and_encodes_as_in_the_cluster(settings, options, updates):
    table = Table(("lift", "lift"), horizon=3, **options)
    algorithm = c2farm(table, **settings)
    check(play(algorithm, table, weights(algorithm, table, updates, "float64"), 8), table)


def test_an_evaluation_acts_without_exploring():
    table = Table(("lift",), horizon=3)
    algorithm = c2farm(table, explore=1.0)
    check(play(algorithm, table, weights(algorithm, table, 2, "float64"), 8, explore=False), table)


def test_one_network_acts_in_several_tasks():
    table = Table(("touch", "press", "lift"), horizon=3)
    algorithm = c2farm(table, explore=0.3)
    check(play(algorithm, table, weights(algorithm, table, 2, "float64"), 8), table)


def test_inside_reptile_it_acts_as_alone():
    table = Table(("touch", "lift"), horizon=3)
    algorithm = reptile(table, "c2farm", algos.find("c2farm").Config(**SMALL, explore=0.5))
    check(play(algorithm, table, weights(algorithm, table, dtype="float64"), 8), table)
    assert policy_of(algorithm).noise_dim == algorithm.noise_dim


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("inferred", [{}, {"output": "leaky", "told": "first", "reward_scale": 100.0}], ids=["corrected", "paper"])
def test_what_is_inferred_of_a_task_is_inferred_alike_over_trials(inferred, explore):
    table = Table(("touch", "lift"), horizon=3)
    algorithm = c2farm(table, inferred=Inferred(latent=3, context=2, recent=4, **inferred))
    own = weights(algorithm, table, 1, "float64")
    played = play(algorithm, table, own, 14, explore=explore, trial=2, dtype="float64")
    check(played, table)
    for step in played:
        here, there = step.here[1], step.there[1]
        assert here.keys() == there.keys()
        for name in here:
            assert here[name].dtype == there[name].dtype, name
            np.testing.assert_allclose(here[name], there[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert max(step.here[1]["count"].max() for step in played) > 4, "the memory is a full ring"
    assert len({step.here[1]["z"].tobytes() for step in played}) >= 3, "of nothing, and of two trials"


def test_what_a_simulator_can_be_told_of_collisions_is_chosen_too():
    table = Table(("lift",))
    told = told_collisions(table.spec)
    algorithm = algos.find("c2farm").make(algos.find("c2farm").Config(**SMALL, explore=1.0), told, 1)
    own, now, policy = params(algorithm, algorithm.init([0])), seen(4, sight=True), policy_of(algorithm)
    noise = np.random.default_rng(0).standard_normal((4, algorithm.noise_dim), dtype=np.float32)
    own = {name: leaf.astype(np.float64) for name, leaf in own.items()}
    here, there = algorithm.act(own, None, now, noise), policy.act(own, None, now._asdict(), noise)
    same_bytes({**here[2], "action": here[0]}, {**there[2], "action": there[0]})
    assert set(here[2]["collide"].tolist()) == {0, 1} and here[0].shape == (4, 9)


@pytest.mark.parametrize("multi_head", [False, True])
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("around", ["alone", "reptile"])
def test_sac_acts_as_in_the_cluster(tasks, multi_head, around):
    table = Table(("touch", "press", "lift")[:tasks], horizon=3, rotation=False)
    config = algos.find("sac").Config(hidden=(16, 8), multi_head=multi_head, normalize_obs=True)
    algorithm = algos.find("sac").make(config, table.spec, tasks) if around == "alone" else reptile(table, "sac", config)
    own = weights(algorithm, table)
    own["obs_mean"] = own["obs_mean"] + np.float32(0.5)
    for explore in (True, False):
        check(play(algorithm, table, own, 8, explore=explore), table)


def test_newer_weights_count_from_the_next_step_on():
    table = Table(("lift",))
    algorithm = c2farm(table)
    old, new = ({name: leaf.astype(np.float64) for name, leaf in params(algorithm, algorithm.init([seed])).items()} for seed in (0, 1))
    policy, now = policy_of(algorithm), seen(4, sight=True)
    first = policy.act(old, None, now._asdict(), None)[0]
    second = policy.act(new, None, now._asdict(), None)[0]
    np.testing.assert_array_equal(second, algorithm.act(new, None, now, None)[0])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", ["sac", "c2farm", "c2farm:inferred", "reptile", "reptile:c2farm"])
def test_a_description_is_of_plain_values_and_names_a_policy(name):
    def plain(value):
        if isinstance(value, dict):
            return all(type(key) is str and plain(inner) for key, inner in value.items())
        return all(map(plain, value)) if type(value) is list else type(value) in (bool, int, float, str)

    algorithm = made(name, 3)
    assert isinstance(algorithm, Remote)
    told = algorithm.remote()
    assert plain(told) and json.loads(json.dumps(told)) == told
    assert policies.find(told["name"]).make(told).noise_dim == algorithm.noise_dim


def test_what_acts_in_the_cluster_only_says_so():
    inner = algos.find("pearl").Config(hidden=(4,), encoder_hidden=(4,))
    algorithm = algos.find("reptile").make(algos.find("reptile").Config(inner="pearl", settings=inner), SPEC, 3)
    with pytest.raises(ConfigError, match=r"algo.inner is 'pearl'.*in the cluster only"):
        algorithm.remote()
    assert not isinstance(made("pearl", 3), Remote)


@pytest.mark.parametrize("name", ["pearl", "", "os", "c2farm.c2farm", "voxels", "../sac"])
def test_a_policy_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(Failed, match="c2farm, reptile, sac"):
        policies.find(name)

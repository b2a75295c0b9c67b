"""Finding simulators by name, and one clear error for everything that can be misspelt."""

import subprocess
import sys

import pytest

import simulators
from core.errors import ConfigError


def test_names_are_the_modules_that_are_simulators():
    assert simulators.names() == (
        "bandit",
        "blocks",
        "dummy",
        "gym",
        "metaworld",
        "metaworld_vision",
        "navigation",
        "rlbench",
        "semicircle",
        "tabular",
    )


def test_split():
    assert simulators.split("metaworld:reach-v3") == ("metaworld", "reach-v3")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("metaworl:reach-v3", {}, "Perhaps you meant 'metaworld'"),
        ("dummy", {}, "names no task"),
        ("gym:", {}, "names no task"),
        ("metaworld:reach-v2", {}, "Perhaps you meant 'reach-v3'"),
        ("dummy:poimt", {}, "Perhaps you meant 'point'"),
        ("dummy:point", {"horzon": 3}, "Perhaps you meant 'horizon'"),
        ("dummy:point", {"horizon": 0}, "option 'horizon' of simulator dummy is 0. Allowed: 1 and up"),
        ("dummy:point", {"horizon": "7"}, "Allowed: a whole number"),
        ("dummy:point", {"horizon": True}, "Allowed: a whole number"),
        ("dummy:point", {"slow_ms": None}, "Allowed: a number"),
        ("dummy:point", {"slow_ms": float("nan")}, "Allowed: 0 and up"),
        ("dummy:point", {"extra_fields": 1}, "Allowed: True or False"),
        ("gym:Pendulum-v1", {"horizon": -1}, "Allowed: 0 and up"),
        ("metaworld:reach-v3", {"horizon": 501}, "Allowed: 1 to 500"),
        ("metaworld:reach-v3", {"reward_version": "v3"}, "Allowed: 'v1', 'v2'"),
        ("metaworld:reach-v3", {"goals": -1}, "Allowed: 0 and up"),
    ],
)
def test_a_mistake_is_one_clear_line(name, options, says):
    with pytest.raises(ConfigError) as error:
        simulators.check(name, options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_integer_is_a_number():
    simulators.check("dummy:point", {"slow_ms": 2})


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="negative"):
        simulators.make("dummy:point", -1)


def test_checking_loads_nothing_heavy():
    script = (
        "import sys, simulators\n"
        "for name in ('metaworld:reach-v3', 'gym:Pendulum-v1', 'dummy:point'): simulators.check(name, {'horizon': 5})\n"
        "bad = {'metaworld', 'mujoco', 'gymnasium', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_gym_refuses_what_it_cannot_drive():
    with pytest.raises(ConfigError, match="bounded continuous"):
        simulators.make("gym:CartPole-v1", 0)
    with pytest.raises(ConfigError, match="not an environment"):
        simulators.make("gym:Nothing-v1", 0)

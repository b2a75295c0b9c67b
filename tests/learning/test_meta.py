"""The meta-learners learn to adapt, by their presets: one seed each; bench/gates.py has three, and the long bandit."""

import dataclasses

import pytest

from manyhands import presets
from tests.system.tiny import evaluations, run_through


def last(name, folder, **changes):
    """The last evaluation of a preset's run."""
    config = presets.find(name)
    parts = {k: dataclasses.replace(getattr(config, k), **v) if isinstance(v, dict) else v for k, v in changes.items()}
    return evaluations(run_through(dataclasses.replace(config, **parts).check(), folder))[-1]


@pytest.mark.learning
@pytest.mark.timeout(1800)
def test_rl2_explores_a_bandit(tmp_path):
    """Best possible 6.66; pulling at random 5.0."""
    assert last("bandit-rl2", tmp_path)["eval/return"] >= 6.45


@pytest.mark.learning
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("outer", ["ppo", "trpo"])
def test_maml_finds_a_goal_that_it_cannot_see(tmp_path, outer):
    """Straight to the goal is -0.55, standing still -8.02, and without adaptation it is no better than that."""
    found = last("navigation-maml", tmp_path, total_steps=240_000, algo={"outer": outer})
    assert found["eval/return"] > -5.0
    assert found["eval/zero_shot_return"] < -6.0

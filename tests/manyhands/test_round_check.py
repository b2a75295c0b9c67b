"""What only a stream from replay has is refused of an on-policy run where it is typed, and of no run that is there already."""

from dataclasses import replace

import pytest

from core.errors import ConfigError
from manyhands import presets
from manyhands.round_check import check_rounds, meaningless
from tests.cli.conftest import ask
from tests.cli.test_errors import check
from tests.system.tiny import run_through, saved

TINY = ["--actors.simulators", "2", "--total-steps", "400", "--evaluation.episodes", "2", "--evaluation.every-steps", "0"]
TRAIN = ["train", "bandit-rl2", *TINY]


def small(**changes):
    """``bandit-rl2`` with two rounds of 20 steps."""
    config = presets.find("bandit-rl2")
    actors, evaluation = replace(config.actors, simulators=2), replace(config.evaluation, every_steps=0, episodes=2, simulators=2)
    return replace(config, total_steps=40, actors=actors, evaluation=evaluation, **changes)


@pytest.mark.parametrize(
    "name", [name for name in presets.names() if presets.find(name).algorithm not in ("sac", "pearl", "reptile", "c2farm")]
)
def test_no_preset_says_what_has_no_meaning(name):
    assert not list(meaningless(presets.find(name)))


def test_all_that_has_no_meaning_is_named_in_one_line():
    config = small()
    check_rounds(config)
    check_rounds(replace(config, learner=replace(config.learner, cuda_graph="off")))
    odd = replace(config, replay=replace(config.replay, capacity=5000), actors=replace(config.actors, chunk=10))
    with pytest.raises(ConfigError, match=r"rl2 learns from each round once: replay.capacity, actors.chunk have no meaning for it; fix: "):
        check_rounds(odd)
    with pytest.raises(ConfigError, match=r"learner.compile has no meaning for it; fix: leave it out"):
        check_rounds(replace(config, learner=replace(config.learner, compile="compile")))


def test_a_person_is_told_before_anything_starts(tmp_path):
    seeds = ["--seeds", "0-1"]
    answers = ask(
        [
            [*TRAIN, "--replay.capacity", "5000"],
            [*TRAIN, "--actors.random-steps", "0", "--dry-run"],
            [*TRAIN, "--actors.chunk", "7", *seeds],
            [*TRAIN, "--replay.capacity", "5000", *seeds, "--at-once", "2"],
        ],
        tmp_path,
    )
    for answer, name in zip(answers, ("replay.capacity", "actors.random_steps", "actors.chunk", "replay.capacity"), strict=True):
        check(answer, f"rl2 learns from each round once: {name} has no meaning")
    assert not list((tmp_path / "runs").glob("bandit*"))


def test_a_run_that_was_told_so_before_goes_on(tmp_path):
    """Stored settings are not asked again."""
    config = small(replay=replace(presets.find("bandit-rl2").replay, capacity=5000))
    folder = run_through(config, tmp_path / "runs", (20, lambda run: setattr(run, "stop_signal", 15)))
    assert saved(folder).step == 20
    (answer,) = ask([["resume", folder.name]], tmp_path)
    assert answer["code"] == 0, answer
    assert saved(folder).step == 40

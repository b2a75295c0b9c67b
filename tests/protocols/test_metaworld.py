"""The protocols of Meta-World against Meta-World's own lists, the options of the simulator, and the page that shows them."""

import re
from pathlib import Path

import pytest

from core.errors import ConfigError
from protocols.metaworld import ML45_TRAIN, SETTINGS, find, names
from protocols.metaworld_2019 import EPSILON, PAPER, V3_NAME
from protocols.plan import per_goal
from simulators.metaworld import Options
from simulators.metaworld.tasks import TASKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metaworld.md"
ROW = re.compile(r"^\| ([^|]+) \| `([a-z-]+)` \| (0\.\d\d) \|", re.MULTILINE)


def plain(tasks):
    return [task.removeprefix("metaworld:") for task in tasks]


@pytest.mark.metaworld
def test_the_lists_are_metaworlds():
    from metaworld import env_dict

    for name in ("mt10", "ml10", "ml45", "mt50"):
        protocol = find(name)
        stock = getattr(env_dict, f"{name.upper()}_V3")
        train, test = (stock["train"], stock["test"]) if name.startswith("ml") else (stock, stock)
        if name in ("mt10", "ml10"):
            assert (plain(protocol.train_tasks), plain(protocol.test_tasks)) == (list(train), list(test))
        assert (sorted(plain(protocol.train_tasks)), sorted(plain(protocol.test_tasks))) == (sorted(train), sorted(test))


def test_sizes():
    sizes = {name: (len(find(name).train_tasks), len(find(name).test_tasks)) for name in ("mt10", "mt50", "ml10", "ml45")}
    assert sizes == {"mt10": (10, 10), "mt50": (50, 50), "ml10": (10, 5), "ml45": (45, 5)}
    assert len(ML45_TRAIN) == 45
    assert len(names()) == 4 + 2 * len(TASKS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_meta_learning_is_judged_on_goals_and_tasks_it_never_saw(setting):
    for name in names():
        protocol = find(name, setting)
        if name.startswith("mt"):
            assert protocol.options("train")["split"] == protocol.options("test")["split"] == "train"
            assert protocol.train_tasks == protocol.test_tasks
            assert not protocol.hide_goal
        else:
            assert (protocol.options("train")["split"], protocol.options("test")["split"]) == ("train", "test")
            assert protocol.hide_goal and not protocol.one_hot
        if name in ("ml10", "ml45"):
            assert not set(protocol.train_tasks) & set(protocol.test_tasks)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_simulator_takes_the_options_of_every_protocol(setting):
    for name in names():
        for split in ("train", "test"):
            Options(**find(name, setting).options(split))


def test_the_numbers_of_the_two_settings():
    paper, today = find("ml1-reach-v3", "2019"), find("ml1-reach-v3")
    assert (paper.horizon, paper.train_goals, paper.test_goals, paper.reward_version) == (150, 50, 10, "v1")
    assert (today.horizon, today.train_goals, today.test_goals, today.reward_version) == (500, 50, 40, "v2")
    assert paper.adaptation_episodes == today.adaptation_episodes == 10
    assert paper.options("test")["success_rule"] == paper.options("train")["success_rule"] == "v2"
    paper, today = find("mt10", "2019"), find("mt10")
    assert (paper.options("train")["goals"], today.options("train")["goals"]) == (1, 50)
    assert paper.one_hot and today.one_hot and not find("mt1-push-v3").one_hot
    assert dict(paper.epsilon)["metaworld:window-close-v3"] == 0.05 and not today.epsilon


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["mt10", "ml10"])
def test_the_evaluators_plan_plays_each_goal_for_one_trial(name, setting):
    protocol = find(name, setting)
    repeat, adaptation = protocol.options("test")["repeat"], protocol.adaptation_episodes
    plan = per_goal(protocol.test_tasks, protocol.test_goals, protocol.schedule)
    assert plan.trial == (repeat if adaptation else 1)
    assert repeat == (15 if adaptation else 1), "10 adaptation episodes, looks after 0, 1, 2, 5 and 10"
    assert set(plan.episodes) == {protocol.test_goals * repeat}


def test_wrong_names_are_refused_with_a_suggestion():
    for wrong in (lambda: find("mt11"), lambda: find("mt1-reach"), lambda: find("mt10", "2021"), lambda: find("mt10").options("tset")):
        with pytest.raises(ConfigError, match="Allowed"):
            wrong()


def test_the_papers_names_map_one_to_one():
    assert len(V3_NAME) == 50
    assert sorted(V3_NAME.values()) == sorted(EPSILON) == sorted(TASKS)
    assert set(EPSILON.values()) == {0.02, 0.03, 0.04, 0.05, 0.07, 0.08}
    assert (V3_NAME["pull"], V3_NAME["get coffee"], EPSILON["dial-turn-v3"]) == ("push-back-v3", "coffee-button-v3", 0.03)


def test_the_page_shows_the_same_table():
    shown = [(name, f"{task}-v3", float(epsilon)) for name, task, epsilon in ROW.findall(PAGE.read_text())]
    assert shown == list(PAPER)

"""How evaluation plays: how many simulators of which seeds, and goals drawn or in turn; settings and the component made of them."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigError
from core.seeding import SeedTree
from core.types import Weights
from manyhands import build
from manyhands.config import EvaluationConfig, RunConfig
from simulators import metaworld, metaworld_vision
from tests.system.tiny import BASE, tiny


def reach(evaluation: EvaluationConfig, **options) -> RunConfig:
    return replace(BASE, tasks=("metaworld:reach-v3",), simulator=metaworld.Options(**options), evaluation=evaluation)


@pytest.mark.parametrize(
    ("episodes", "simulators", "tasks", "each"), [(20, 0, 1, 20), (20, 0, 50, 4), (50, 0, 10, 20), (5, 3, 10, 3), (2, 0, 300, 1)]
)
def test_simulators_per_task(episodes, simulators, tasks, each):
    assert EvaluationConfig(episodes=episodes, simulators=simulators).simulators_per_task(tasks) == each


def test_more_simulators_than_episodes_are_not_made():
    assert EvaluationConfig(episodes=5, simulators=6).simulators_per_task(1) == 5
    with pytest.raises(ConfigError, match=r"evaluation\.simulators is -1"):
        EvaluationConfig(simulators=-1)


def test_goals_in_turn():
    config = reach(EvaluationConfig(in_turn=True), goals=50, repeat=3).check()
    assert {key: config.evaluation_options[key] for key in ("order", "repeat", "goals")} == {"order": "in_turn", "repeat": 1, "goals": 50}
    assert config.simulator_options["order"] == "drawn"
    with pytest.raises(ConfigError, match="in turn over 10 goals; allowed: 1 to 10"):
        reach(EvaluationConfig(in_turn=True), goals=10).check()
    grouped = reach(EvaluationConfig(in_turn=True), goals=50, reset_every=5).check()
    assert grouped.evaluation_options["reset_every"] == 1, "else five episodes in a row would have one goal"
    with pytest.raises(ConfigError, match=r"evaluation\.in_turn is set, but episodes of metaworld:reach-v3 have fresh goals"):
        reach(EvaluationConfig(in_turn=True), goals=0).check()
    with pytest.raises(ConfigError, match=r"evaluation\.in_turn is set, but episodes of dummy:point"):
        tiny(evaluation={"in_turn": True})


def test_goals_in_turn_of_a_simulator_that_always_resets():
    tasks, simulator = ("metaworld_vision:reach-v3", "metaworld_vision:push-v3"), metaworld_vision.Options(cameras="left")
    options = replace(BASE, tasks=tasks, simulator=simulator, evaluation=EvaluationConfig(in_turn=True)).check().evaluation_options
    assert (options["order"], options["cameras"]) == ("in_turn", "left")
    assert "reset_every" not in options


@pytest.mark.parametrize("simulators", [0, 2])
def test_one_pool_of_all_tasks_whose_seeds_depend_on_the_task_and_the_place_only(tmp_path, simulators):
    config = tiny(tasks=("dummy:point", "dummy:counter"), simulator={"action_dim": 4}, evaluation={"episodes": 3, "simulators": simulators})
    made = build.evaluator(config, build.task_spec(config), tmp_path)
    each = simulators or 3
    own = [SeedTree(0).child("task", k).child("evaluation").child("simulator", i).integer() for k in range(2) for i in range(each)]
    try:
        assert made.evaluator.seeds == own
        assert made.tasks.tolist() == np.repeat([0, 1], each).tolist()
        pool = made.evaluator.simulators
        pool.ready()
        assert [spec.task for spec in pool.specs] == ["dummy:point"] * each + ["dummy:counter"] * each  # type: ignore[attr-defined]
        assert len(pool.shares) == 1, "evaluation.processes is for all tasks together"  # type: ignore[attr-defined]
        assert made.evaluator.plan.episodes.tolist() == [1, 1, 1, 1, 1, 1] if each == 3 else [2, 1, 2, 1]
    finally:
        made.close()


@pytest.mark.metaworld
def test_goals_in_turn_are_the_same_whatever_the_number_of_simulators(tmp_path):
    """One policy, two real tasks in one pool: what an episode brings tells which goal it had."""
    pytest.importorskip("metaworld")
    tasks, simulator, returns = ("metaworld:reach-v3", "metaworld:push-v3"), metaworld.Options(goals=50, horizon=5), []
    for count in (1, 3):
        config = replace(BASE, tasks=tasks, simulator=simulator, evaluation=EvaluationConfig(episodes=3, simulators=count, in_turn=True))
        spec = build.task_spec(config)
        algorithm = build.algorithm(config, spec)
        policy = algorithm.policy(algorithm.init([0]))
        made = build.evaluator(config, spec, tmp_path)
        try:
            found = made.evaluate(Weights(0, {name: leaf[0].numpy() for name, leaf in policy.items()}))
        finally:
            made.close()
        assert [outcome.task for outcome in found.tasks] == list(tasks)
        returns.append([outcome.episode_return.tolist() for outcome in found.tasks])
    np.testing.assert_allclose(returns[0], returns[1], rtol=1e-5)  # the policy acts for more at once, which differs in the last bits
    assert all(len(set(of_task)) == 3 for of_task in returns[0]), "three goals"

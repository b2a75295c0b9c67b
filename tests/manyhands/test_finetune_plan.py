"""What a run is that fine-tunes one of each algorithm: its tasks, rounds and stages, how it is judged; what is refused in one line."""

from dataclasses import replace

import pytest

import algos
from core.errors import ConfigError
from manyhands import build, presets
from manyhands.finetune_arguments import FinetuneArguments
from manyhands.finetune_plan import KINDS, Stages, derived, kind_of, schedule_of
from protocols.metaworld import find
from protocols.schedule import Schedule
from simulators import gym, navigation, semicircle
from tests.algos.made import SPEC
from tests.system.tiny import tiny

NEW = "metaworld:drawer-open-v3"
POINT = "semicircle:dense"


def options(**changes) -> FinetuneArguments:
    return FinetuneArguments("x", **{"tasks": (NEW,)} | changes)


def made(preset: str, **changes):
    """On the protocol ml10."""
    return derived(presets.find(preset), "x-s0", NEW, 3, options(protocol="ml10", **changes), find("ml10"))


def of_semicircle(algorithm: str, tasks=(POINT,), **changes):
    """A run of an algorithm with its own settings; of goals with names where ``tasks`` say so."""
    algo = algos.find(algorithm).Config()
    simulator = semicircle.Options(repeat=20)
    return tiny(tasks=tasks, simulator=simulator, algorithm=algorithm, algo=algo, actors={"actors": 1, "simulators": 2}, **changes)


def test_every_algorithm_that_can_begin_from_another_has_its_methods():
    from core.abilities import Transferring
    from tests.algos.made import made as small

    assert set(KINDS) == {name for name in algos.names() if isinstance(small(name, 1), Transferring)}


# ---- on-policy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "first", "simulators", "round_"),
    [
        ("ml10-rl2", 5000, 1, 5000),
        ("ml10-rl2", 12_000, 2, 10_000),
        ("ml10-rl2", 10_000_000, 4, 20_000),
        ("ml10-maml", 5000, 1, 10_000),
        ("mt10-mtppo", 5000, 5, 5000),
        ("mt10-mttrpo", 100_000, 10, 10_000),
        ("mt10-te", 100, 1, 1000),
    ],
)
def test_a_round_is_no_longer_than_the_first_stage_where_that_can_be(preset, first, simulators, round_):
    """Of 500 steps an episode, and as many episodes as the algorithm has; never more simulators than the source had."""
    config = made(preset, steps=(0, first))
    spec = replace(SPEC, horizon=500)
    stages = Stages.of(config, NEW, spec)
    assert (config.tasks, config.actors.actors, config.actors.simulators, stages.round) == ((NEW,), 1, simulators, round_)
    assert stages.whole(first) == max(round_, first // round_ * round_)
    source = presets.find(preset)
    assert config.simulator == replace(source.simulator, **find("ml10").options("train") | {"repeat": source.simulator.repeat})
    assert (config.init.run, config.init.parts, config.algo) == ("x-s0", "all", source.algo)
    assert config.simulator.repeat % build.algorithm(config, spec).plan.trial == 0


def test_stages_are_whole_rounds_and_the_columns_say_which():
    config = made("ml10-rl2", steps=(0, 12_000, 55_000))
    stages = Stages.of(config, NEW, replace(SPEC, horizon=500))
    assert [stages.total(steps) for steps in (3000, 12_000, 55_000)] == [10_000, 10_000, 50_000]
    (note,) = stages.notes(config, options(steps=(0, 12_000, 50_000, 55_000)))
    assert note == "a round has 10,000 env steps of the task: judged after 10,000 in place of 12,000, 50,000 in place of 55,000"
    assert stages.notes(config, options(steps=(0, 50_000))) == []


def test_beside_the_sources_tasks_steps_count_those_of_the_new_one():
    config = made("ml10-rl2", method="mixed", steps=(0, 5000))
    assert (config.tasks[0], len(config.tasks), config.total_steps) == (NEW, 11, 55_000)
    stages = Stages.of(config, NEW, replace(SPEC, horizon=500))
    assert (stages.round, stages.total(5000), stages.of_task(55_000)) == (5000, 55_000, 5000)
    assert made("ml10-rl2", method="scratch").init.run == ""


def test_where_only_the_simulator_knows_the_horizon_rounds_are_the_sources():
    algo = algos.find("ppo").Config(episodes=2)
    source = tiny(tasks=("gym:Pendulum-v1",), simulator=gym.Options(), algorithm="ppo", algo=algo)
    config = derived(source, "x", "gym:Pendulum-v1", 0, options(steps=(0, 10)), None)
    assert config.actors.simulators == 4, "those of both actors"


# ---- PEARL ------------------------------------------------------------------------------------------------------------


def test_a_new_class_is_its_training_goals():
    config, source = made("ml10-pearl"), presets.find("ml10-pearl")
    assert config.tasks == tuple(f"{NEW}@{goal}" for goal in range(20)), "as many as the source had of each"
    assert (config.replay.min_size, config.replay.capacity) == (source.replay.min_size // 10, source.replay.capacity)
    assert config.replay.max_lead_steps == source.replay.max_lead_steps // 10
    assert config.replay.updates_per_step == source.replay.updates_per_step, "16 tasks an update, as before"
    assert (config.total_steps, config.simulator.hide_goal, config.simulator.split) == (5000, True, "train")


def test_of_fewer_goals_than_an_update_has_tasks_there_are_more_updates():
    config, source = made("ml10-pearl", train_goals=4), presets.find("ml10-pearl")
    assert config.tasks == tuple(f"{NEW}@{goal}" for goal in range(4))
    assert config.replay.updates_per_step == source.replay.updates_per_step * 16 / 4, "a goal's step is learned from as often"
    algorithm = build.algorithm(config, replace(SPEC, horizon=500))
    assert (algorithm.plan.tasks, algorithm.tasks) == (0, 4)


def test_mixed_is_all_goals_of_all_classes():
    config = made("ml10-pearl", method="mixed", steps=(0, 5000))
    assert (len(config.tasks), config.tasks[0], config.tasks[20]) == (220, f"{NEW}@0", "metaworld:reach-v3@0")
    stages = Stages.of(config, NEW, replace(SPEC, horizon=500))
    assert (stages.own, stages.total(5000), stages.of_task(55_000)) == (20, 55_000, 5000)


def test_a_single_goal_is_a_task_too():
    source = of_semicircle("pearl", tuple(f"{POINT}@{goal}" for goal in range(3)))
    one = derived(source, "x", "semicircle:sparse@2", 0, options(), None)
    assert one.tasks == ("semicircle:sparse@2",)
    of_class = derived(source, "x", POINT, 0, options(method="mixed"), None)
    assert of_class.tasks == source.tasks, "the class is known: nothing is beside it"


def test_it_is_said_when_a_stage_ends_before_the_first_update():
    source = of_semicircle("pearl", tuple(f"{POINT}@{goal}" for goal in range(4)), replay={"min_size": 400})
    asked = options(steps=(0, 200, 1000), train_goals=2)
    config = derived(source, "x", "semicircle:sparse", 0, asked, None)
    stages = Stages.of(config, "semicircle:sparse", SPEC)
    assert stages.notes(config, asked) == ["the first update comes after 200 env steps of the task: at 200 none was made"]
    assert stages.notes(config, options(steps=(0, 1000))) == []


# ---- how it is judged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "evaluates", "changes", "protocol", "want"),
    [
        ("rl2", 3, {}, None, Schedule.controlled(3)),
        ("rl2", 0, {}, None, Schedule()),
        ("maml", 3, {"adaptation": 5}, None, Schedule.controlled(5)),
        ("pearl", 3, {"adaptation": 0}, None, Schedule()),
        ("pearl", 3, {}, "ml10", Schedule.controlled(10)),
        ("rl2", 0, {"adaptation": 2}, "ml10", Schedule.controlled(2)),
        ("maml", 3, {"adaptation": 0}, "ml10", Schedule(evaluation=3)),
        ("ppo", 0, {}, "ml10", Schedule(evaluation=3)),
        ("rl2", 3, {}, "mt10", Schedule(evaluation=1)),
    ],
)
def test_what_adapts_is_judged_after_adaptation(algorithm, evaluates, changes, protocol, want):
    source = of_semicircle(algorithm, evaluation={"adaptation": evaluates})
    asked = options(**changes)
    assert schedule_of(source, kind_of(source, "x", asked)[1], asked, protocol and find(protocol)) == want


def test_a_run_of_its_own_evaluates_as_little_as_can_be():
    config = derived(of_semicircle("rl2", evaluation={"adaptation": 3}), "x", POINT, 0, options(), None)
    assert (config.evaluation.adaptation, config.evaluation.episodes, config.evaluation.every_steps) == (0, 1, 0)


# ---- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "changes", "said"),
    [
        ("rl2", {"method": "actor"}, "--method is actor, but x has learned by rl2. Allowed: all, scratch, mixed"),
        ("ppo", {"method": "policy"}, "--method is policy, but x has learned by ppo. Allowed: all, scratch, mixed"),
        ("pearl", {"method": "last-layer"}, "has learned by pearl. Allowed: all, policy, scratch, mixed"),
        ("trpo", {"critic_warm_up": 10}, "--critic-warm-up has no meaning here: it is a setting of sac, and x has learned by trpo"),
        ("ppo", {"adaptation": 2}, "--adaptation is 2, but x has learned by ppo, which does not adapt. Allowed: 0"),
        ("rl2", {"train_goals": 2}, f"--train-goals has no meaning here: tasks of tiny are no goals, such as {POINT}@0"),
    ],
)
def test_what_an_algorithm_cannot_have_is_refused(algorithm, changes, said):
    with pytest.raises(ConfigError, match=said):
        derived(of_semicircle(algorithm), "x", POINT, 0, options(**changes), None)


def test_goals_that_are_not_there_are_refused():
    source = of_semicircle("pearl", (f"{POINT}@0",))
    with pytest.raises(ConfigError, match=r"names goal '40'. Allowed with these options: 0 to 39"):
        derived(source, "x", POINT, 0, options(train_goals=50), None)
    with pytest.raises(ConfigError, match=f"--train-goals has no meaning here: {POINT}@1 is one goal"):
        derived(source, "x", f"{POINT}@1", 0, options(train_goals=2), None)
    with pytest.raises(ConfigError, match=r"--train-goals is 0\. Allowed: 1 and up"):
        options(train_goals=0).check()


def test_reptile_is_fine_tuned_by_what_is_inside():
    source = replace(of_semicircle("sac"), algorithm="reptile", algo=algos.find("reptile").Config())
    assert derived(source, "x", POINT, 0, options(), None).algorithm == "sac"
    around = algos.find("reptile").Config(inner="pearl", settings=algos.find("pearl").Config())
    with pytest.raises(
        ConfigError, match=r"x has learned by reptile around pearl, which cannot be fine-tuned. Allowed: runs of sac, pearl"
    ):
        derived(replace(source, algo=around), "x", POINT, 0, options(), None)


def test_simulators_without_goals_to_repeat():
    """Navigation has them, Pendulum has not: what was trained there cannot be judged after adaptation."""
    source = tiny(tasks=("navigation:point",), simulator=navigation.Options(repeat=20), algorithm="rl2", algo=algos.find("rl2").Config())
    config = derived(source, "x", "navigation:point", 0, options(), None)
    assert config.options_of_trials(Schedule.controlled(4))["repeat"] == 6


@pytest.mark.parametrize(
    ("preset", "method", "rows", "updates"),
    [
        ("vision-faucet-open-mt", "all", 60, 1.0),
        ("vision-faucet-open-reptile", "all", 60, 1.0),
        ("vision-faucet-open-mt", "mixed", 15, 10 / 11),
        ("mt3-c2farm-small", "all", 30, 1.0),
        ("c2farm-button-small", "all", 32, 1.0),
    ],
)
def test_a_task_that_c2farm_learns_by_itself_has_the_rows_of_a_whole_update(preset, method, rows, updates):
    """Mandi et al. 2022, the scripts: 60 rows and an update per env step."""
    source, options = presets.find(preset), FinetuneArguments("x", tasks=("metaworld_vision:faucet-open-v3",), method=method)
    config = derived(source, "x", "metaworld_vision:faucet-open-v3", 0, options, None)
    assert (config.algo.batch_size, config.replay.updates_per_step) == (rows, updates)

"""Adaptation beside training: what can adapt at all, what tells a policy its task, the table, the metrics, the settings."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from algos import pearl
from core.errors import ConfigError
from core.types import Weights
from manyhands import adapt, build
from manyhands.adapt_arguments import AdaptArguments
from manyhands.arguments import EvalArguments
from manyhands.config import EvaluationConfig
from manyhands.evaluate import evaluate_run
from manyhands.outcome import adaptation_table
from manyhands.result import Outcomes
from protocols.evaluator import Evaluation, PolicyEvaluator, TaskOutcome
from protocols.plan import each_from_zero
from protocols.rows import Results, Row
from protocols.schedule import Schedule
from simulators import gym, metaworld, semicircle
from tests.protocols.fakes import ACTS, WEIGHTS, Fake
from tests.protocols.fakes import spec as fake_spec
from tests.protocols.test_adaptive import START, Counts, Gradients
from tests.system.tiny import BASE, evaluations, run_through, tiny


def weights_of(config, spec) -> Weights:
    algorithm = build.algorithm(config, spec)
    return Weights(0, {name: leaf[0].numpy() for name, leaf in algorithm.policy(algorithm.init([0])).items()})


class Carries:
    """Hands on what it never looks at."""

    noise_dim = 1

    def act(self, params, carry, seen, noise):
        return np.zeros((len(seen.obs), 1), np.float32), {"latent": seen.obs.copy()}, {}


HOW = [(ACTS, WEIGHTS, "nothing"), (Carries(), WEIGHTS, "nothing"), (Counts(), WEIGHTS, "memory"), (Gradients(), START, "gradients")]


@pytest.mark.parametrize(("algorithm", "weights", "means"), HOW)
def test_how_a_policy_adapts(algorithm, weights, means):
    assert adapt.look_into(algorithm, weights, fake_spec(), 3) == (means, False)


@pytest.mark.parametrize(("tasks", "told"), [(("dummy:point",), False), (("dummy:point", "dummy:point"), True)])
def test_a_policy_that_is_told_its_task_is_found_out(tasks, told):
    config = tiny(tasks=tasks)
    spec = fake_spec()
    assert adapt.look_into(build.algorithm(config, spec), weights_of(config, spec), spec, len(tasks)) == ("nothing", told)


def test_a_policy_that_is_told_its_task_is_refused_where_it_is_another():
    config = tiny(tasks=("dummy:point", "dummy:point"))
    algorithm, slots = build.algorithm(config, fake_spec()), [0, 0]
    evaluator = PolicyEvaluator(
        algorithm, Fake([[2] * 3] * 2, tasks=["new", "old"]), each_from_zero(slots, 2, Schedule.controlled(1)), slots
    )
    with pytest.raises(ConfigError, match="told which of its 2 tasks it is in, and new is none of them"):
        adapt._played(evaluator, weights_of(config, fake_spec()), {}, ["old", "other"], 0)
    blind = PolicyEvaluator(ACTS, Fake([[2] * 3], tasks=["new"]), each_from_zero([0], 1, Schedule.controlled(1)))
    assert len(adapt._played(blind, WEIGHTS, {"run": "r"}, ["old", "other"], 0).rows) == 3


def test_the_table_of_adaptation():
    """Two tasks of two trials: one learns both goals in its only episode, the other never."""
    rows = [
        Row(task, 3 * trial + k, known, 0, learns and known == 1, False, -1, 9, 5.0 * known + trial, look)
        for task, learns in (("a", True), ("b", False))
        for trial in range(2)
        for k, (known, look) in enumerate([(0, True), (0, False), (1, True)])
    ]
    results = Results(tuple(rows), {task: {"adaptation": 1, "evaluation": 1, "looks": [0, 1]} for task in "ab"})
    console = Console(width=80)
    with console.capture() as capture:
        console.print(adaptation_table("title", results))
    lines = [" ".join(line.split()) for line in capture.get().splitlines()]
    for line in ("a any 0% 100% +100", "b any 0% 0% +0", "mean over tasks any 0% 50% +50", "95 % 0-49 15-85", "return 0.5 5.5 +5.0"):
        assert line in lines, lines
    assert "return of the adaptation episodes: first 0.5, last 0.5, mean 0.5" in " ".join(lines)


def test_metrics_tell_the_zero_shot_control_and_the_gain():
    def outcomes(*flags):
        return tuple(TaskOutcome("dummy:point", np.array(f), np.array(f), np.array(f, float), np.full(len(f), -1)) for f in flags)

    outcome, control, cost = outcomes([True, True], [True, False]), outcomes([False, False], [True, False]), outcomes([False], [True])
    row = Outcomes(["dummy:point", "dummy:counter"]).take(Evaluation(1, outcome, 0, control, cost), WEIGHTS, 10, 5)
    found = {name: row[f"eval/{name}"] for name in ("success_any", "zero_shot_any", "gain_any", "gain_return", "exploration_return")}
    assert found == {"success_any": 0.75, "zero_shot_any": 0.25, "gain_any": 0.5, "gain_return": 0.5, "exploration_return": 0.5}
    assert (row["eval/point/zero_shot_any"], row["eval/counter/zero_shot_any"]) == (0.0, 0.5)
    plain = Outcomes(["dummy:point"]).take(Evaluation(1, outcome[:1]), WEIGHTS, 10, 5)
    assert not [name for name in plain if "zero_shot" in name or "gain" in name]


def test_the_simulators_keep_a_goal_for_a_whole_trial():
    assert tiny(evaluation={"adaptation": 3}).evaluation_options["repeat"] == 5, "a look before and one after"
    assert tiny().evaluation_options["repeat"] == 1
    config = replace(
        BASE,
        tasks=("metaworld:reach-v3",),
        simulator=metaworld.Options(goals=50, reset_every=4),
        evaluation=EvaluationConfig(adaptation=2, in_turn=True),
    ).check()
    assert {key: config.evaluation_options[key] for key in ("order", "repeat", "reset_every")} == {
        "order": "in_turn",
        "repeat": 4,
        "reset_every": 1,
    }
    drawn = replace(config, evaluation=EvaluationConfig(adaptation=2)).evaluation_options
    assert (drawn["order"], drawn["repeat"], drawn["reset_every"]) == ("drawn", 4, 1)
    assert config.options_of_trials(Schedule.looked_at(10))["repeat"] == 15


def test_simulators_without_goals_to_repeat_cannot_have_adaptation():
    pendulum = replace(BASE, tasks=("gym:Pendulum-v1",), simulator=gym.Options(), evaluation=EvaluationConfig(adaptation=2))
    with pytest.raises(ConfigError, match=r"gym:Pendulum-v1 cannot repeat a goal.*evaluation\.adaptation must be 0"):
        pendulum.check()
    with pytest.raises(ConfigError, match=r"evaluation\.adaptation is -1"):
        EvaluationConfig(adaptation=-1)


def test_a_run_evaluates_with_adaptation(tmp_path, capsys):
    """SAC has no memory: the control is the outcome, of the same goals. And the command judges like the run: after adaptation."""
    folder = run_through(tiny(total_steps=120, evaluation={"adaptation": 2, "episodes": 3}), tmp_path)
    row = evaluations(folder)[-1]
    assert row["eval/zero_shot_return"] == pytest.approx(row["eval/return"], rel=1e-5)
    assert row["eval/gain_any"] == 0.0
    assert row["eval/exploration_return"] != row["eval/return"]
    assert evaluate_run(EvalArguments(name=folder.name, runs=tmp_path, episodes=2)) == 0
    assert "after 2 adaptation episodes" in " ".join(capsys.readouterr().out.split())
    (file,) = (folder / "evaluations").glob("*fresh-0.jsonl")
    assert len(Results.read(file).rows) == 2 * 4, "all of each trial: two looks and what is between them"


def test_held_out_goals_are_those_kept_apart_each_once(tmp_path, capsys):
    """Not one of the training, though they have the same numbers; those of the training are called so."""
    trained = tuple(f"semicircle:dense@{goal}" for goal in range(4))
    small = pearl.Config(hidden=(8,), encoder_hidden=(8,), meta_batch=2, batch_size=8, context=8)
    simulator = semicircle.Options(train_goals=4, test_goals=3, horizon=5)
    actors = {"actors": 1, "simulators": 1, "random_steps": 0}
    config = tiny(tasks=trained, simulator=simulator, algorithm="pearl", algo=small, total_steps=100, actors=actors)
    folder = run_through(config, tmp_path)
    out = tmp_path / "rows.jsonl"
    options = AdaptArguments(folder.name, folder.parent, held_out=True, episodes=2, processes=1, out=out)
    assert adapt.adapt_run(options) == 0
    results = Results.read(out)
    assert results.tasks == trained[:3]
    assert [results.settings[task]["goals"] for task in results.tasks] == [f"number {goal} of test" for goal in range(3)]
    assert len(results.rows) == 3 * (3 + 2), "one trial of each goal: looks after 0, 1 and 2"
    assert results.settings[trained[0]]["adapts_by"] == "memory"
    capsys.readouterr()
    assert adapt.adapt_run(replace(options, held_out=False)) == 0
    assert "adapts on training-goals" in " ".join(capsys.readouterr().out.split())
    (file,) = (folder / "evaluations").glob("*-training-goals-seed-*.jsonl")
    assert not list((folder / "evaluations").glob("*fresh*"))
    results = Results.read(file)
    assert [results.settings[task]["goals"] for task in results.tasks] == [f"number {goal} of train" for goal in range(4)]
    assert len(results.rows) == 4 * (3 + 2), "one trial of each goal"


def test_goals_are_fresh_where_training_has_no_set_of_them():
    def own(task, options):
        return replace(BASE, tasks=(task,), simulator=options).own_goals(3)

    assert own("dummy:point", BASE.simulator) == own("metaworld:reach-v3", metaworld.Options(goals=0)) == "fresh-3"
    frozen = own("metaworld:reach-v3", metaworld.Options()), own("metaworld:reach-v3@7", metaworld.Options())
    drawn = own("semicircle:dense", semicircle.Options()), own("semicircle:dense@3", semicircle.Options())
    assert {*frozen, *drawn} == {"training-goals"}


def test_goals_that_were_not_kept_apart_are_refused():
    on_test_goals = replace(BASE, tasks=("semicircle:dense",), simulator=semicircle.Options(split="test"))
    for config in (BASE, on_test_goals):
        with pytest.raises(ConfigError, match=f"no goals of {config.tasks[0]} were kept apart"):
            adapt.held_out(config)
    with pytest.raises(ConfigError, match="a protocol has test goals of its own"):
        AdaptArguments("run", held_out=True, protocol="ml10").check()

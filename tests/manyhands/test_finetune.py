"""Fine-tuning by the command line's own function: runs of their own, judged at the steps that were asked for; settings of every method."""

import json

import numpy as np
import pytest

from algos.sac import Config
from core.errors import ConfigError
from manyhands.finetune import finetune
from manyhands.finetune_arguments import FinetuneArguments
from manyhands.finetune_plan import derived
from manyhands.registry import Registry
from manyhands.session import train_seeds
from protocols.metaworld import find
from tests.system.tiny import saved, tiny

TASKS = ("dummy:point", "dummy:counter")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert train_seeds(tiny(total_steps=120, evaluation={"episodes": 1}), [0], folder) == 0
    return folder


def test_curves_from_real_runs(root, tmp_path, capsys):
    (first,) = (run.id for run in Registry(root).list())
    out = tmp_path / "rows.jsonl"
    options = FinetuneArguments(
        first, root, tasks=("dummy:point",), steps=(0, 80), episodes=2, seeds=(5, 6), critic_warm_up=10_000, out=out
    )
    assert finetune(options) == 0
    new = [run for run in Registry(root).list() if run.preset == "finetune-all"]
    assert sorted((run.seed, run.status, run.steps) for run in new) == [("5", "finished", 80), ("6", "finished", 80)]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    told = [(row["settings"]["seed"], row["settings"]["env_steps"]) for row in rows]
    assert told == [(seed, steps) for seed in (5, 6) for steps in (0, 80) for _ in range(2)]
    returns = {key: [row["episode_return"] for row, of in zip(rows, told, strict=True) if of == key] for key in set(told)}
    assert returns[5, 0] == returns[5, 80], "while critics warm up, the policy is the one that was taken over"
    theirs, ours = (saved(Registry(root).get(run).path).components["published"]["params"] for run in (first, new[0].id))
    assert all(np.array_equal(theirs[name], value) for name, value in ours.items())
    assert len(list((new[0].path / "evaluations").glob("steps-*.jsonl"))) == 2
    assert "80 steps" in capsys.readouterr().out


def test_what_a_method_changes():
    source = tiny(tasks=TASKS, replay={"updates_per_step": 0.25, "min_size": 100}, actors={"random_steps": 50})

    def made(method):
        options = FinetuneArguments("x", method=method, tasks=("dummy:point",), steps=(0, 200))
        return derived(source, "x-s0-0000", "dummy:point", 3, options, None)

    kinds = {method: made(method) for method in ("all", "actor", "last-layer", "policy", "scratch", "mixed")}
    assert {method: config.algo.train for method, config in kinds.items() if config.algo.train != "all"} == {
        "actor": "actor",
        "last-layer": "last_layer",
    }
    assert kinds["scratch"].init.run == ""
    assert kinds["policy"].init.parts == "policy"
    assert [method for method, config in kinds.items() if config.algo.critic_warm_up == 0] == ["actor", "scratch"]
    assert [method for method, config in kinds.items() if config.actors.random_steps] == ["scratch"]
    assert (kinds["mixed"].tasks, kinds["mixed"].total_steps) == (TASKS, 400)
    for config in kinds.values():
        assert config.replay.updates_per_step * len(config.tasks) == 0.5, "updates per env step of a task, as before"
        assert config.replay.min_size == 50 * len(config.tasks)


def test_from_reptile_the_inner_algorithm_goes_on():
    from algos.reptile import Config as ReptileConfig

    source = tiny(tasks=TASKS, algorithm="reptile")
    inner = Config(hidden=(16, 16), batch_size=8, gamma=0.5)
    source = type(source)(**{**vars(source), "algo": ReptileConfig(settings=inner)})
    config = derived(source, "x", "dummy:point", 0, FinetuneArguments("x", tasks=("dummy:point",)), None)
    assert (config.algorithm, config.algo.gamma) == ("sac", 0.5)
    assert config.replay.updates_per_step == source.replay.updates_per_step, "an update of Reptile is of one task"


def test_on_a_protocol_it_trains_on_the_training_goals_of_the_test_tasks():
    from manyhands import presets

    source = presets.find("mt10-mtsac-small")
    protocol = find("ml10")
    config = derived(source, "x", protocol.test_tasks[0], 0, FinetuneArguments("x", protocol="ml10"), protocol)
    assert (config.tasks, config.simulator.split, config.simulator.goals) == (protocol.test_tasks[:1], "train", 50)
    assert config.simulator.hide_goal


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": (5, 0)}, "--steps is 5 0"),
        ({"steps": (0,)}, "--steps is 0"),
        ({"tasks": ()}, "needs --protocol ml10, or --tasks"),
        ({"goals": 3}, "--goals has no meaning here"),
        ({"seeds": (1, 1)}, "write each seed once"),
        ({"episodes": 0}, "--episodes is 0"),
    ],
)
def test_what_cannot_be_is_refused(root, changes, said):
    with pytest.raises(ConfigError, match=said):
        finetune(FinetuneArguments("tiny", root, **{"tasks": ("dummy:point",)} | changes))


def test_a_run_that_saw_the_goal_cannot_begin_where_it_is_hidden(root):
    with pytest.raises(ConfigError, match="ml10 hides the goal"):
        finetune(FinetuneArguments("tiny", root, protocol="ml10"))

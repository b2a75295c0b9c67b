"""Runs of C2F-ARM, which may infer its task or be inside Reptile, adapt to new tasks: what they begin with, what they are shown."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from algos import c2farm, ppo, reptile
from algos.lib.image_context import Config as Inferred
from core import demofile
from core.abilities import Encoding, Recalling
from core.errors import ConfigError
from core.tree import named_leaves
from core.types import Weights
from manyhands import adapt, build, config_file, presets, session, warm_start
from manyhands.adapt_arguments import AdaptArguments
from manyhands.config import DemosConfig
from manyhands.demos import of_run, store
from manyhands.finetune import finetune
from manyhands.finetune_arguments import FinetuneArguments
from manyhands.finetune_plan import derived, judged_apart
from manyhands.registry import Registry
from manyhands.task_names import full_names
from protocols.evaluator import PolicyEvaluator
from protocols.plan import each_from_zero
from protocols.rows import Results
from protocols.schedule import Place, Schedule
from replay.demos import demo_file
from simulators import blocks, metaworld_vision
from tests.protocols.fakes import Fake
from tests.system.tiny import saved, tiny

BOTH = ("blocks:touch", "blocks:press")
SMALL = c2farm.Config(voxels=4, channels=4, rotation_bins=4, batch_size=4, room=128)
INFERS = replace(SMALL, inferred=Inferred(latent=2, trial=3))
HEAD_START = 3


def source(name: str) -> Any:
    """Settings of a run to adapt: half an update per env step, two demonstrations of each task."""
    replay = {"capacity": 200, "updates_per_step": 0.5, "min_size": 0, "max_lead_steps": 0, "head_start": HEAD_START}
    config = tiny(
        preset=name,
        tasks=("blocks:touch",),
        simulator=blocks.Options(size=16, rotation=False, horizon=4),
        algorithm="c2farm",
        algo=SMALL,
        total_steps=8,
        actors={"actors": 1, "simulators": 1, "chunk": 0, "random_steps": 0},
        replay=replay,
        demos=DemosConfig(count=2),
        evaluation={"episodes": 1},
    )
    if name == "infers":
        return replace(config, tasks=BOTH, algo=INFERS, replay=replace(config.replay, head_start=0)).check()
    if name == "meta":
        algo = reptile.Config(inner="c2farm", settings=SMALL, inner_updates=2, meta_step=0.5)
        return replace(config, tasks=BOTH, algorithm="reptile", algo=algo).check()
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """By name, all in one folder."""
    root = tmp_path_factory.mktemp("adapts")
    for name in ("plain", "infers", "meta"):
        assert session.train_seeds(source(name), [0], root) == 0
    return {row.preset: row.path for row in Registry(root).list()}


def tuned(path: Path, work, *args, **changes) -> Any:
    """The one run that a command has made."""
    before = {row.id for row in Registry(path.parent).list()}
    assert work(*args, **changes) == 0
    (new,) = [row for row in Registry(path.parent).list() if row.id not in before]
    return new


def check_beginning(path: Path, config: Any, folder: Path) -> None:
    """Networks and targets are the other run's last, of Reptile theta; all else is new."""
    theirs, prefix = saved(path).components["learner"]["tensors"], "theta." if path.name.startswith("meta") else ""
    begun = warm_start.tensors_of(config, build.task_spec(config), folder)
    assert begun is not None
    fresh = {name for name, _ in named_leaves(build.algorithm(config, build.task_spec(config)).init([0]))} - set(begun)
    assert fresh and all(name == "updates" or name.startswith("adam") for name in fresh)
    for name, leaf in begun.items():
        assert np.array_equal(leaf.numpy(), theirs[prefix + name].numpy()), name


def demo_rows(config: Any, folder: Path) -> list[int]:
    """Transitions of each task in the ring of the run's demonstrations."""
    ring = build.demos(config, build.task_spec(config), "looked-at-adapt", of_run.load(config, folder))
    try:
        return ring.state().live.tolist()
    finally:
        ring.close()
        demo_file("looked-at-adapt").unlink()


def expected_rows(config: Any, folder: Path, counts: tuple[int, ...]) -> list[int]:
    """The same by hand, from the files that are collected for the tasks."""
    made, home = build.algorithm(config, build.task_spec(config)), store.home(folder.parent)
    assert isinstance(made, Encoding)
    rows = []
    for task, count in zip(config.tasks, counts, strict=True):
        demos = [demofile.read(path) for path in store.find(home, task, count, config.simulator_options)]
        assert len(demos) == count
        rng = np.random.default_rng(0)
        rows.append(sum(len(chain["reward"]) for demo in demos for chain in made.encode_demo(demo, rng)))
    return rows


LEARNING = [
    ("plain", "finetune", False, 1, HEAD_START + 2),
    ("plain", "finetune", True, 1, HEAD_START + 2),
    ("plain", "finetune", True, 0, 0),
    ("infers", "finetune", True, 1, 0),
    ("infers", "finetune", False, 0, 0),
    ("meta", "finetune", False, 1, HEAD_START + 2),
    ("meta", "reptile", True, 1, HEAD_START + 2),
]


@pytest.mark.parametrize(("name", "method", "jointly", "demos", "updates"), LEARNING)
def test_learning_on(runs, name, method, jointly, demos, updates, tmp_path):
    """Updates per step of a task are as in the source, where all tasks or one of them were in each. Without demonstrations 100 steps are
    collected first; none is made after the last step."""
    path, out = runs[name], tmp_path / "rows.jsonl"
    options = AdaptArguments(
        path.name, path.parent, tasks=("lift",), method=method, jointly=jointly, demos=demos, steps=(0, 6), episodes=2, out=out
    )
    options.check()
    new = tuned(path, adapt.adapt_run, options)
    config, had = config_file.load(new.path / "config.json"), source(name)
    others = had.tasks if jointly else ()
    counts = (demos, *(2 for _ in others))
    assert config.tasks == ("blocks:lift", *others)
    assert config.demos.of_tasks(len(config.tasks)) == counts
    assert (config.algorithm, new.status, new.steps) == ("c2farm", "finished", 6 * len(config.tasks))
    check_beginning(path, config, new.path)
    if any(counts):
        assert demo_rows(config, new.path) == expected_rows(config, new.path, counts)
    else:
        assert not (new.path / of_run.FOLDER).exists()
    assert config.replay.head_start == (had.replay.head_start if demos else 0)
    share = {"plain": 1, "infers": 2, "meta": 1}[name] / len(config.tasks)
    assert config.replay.updates_per_step == 0.5 * share
    done = saved(new.path).components["learner"]
    if name != "infers":
        assert done["updates"] == done["tensors"]["updates"].item() == updates
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["task"], row["settings"]["env_steps"]) for row in rows] == [("blocks:lift", 0)] * 2 + [("blocks:lift", 6)] * 2
    assert {row["simulator_seed"] for row in rows}.isdisjoint({config.demos.seed}), "goals are not those of the demonstrations"


def test_finetune_takes_them_too(runs):
    """As a command of its own, with all that it can be told; from scratch, too."""
    path = runs["plain"]
    options = FinetuneArguments(path.name, path.parent, tasks=("press",), steps=(6,), episodes=1, min_size=2)
    new = tuned(path, finetune, options)
    done = saved(new.path).components["learner"]
    assert done["updates"] == done["tensors"]["updates"].item() == 1, "(5 - 2) / 2: none is made after the last step"
    assert all(not np.array_equal(done["tensors"][name], leaf) for name, leaf in _params(saved(path)).items() if name.endswith("out.w"))
    plan = replace(options, min_size=None, method="scratch", demos=1, head_start=1)
    config = derived(source("plain"), "x", "blocks:press", 0, plan, None)
    assert (config.init.run, config.replay.head_start, config.replay.min_size) == ("", 1, 0)
    config = derived(source("plain"), "x", "blocks:press", 0, replace(options, min_size=None), None)
    assert (config.replay.head_start, config.replay.min_size) == (0, 100)
    of_few = replace(source("infers"), algo=replace(INFERS, tasks_per_batch=1))
    assert derived(of_few, "x", "blocks:lift", 0, options, None).replay.updates_per_step == 0.5, "each was in every other update"


def _params(checkpoint: Any) -> dict[str, Any]:
    return {name: leaf for name, leaf in checkpoint.components["learner"]["tensors"].items() if name.startswith("params.")}


@pytest.mark.parametrize("demos", [0, 1])
def test_by_context(runs, demos, tmp_path, capsys):
    path, out = runs["infers"], tmp_path / "rows.jsonl"
    tasks = ("lift", "blocks:press")[: 2 - demos]
    options = AdaptArguments(path.name, path.parent, tasks=tasks, method="context", demos=demos, episodes=2, goals=2, processes=1, out=out)
    options.check()
    capsys.readouterr()
    assert adapt.adapt_run(options) == 0
    said = " ".join(capsys.readouterr().out.split())
    results = Results.read(out)
    assert results.tasks == ("blocks:lift", "blocks:press")[: 2 - demos]
    own = results.of("blocks:lift")
    control, looks = [(0, True, 0)], [(0, True, demos), (0, False, demos), (1, True, demos), (1, False, demos), (2, True, demos)]
    assert [(row.adapted_episodes, row.look, row.demos) for row in own.rows] == ([*control, *looks] if demos else looks) * 2
    assert [len(part.rows) for part in (own.zero_shot(), own.shown(), own.adapted())] == [2, 2 * demos, 2]
    told = results.settings["blocks:lift"]
    assert (told["method"], told["adapts_by"], told.get("demos", 0)) == ("context", "memory", demos)
    assert ("0+1" in said) == bool(demos)
    assert "scenes are drawn anew" in said
    assert len(list((path / "evaluations").glob(f"adapt-2-*-lift*-demos-{demos}-fresh-0.jsonl"))) == 1


def test_a_trial_of_what_infers_tasks_may_have_many_goals():
    preset = presets.find("vision-faucet-open-pearl")
    assert (preset.simulator.repeat, preset.algo.inferred.trial) == (1, 10)  # type: ignore[attr-defined]
    session.check_trial(preset, 10)
    with pytest.raises(ConfigError, match=r"simulator\.repeat is 1, so goals change within a trial"):
        session.check_trial(presets.find("vision-faucet-open-mt"), 10)


def test_as_many_updates_and_rows_as_asked_for():
    asked = FinetuneArguments("x", tasks=("blocks:lift",), method="mixed", batch_size=7, updates_per_step=3.0)
    config = derived(source("meta"), "x", "blocks:lift", 0, asked, None)
    assert (config.algo.batch_size, config.replay.updates_per_step) == (7, 3.0)  # type: ignore[attr-defined]
    rounds = tiny(algorithm="ppo", algo=ppo.Config())
    with pytest.raises(ConfigError, match="--updates-per-step has no meaning here: x has learned by ppo, from each round once"):
        derived(rounds, "x", "dummy:point", 0, replace(asked, tasks=("dummy:point",)), None)


def test_an_adapting_run_evaluates_so_in_training():
    assert replace(source("infers"), evaluation=replace(source("infers").evaluation, adaptation=2)).check().adapts_to_tasks
    with pytest.raises(ConfigError, match="cannot repeat a goal"):
        replace(source("plain"), evaluation=replace(source("plain").evaluation, adaptation=2)).check()


# ---- what is remembered when ------------------------------------------------------------------------------------------


class Notes:
    """Counts what it remembers, and writes it down at the begin of every episode."""

    noise_dim, plan = 1, SimpleNamespace(context=1)

    def __init__(self) -> None:
        self.notes: list[tuple[bool, list[int]]] = []

    def recall(self, params, demos):
        return {"n": np.zeros(1, int), "recalled": np.array([100 * len(demos)])}

    def act(self, params, carry, seen, noise):
        N = len(seen.obs)
        carry = carry or {"n": np.zeros(N, int), "recalled": np.zeros(N, int)}
        n = np.where(seen.trial, carry["recalled"], carry["n"] + 1)
        if seen.episode.any():
            self.notes.append((noise is None, n[seen.episode].tolist()))
        return np.zeros((N, 1), np.float32), {"n": n, "recalled": np.zeros(N, int)}, {}


@pytest.mark.parametrize("lost", [{}, {(0, 1): 1}])
def test_every_trial_begins_without_and_then_recalls(lost):
    """Two trials of one task with two demonstrations: 3 steps an episode. Lost in the look after them, a trial is played again."""
    made, schedule = Notes(), Schedule.looked_at(2, demos=2)
    assert isinstance(made, Recalling)
    T, F = True, False
    assert [tuple(place) for place in schedule.places] == [(T, 0, F), (T, 0, T), (F, 0, T), (T, 1, T), (F, 1, T), (T, 2, T)]
    assert schedule.repeat == schedule.trial == 6 and schedule.places[0] == Place(True, 0)
    evaluator = PolicyEvaluator(made, Fake([[-1] * 12], 3, lost=lost), each_from_zero([0], 2, schedule))  # type: ignore[arg-type]
    rows = evaluator.results(Weights(0, {}), demos=[[None, None]]).rows  # type: ignore[list-item]
    assert [row.demos for row in rows] == [0, 2, 2, 2, 2, 2] * 2
    trial = [(T, [0]), (T, [200]), (F, [200]), (T, [203]), (F, [203]), (T, [206])]
    heard = [note for note in made.notes if not lost or note != (T, [0])]
    assert made.notes[:12] == trial * 2 if not lost else heard[-5:] == trial[1:]
    with pytest.raises(ConfigError, match="1 demonstrations and 0 episodes"):
        Schedule(demos=1)


# ---- names and refusals -----------------------------------------------------------------------------------------------


def test_names_may_be_short():
    assert full_names(("faucet-open", "door-cl", "push"), "metaworld_vision") == tuple(
        f"metaworld_vision:{name}-v3" for name in ("faucet-open", "door-close", "push")
    )
    assert full_names(("lift", "blocks:tuoch", "pr"), "blocks") == ("blocks:lift", "blocks:tuoch", "blocks:press"), "checked later"
    assert full_names(("faucet-open@3",), "metaworld") == ("metaworld:faucet-open-v3@3",)
    assert full_names(("Pendulum-v1",), "gym") == ("gym:Pendulum-v1",)
    with pytest.raises(
        ConfigError, match=r"task 'faucet' of simulator metaworld could be any of 2. Allowed: one of faucet-\w+-v3, faucet-"
    ):
        full_names(("faucet",), "metaworld")
    with pytest.raises(
        ConfigError, match=r"unknown task of simulator blocks 'lfit'\. Perhaps you meant 'lift'\. Allowed: lift, press, touch"
    ):
        full_names(("lfit",), "blocks")
    with pytest.raises(ConfigError, match="--tasks has blocks:lift twice"):
        full_names(("lift", "blocks:lift"), "blocks")


def test_goals_kept_apart():
    """Of Meta-World's frozen test goals the first, each once; blocks has none."""
    seen = replace(source("plain"), tasks=("metaworld_vision:push-v3",), simulator=metaworld_vision.Options(goals=30))
    judged = judged_apart(seen, 30)
    assert (judged.simulator.split, judged.evaluation.in_turn, judged.evaluation.episodes) == ("test", True, 30)  # type: ignore[attr-defined]
    assert judged.options_of_trials(Schedule.looked_at(2, demos=1)) == seen.simulator_options | {
        "split": "test",
        "order": "in_turn",
        "repeat": 6,
    }
    with pytest.raises(ConfigError, match="31, in turn over 30 goals"):
        judged_apart(seen, 31)
    with pytest.raises(ConfigError, match="no goals of blocks:touch were kept apart"):
        judged_apart(source("plain"), 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "finetune", "tasks": ()}, "--method has no meaning here: it goes with --tasks"),
        ({"demos": 2, "tasks": ()}, "--demos has no meaning here: it goes with --tasks"),
        ({}, "--tasks needs --method. Allowed: finetune, reptile"),
        ({"method": "context", "jointly": True}, "--jointly has no meaning with --method context: it goes with finetune or reptile"),
        ({"method": "context", "steps": (0, 5)}, "--steps has no meaning with --method context"),
        ({"method": "finetune", "goals": 3}, "--goals has no meaning with --method finetune: it goes with context"),
        ({"method": "reptile", "step": 3}, "--step has no meaning with --method reptile"),
        ({"method": "finetune", "demos": -1}, "--demos is -1. Allowed: 0 and up"),
        ({"method": "finetune", "protocol": "ml10"}, "--tasks and --protocol do not go together"),
    ],
)
def test_options_that_do_not_go_together(changes, said):
    with pytest.raises(ConfigError, match=said):
        AdaptArguments("x", **{"tasks": ("lift",), **changes}).check()


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "plain",
            {"method": "reptile"},
            "--method is reptile, but plain-s0-.* has learned by c2farm. Allowed: finetune, or runs of reptile",
        ),
        ("plain", {"method": "context"}, "--method is context, but the policy of plain-s0-.*, of c2farm, infers no task. Allowed: runs of"),
        ("meta", {"method": "context"}, "of reptile, infers no task"),
        ("plain", {"method": "finetune", "steps": (0,)}, "--steps is 0"),
        ("infers", {"method": "context", "tasks": ("fly",)}, "unknown task of simulator blocks 'fly'. Allowed: lift, press, touch"),
        ("infers", {"method": "context", "tasks": ("blocks:fly",)}, "unknown task of simulator blocks 'fly'"),
        ("plain", {"method": "finetune", "tasks": ("blocks:fly",)}, "unknown task of simulator blocks 'fly'"),
    ],
)
def test_what_a_run_cannot_is_refused_before_anything_starts(runs, name, changes, said):
    path = runs[name]
    before = len(Registry(path.parent).list())
    with pytest.raises(ConfigError, match=said):
        adapt.adapt_run(AdaptArguments(path.name, path.parent, **{"tasks": ("lift",), **changes}))
    assert len(Registry(path.parent).list()) == before


def test_demonstrations_where_they_mean_nothing():
    asked = FinetuneArguments("x", tasks=("dummy:point",), demos=2)
    with pytest.raises(ConfigError, match="--demos is 2, but x has learned by sac, which does not learn from demonstrations"):
        derived(tiny(), "x", "dummy:point", 0, asked, None)
    with pytest.raises(ConfigError, match="--head-start is 5 updates on demonstrations, but a task has none"):
        derived(source("plain"), "x", "blocks:lift", 0, FinetuneArguments("x", tasks=("blocks:lift",), head_start=5), None)
    with pytest.raises(ConfigError, match=r"demos\.counts has 3 numbers for 1 tasks"):
        replace(source("plain"), demos=DemosConfig(counts=(1, 2, 3))).check()
    with pytest.raises(ConfigError, match="3 updates from demonstrations, but blocks:press has none: it must be 0"):
        replace(source("plain"), tasks=BOTH, demos=DemosConfig(counts=(1, 0))).check()
    with pytest.raises(ConfigError, match=r"demos.counts is \(1,\) and demos.count 2"):
        DemosConfig(count=2, counts=(1,))

"""Several tasks in one run: as much data of each, evaluations judged together."""

import json
import os
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from unittest import mock

import numpy as np
import pytest

from core.metrics import read_metrics
from core.seeding import SeedTree
from manyhands.balance import Shares
from manyhands.shortage import Short, in_words, short_tasks, wanted
from manyhands.tables import print_run
from protocols.evaluator import Evaluation, TaskOutcome
from replay.ingest import ring_file
from replay.ring import Ring
from tests.system.tiny import evaluations, opened, run_through, saved, tiny


def test_two_tasks_share_a_run(tmp_path):
    config = tiny(tasks=("dummy:point", "dummy:point"), total_steps=400, actors={"actors": 4})
    seen = {}

    def look(run):
        ring = Ring.attach(ring_file(run.id))
        seen["live"] = ring.state().live.tolist()
        seen["writers"] = [set(ring.rows[k]["writer"][ring.steps(k)].tolist()) for k in range(2)]
        ring.close()

    folder = run_through(config, tmp_path, (400, look))
    assert seen["writers"] == [{0, 2}, {1, 3}]
    assert seen["live"][0] == seen["live"][1] > 100
    parts = saved(folder).components
    assert parts["learner"]["tensors"]["params.log_alpha.log_alpha"].shape == (1, 2)
    assert parts["driver"]["best"]["episodes"] == 4
    assert len(evaluations(folder)) == 1


def evaluation(version: int, *success: float) -> Evaluation:
    flags = [np.arange(10) < 10 * share for share in success]
    return Evaluation(version, tuple(TaskOutcome(f"dummy:{k}", f, f, np.zeros(10), np.full(10, -1)) for k, f in enumerate(flags)))


def test_a_run_is_as_good_as_its_mean_and_meets_a_target_in_every_task(tmp_path):
    """The best by the mean is not the one whose worst task is best."""
    config = tiny(tasks=("dummy:point", "dummy:point"), evaluation={"target_success": 0.5})
    with opened(config, tmp_path) as run:
        run.fleet.evaluated = run.fleet.weights
        run._evaluated(evaluation(1, 1.0, 0.4))
        assert not run.done()
        run._evaluated(evaluation(2, 0.6, 0.5))
        assert run.done()
        assert run.reason == "target"
        one, other = evaluations(run.folder)
        assert (one["eval/version"], one["eval/success_any"], one["eval/success_any_min"]) == (1, pytest.approx(0.7), 0.4)
        assert (other["eval/point.0/success_any"], other["eval/point.1/success_last"], other["eval/point.1/return"]) == (0.6, 0.5, 0.0)
        assert (run.outcomes.best["version"], run.outcomes.last["version"]) == (1, 2)


def test_a_finished_run_leaves_its_result_task_by_task(tmp_path):
    """In the file, in the metrics of evaluations and of training, and in a table; and after a resume what was best is still known."""
    config = tiny(tasks=("dummy:point", "dummy:counter"), simulator={"action_dim": 4}, total_steps=200, evaluation={"every_steps": 90})
    folder = run_through(config, tmp_path)
    result = json.loads((folder / "result.json").read_text())
    facts = {"run": folder.name, "seed": 0, "preset": "tiny", "steps": 200, "reason": "steps", "evaluated_at_step": 200}
    assert {key: result[key] for key in facts} == facts
    assert list(result["tasks"]) == list(config.tasks)
    counter = result["tasks"]["dummy:counter"]
    assert {name: len(values) for name, values in counter.items()} == dict.fromkeys(
        ("success_any", "success_last", "return", "first_success"), 2
    )
    assert counter["return"] == [210.0, 210.0], "1 + 2 + ... + 20"
    assert result["best"]["tasks"].keys() == result["tasks"].keys()
    assert evaluations(folder)[-1]["eval/version"] == result["version"]
    assert evaluations(folder)[-1]["eval/counter/return"] == 210.0
    row = read_metrics(folder / "metrics.jsonl")[-1]
    assert row["actor/counter/return"] == 210.0
    assert 0 <= row["actor/point/success_any"] <= 1
    assert all(0 <= row[f"time/{name}_share"] <= 1 for name in Shares._fields)
    assert not (folder / "result.json.part").exists()
    run_through(config, tmp_path, run=folder.name)
    assert json.loads((folder / "result.json").read_text())["best"] == result["best"]
    text = told(partial(print_run, folder.name, tmp_path))
    assert "mean over tasks" in text
    assert max(map(len, text.split("evaluations")[1].split("settings")[0].splitlines())) <= 80


def told(show) -> str:
    """What a command prints on a terminal of 80 columns."""
    out = StringIO()
    with redirect_stdout(out), mock.patch.dict(os.environ, {"COLUMNS": "80"}):
        show()
    return out.getvalue()


def seeds_of(obs):
    return set((obs[:, 0].astype(int) + 65536 * obs[:, 3].astype(int)).tolist())


def test_a_task_that_lost_its_data_is_waited_for_and_batches_always_have_as_much_of_each(tmp_path):
    """At 300 steps all that replay has of the second task is withdrawn. The counter tells its simulator's seed and its variation."""
    config = tiny(tasks=("dummy:counter", "dummy:counter"), total_steps=400)
    own = [{SeedTree(0).child("task", k).child("actor", 0).child("simulator", i).integer() for i in range(2)} for k in range(2)]
    seen = {"draws": 0, "withdrawn": set(), "first": None}

    def watch(run):
        source = run.fleet.backend._components["learner"].stack.feed.sources[0]
        draw = source.sample

        def sample():
            drawn = draw()
            batch = source.assemble(source.buffer)
            assert batch.obs.shape[:2] == (2, 16)
            if seen["first"] is None:
                seen["first"] = run.fleet.ring.state().live.tolist()
            for k in range(2):
                obs = batch.obs[k].numpy()
                assert seeds_of(obs) <= own[k]
                if k == 1:
                    assert not {(int(o[0]), int(o[1])) for o in obs} & seen["withdrawn"]
            seen["draws"] += 1
            return drawn

        source.sample = sample

    def withdraw(run):
        ring = run.fleet.ring
        rows = ring.rows[1][ring.steps(1)]
        seen["withdrawn"] = {(int(o[0]), int(o[1])) for o in rows["obs"]}
        for episode in sorted(set(rows["episode"].tolist())):
            run.fleet.backend._components["ingest"].discard_episode(1, episode)
        del rows
        assert not run.fleet.drawable()
        assert [(s.task, s.live, s.wanted) for s in run.fleet.short] == [(1, 0, 1)]
        run.progress._balance(run.fleet)
        assert (run.progress.bound_by, run.progress.waiting) == ("data", "waiting for data of counter.1 (0 of 1)")
        assert run.progress.row(run.fleet)["replay/short_tasks"] == 1.0
        seen["before"] = seen["draws"]

    def later(run):
        assert run.fleet.drawable()
        assert run.progress.row(run.fleet)["replay/short_tasks"] == 0.0

    run_through(config, tmp_path, (0, watch), (300, withdraw), (380, later))
    assert min(seen["first"]) >= 30, "the first update waits for min_size / K of each"
    assert seen["withdrawn"]
    assert seen["draws"] > seen["before"] > 0


def test_the_first_update_waits_for_every_tasks_share():
    replay = tiny(replay={"min_size": 400, "capacity": 1000}).replay
    assert short_tasks([200, 12], replay, 0) == [Short(1, 12, 200)]
    assert in_words(short_tasks([200, 12], replay, 0), ["a", "b"]) == "waiting for data of b (12 of 200)"
    assert (
        in_words(short_tasks([4, 3, 2, 1], replay, 0), "abcd") == "waiting for data of d (1 of 100), c (2 of 100), b (3 of 100) and 1 more"
    )
    assert short_tasks([200, 12], replay, 1) == []
    assert short_tasks([200, 0], replay, 1) == [Short(1, 0, 1)]
    assert short_tasks([200, 0, 0], replay, 1, [0, 7, 0]) == [Short(2, 0, 1)]
    assert short_tasks([0, 12], replay, 0, [3, 0]) == [Short(1, 12, 200)], "who has demonstrations is not waited for"
    assert wanted(tiny(replay={"min_size": 1, "capacity": 1000}).replay, 4, 0) == 1
    assert wanted(tiny(replay={"min_size": 1000, "capacity": 1000}).replay, 1, 0) == 250, "closing rows take room: 1000 could never be live"

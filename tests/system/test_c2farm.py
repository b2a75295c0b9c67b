"""C2F-ARM as real runs, from demonstrations: killed and resumed, several seeds at once, its PEARL and Reptile forms, then judged."""

import pytest

from algos.reptile import Config as ReptileConfig
from manyhands import config_file
from manyhands.registry import Registry
from replay.demos import demo_file
from tests.system.farm import EXACT, FARM, INFERRED, TWO, columns, farmed
from tests.system.tiny import (
    PATIENCE_S,
    ROOT,
    assert_equal,
    evaluations,
    kill_9,
    manyhands,
    run_through,
    saved,
    spawn,
    start_child,
    steps_saved,
    wait_for,
)

LONG = {"total_steps": 120, "evaluation": {"every_steps": 60}}
FORMS = {
    "pearl": {"algo": INFERRED, "demos": {"count": 0}, "replay": {"head_start": 0, "min_size": 8}},
    "reptile": {"algorithm": "reptile", "algo": ReptileConfig(inner="c2farm", settings=FARM, inner_updates=3, target="stays")},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of runs in which the demonstrations are collected once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def straight(root):
    """A run that nothing happens to."""
    return run_through(farmed(**LONG), root)


def check_same(one, other, parts=EXACT):
    for name in parts:
        assert_equal(saved(one).components[name], saved(other).components[name], name)
    assert columns(one) == columns(other)


def test_a_run_learns_from_demonstrations_before_its_first_step_and_then_from_both(straight):
    learner = saved(straight).components["learner"]
    assert 4 + 56 <= learner["updates"] <= 4 + 60, "a head start, then one update for two env steps, but perhaps of the last ones"
    assert evaluations(straight)[-1]["step"] == 120
    assert not demo_file(straight.name).exists()
    rows = columns(straight)
    assert any(rows["voxel_value"]) and any(rows["voxel"])


def test_killed_and_resumed_it_is_the_run_that_was_never_killed(root, straight):
    process, run = start_child(farmed(**LONG, checkpoint={"every_s": 0.2}), root)
    folder = root / run
    wait_for(lambda: steps_saved(folder), "a checkpoint", process)
    kill_9(process)
    assert steps_saved(folder)[-1] < 120
    done = manyhands("resume", run, "--runs", root)
    assert (done.returncode, done.stderr) == (0, ""), done
    check_same(straight, folder, ("learner", "actor-0", "fleet"))
    assert not demo_file(run).exists()


def test_seeds_at_once_are_the_runs_they_would_be_alone(root, straight, tmp_path):
    config = farmed(**LONG, demos={"folder": str(root / "demos")})
    config_file.save(config, tmp_path / "config.json")
    process = spawn(str(ROOT / "tests/system/many.py"), str(tmp_path / "config.json"), str(tmp_path / "runs"), "0,1", "2", "0")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, ""), out
    found = {int(row.seed): row for row in Registry(tmp_path / "runs").list()}
    assert {seed: row.status for seed, row in found.items()} == dict.fromkeys((0, 1), "finished")
    check_same(straight, found[0].path)
    assert columns(found[1].path) != columns(straight)


def test_eval_and_show_know_what_to_do_with_it(root, straight):
    judged = manyhands("eval", straight.name, "--runs", root, "--episodes", "2")
    assert judged.returncode == 0, judged
    assert "blocks:touch" in judged.stdout
    told = manyhands("show", straight.name, "--runs", root)
    assert (told.returncode, told.stderr) == (0, ""), told
    assert "c2farm" in told.stdout


@pytest.mark.parametrize("form", FORMS)
def test_a_form_learns_of_two_tasks_is_resumed_bit_for_bit_and_judged(root, form):
    """Cut in the midst of episodes and, with PEARL, of trials: what actors remember of those is in the checkpoint."""
    whole, part = 48, 22
    common = {"tasks": TWO, "evaluation": {"every_steps": 24}, **FORMS[form]}
    one = run_through(farmed(total_steps=whole, **common), root, (part, lambda run: run.save(wait=True)))
    other = run_through(farmed(total_steps=part, **common), root)
    resumed = farmed(total_steps=whole, **common)
    config_file.save(resumed, other / "config.json")
    assert run_through(resumed, root, run=other.name) == other
    check_same(one, other)
    assert saved(one).components["learner"]["updates"] >= 12
    assert all({"eval/success_any", "eval/version"} <= row.keys() for row in evaluations(one))
    assert len(evaluations(one)) == 2
    judged = manyhands("eval", one.name, "--runs", root, "--episodes", "2")
    assert (judged.returncode, judged.stderr) == (0, ""), judged
    assert all(task in judged.stdout for task in TWO)

"""The commands that show and tell: quick, complete, and without loading what they do not need."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ask
from tests.system.tiny import manyhands, saved

LIGHT = [
    ["--help"],
    [],
    ["train", "--help"],
    ["resume", "--help"],
    ["eval", "--help"],
    ["adapt", "--help"],
    ["runs", "--help"],
    ["presets"],
    ["runs"],
]


def test_help_and_lists_load_nothing_heavy(tmp_path):
    for command, answer in zip(LIGHT, ask(LIGHT, tmp_path), strict=True):
        assert (answer["code"], answer["err"]) == (0, ""), command
        assert not {"torch", "ray"} & set(answer["loaded"]), command
        assert answer["out"], command
    assert not list(tmp_path.iterdir()), "a look must leave nothing"


def test_what_the_lists_say(finished, tmp_path):
    runs = ["--runs", str(finished.parent)]
    empty, listed, shown, presets = ask([["runs"], ["runs", *runs], ["show", finished.name[-4:], *runs], ["presets"]], tmp_path)
    assert "no runs in runs yet" in empty["out"]
    assert "manyhands train" in empty["out"]
    assert f"{finished.name}  finished  160" in " ".join(listed["out"].split("\n"))
    for part in (finished.name, "finished", "100, 160", "dummy:point", "updates_per_step 0.5"):
        assert part in shown["out"]
    assert f"next: manyhands eval {finished.name}" in shown["out"]
    assert "reach-sac" in presets["out"]
    assert all(answer["code"] == 0 for answer in (empty, listed, shown, presets))


def test_settings_of_a_preset_are_all_listed(tmp_path):
    (answer,) = ask([["train", "reach-sac", "--help"]], tmp_path)
    assert answer["code"] == 0
    several = ("--seeds", "--at-once", "--stack", "--devices", "--per-device")
    for flag in ("--algo.tau", "--actors.simulators", "--replay.capacity", *several, "--backend", "--dry-run", "--checkpoint.every-s"):
        assert flag in answer["out"]


def test_eval(finished, tmp_path):
    last = ["eval", finished.name, "--runs", str(finished.parent), "--episodes", "3"]
    answers = ask([[*last, "--which", "last"], [*last, "--which", "last"], [*last, "--step", "100"]], tmp_path)
    assert all((a["code"], a["err"]) == (0, "") for a in answers)
    version = saved(finished).components["published"]["version"]
    assert f"weights version {version}" in answers[0]["out"]
    assert "dummy:point" in answers[0]["out"]
    assert answers[0]["out"] == answers[1]["out"], "the same goals, the same result"
    assert "horizon 20" in answers[2]["out"]


@pytest.mark.metaworld
def test_dry_run_says_what_it_would_cost_and_keeps_nothing(tmp_path):
    done = manyhands("train", "reach-sac", "--learner.compile", "eager", "--actors.simulators", "2", "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("replay", "MB of shared memory", "disk", "env steps/s", "updates/s", "estimate", "updates_per_step"):
        assert word in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.metaworld
def test_a_preset_from_train_to_eval(tmp_path):
    """Through the real command line: it ends, says honestly that the target was not reached, and names the next command, which works."""
    small = ["--simulator.horizon", "40", "--evaluation.horizon", "40", "--evaluation.episodes", "2", "--evaluation.every-steps", "200"]
    small += ["--actors.simulators", "2", "--actors.random-steps", "100", "--replay.min-size", "100", "--replay.capacity", "5000"]
    small += ["--algo.hidden", "16", "--algo.batch-size", "16", "--learner.compile", "eager", "--total-steps", "400", "--seeds", "0,1"]
    done = manyhands("train", "reach-sac", *small, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, ""), done
    assert done.stdout.count("did not reach the target") == 2
    runs = sorted(path.name for path in (tmp_path / "runs").glob("reach-sac-s*"))
    assert [run[:-5] for run in runs] == ["reach-sac-s0", "reach-sac-s1"]
    for seed, run in enumerate(runs):
        assert f"next: manyhands eval {run}" in done.stdout, f"seed {seed}"
    protocol = ["eval", runs[0], "--protocol"]
    answer, played, *refused = ask(
        [
            ["eval", runs[0], "--episodes", "2"],
            [*protocol, "mt1-reach-v3", "--setting", "2019"],
            [*protocol, "mt10"],
            [*protocol, "ml1-reach-v3"],
        ],
        tmp_path,
    )
    assert "v1" in played["out"]
    assert "horizon 150" in played["out"]
    (rows,) = (tmp_path / "runs" / runs[0] / "evaluations").glob("*mt1-reach-v3-2019.jsonl")
    (row,) = [json.loads(line) for line in rows.read_text().splitlines()]
    assert (row["length"], row["settings"]["run"], row["settings"]["goals"]) == (150, runs[0], "1 train")
    assert "was not trained on" in refused[0]["err"]
    assert "hides the goal" in refused[1]["err"]
    assert answer["code"] == 0
    assert "reach-v3" in answer["out"]


def test_the_entry_point_is_installed():
    assert shutil.which("manyhands", path=str(Path(sys.executable).parent))

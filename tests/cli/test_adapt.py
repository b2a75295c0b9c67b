"""``manyhands adapt``: on goals of the run's own tasks and on a protocol's test tasks; mistakes are one line."""

import dataclasses
import json

import pytest

from protocols.rows import Results
from simulators import metaworld
from tests.cli.conftest import ask
from tests.cli.test_errors import check
from tests.system.tiny import run_through, tiny


@pytest.fixture(scope="module")
def answers(finished, tmp_path_factory):
    """Many command lines, one process."""
    folder = tmp_path_factory.mktemp("adapt")
    run = ["adapt", finished.name, "--runs", str(finished.parent)]
    commands = {
        "three": [*run, "--goals", "3", "--episodes", "3", "--out", "three.jsonl", "--processes", "1"],
        "eval": ["eval", finished.name, "--runs", str(finished.parent), "--episodes", "3", "--which", "last", "--out", "eval.jsonl"],
        "no run": ["adapt"],
        "unknown run": ["adapt", "nope", "--runs", str(finished.parent)],
        "episodes": [*run, "--episodes", "0"],
        "setting": [*run, "--setting", "2019"],
        "which": [*run, "--which", "worst"],
        "protocol": [*run, "--protocol", "ml11"],
        "no adaptation": [*run, "--protocol", "mt10"],
        "foreign": [*run, "--protocol", "ml10"],
        "step": [*run, "--step", "77"],
    }
    return dict(zip(commands, ask(list(commands.values()), folder), strict=True)) | {"folder": folder}


def test_fresh_goals_of_the_runs_own_task(finished, answers):
    answer = answers["three"]
    assert (answer["code"], answer["err"]) == (0, "")
    for part in ("adapts on fresh-0", "dummy:point", "zero-shot control", "all looks at one goal are alike", "return of the adaptation"):
        assert part in " ".join(answer["out"].split())
    results = Results.read(answers["folder"] / "three.jsonl")
    assert len(results.rows) == 3 * (3 + 4), "three goals; looks after 0, 1, 2 and 3"
    assert results.looks == (0, 1, 2, 3)
    told = results.settings["dummy:point"]
    assert (told["run"], told["adapts_by"], told["checkpoint"], told["adaptation"]) == (finished.name, "nothing", "last", 3)
    (kept,) = (finished / "evaluations").glob("adapt-3-version-*-fresh-0.jsonl")
    assert kept.read_text() == (answers["folder"] / "three.jsonl").read_text()


def test_the_zero_shot_control_is_what_eval_finds(answers):
    """Same goals, same policy; and without a memory every look is."""
    assert answers["eval"]["code"] == 0, answers["eval"]
    plain = Results.read(answers["folder"] / "eval.jsonl")
    adapted = Results.read(answers["folder"] / "three.jsonl")
    for n in adapted.looks:
        assert adapted.after(n).column("episode_return").tolist() == pytest.approx(plain.column("episode_return").tolist(), rel=1e-5)
    assert len(set(plain.column("episode_return"))) == 3, "three goals"
    assert set(adapted.exploration().column("episode_return")).isdisjoint(plain.column("episode_return"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no run", "adapt needs a run"),
        ("unknown run", "nope"),
        ("episodes", "--episodes is 0. Allowed: 1 and up"),
        ("setting", "--setting has no meaning here: it goes with --protocol"),
        ("which", "'worst'"),
        ("protocol", "'ml11'.*Perhaps you meant 'ml1"),
        ("no adaptation", "mt10 is judged without adaptation. Allowed: ml10, ml45, ml1-TASK"),
        ("foreign", "ml10 is of Meta-World, the run was trained on dummy:point"),
        ("step", "77"),
    ],
)
def test_a_mistake_is_one_line(answers, name, says):
    check(answers[name], says)


@pytest.mark.metaworld
def test_a_task_that_the_run_never_saw(tmp_path):
    """A single-task policy is not told its task, so it may be asked to push though it was trained to reach."""
    options = metaworld.Options(goals=2, hide_goal=True, reward_version="v1", horizon=20)
    small = tiny(total_steps=30, actors={"actors": 1, "simulators": 1}, replay={"min_size": 20}, evaluation={"episodes": 1})
    config = dataclasses.replace(small, tasks=("metaworld:reach-v3",), simulator=options).check()
    folder = run_through(config, tmp_path / "runs")
    adapt = ["adapt", folder.name, "--episodes", "1", "--protocol"]
    played, own, rewards, goals = ask(
        [
            [*adapt, "ml1-push-v3", "--setting", "2019", "--goals", "2", "--processes", "1"],
            ["adapt", folder.name, "--episodes", "1", "--processes", "1"],
            [*adapt, "ml1-reach-v3"],
            [*adapt, "ml1-reach-v3", "--setting", "2019", "--goals", "11"],
        ],
        tmp_path,
    )
    assert (played["code"], played["err"]) == (0, "")
    assert "push-v3" in played["out"]
    (file,) = (folder / "evaluations").glob("adapt-1-version-*-ml1-push-v3-2019.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["variation"], row["look"], row["adapted_episodes"]) for row in rows] == [
        (v, *part) for v, part in enumerate([(True, 0), (False, 0), (True, 1)] * 2)
    ]
    assert {row["settings"]["goals"] for row in rows} == {"2 test"}
    assert {row["length"] for row in rows} == {150}
    assert rows[0]["episode_return"] == rows[2]["episode_return"] != rows[3]["episode_return"], "one goal per trial"
    assert own["code"] == 0
    assert "training-goals" in own["out"]
    check(rewards, "reward_version is v2 in ml1-reach-v3 v3, and was v1 in training.*--setting")
    check(goals, "--goals is 11. Allowed: 1 to 10")

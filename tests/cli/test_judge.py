"""``manyhands eval --policy``: policies without training on a protocol."""

import json

import pytest

from manyhands.cli import main
from tests.system.tiny import PATIENCE_S, spawn

pytestmark = pytest.mark.metaworld


def _play(capsys, *args):
    code = main(["eval", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_scripted_policy_solves_its_task_and_every_episode_is_kept(capsys, tmp_path):
    out = tmp_path / "rows.jsonl"
    code, said, _ = _play(capsys, "--policy", "scripted", "mt1-drawer-close-v3", "--goals", "3", "--processes", "1", "--out", str(out))
    assert code == 0
    assert "drawer-close-v3" in said
    assert "success rule v2" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["variation"] for row in rows) == [0, 1, 2]
    assert all(row["success_any"] and row["success_last"] and 60 < row["first_success"] < 100 for row in rows)
    told = rows[0]["settings"]
    assert (told["reward_version"], told["horizon"], told["goals"]) == ("v2", 500, "3 train")
    assert (told["actions"], told["protocol"], told["setting"]) == ("scripted", "mt1-drawer-close-v3", "v3")


def test_not_moving_solves_nothing_and_the_old_setting_is_shorter(capsys, tmp_path):
    out = tmp_path / "rows.jsonl"
    code, said, _ = _play(capsys, "--policy=zero", "mt1-push-v3", "--setting", "2019", "--processes", "1", "--out", str(out))
    assert code == 0
    assert "never" in said
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (row["length"], row["success_any"], row["settings"]["reward_version"]) == (150, False, "v1")


def test_meta_learning_goals_are_those_of_the_test_and_shown_to_the_expert(capsys, tmp_path):
    out = tmp_path / "rows.jsonl"
    _play(capsys, "--policy", "scripted", "ml1-reach-v3", "--goals", "2", "--processes", "1", "--out", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["variation"] for row in rows) == [0, 1, 2, 3, 4, 5]
    assert all(row["success_any"] for row in rows)
    assert (rows[0]["settings"]["goals"], rows[0]["settings"]["goal_visible"]) == ("2 test", "true")


def test_random_actions_repeat_with_their_seed(capsys, tmp_path):
    returns = []
    for seed in (1, 1, 2):
        out = tmp_path / f"{len(returns)}.jsonl"
        _play(capsys, "--policy", "random", "mt1-reach-v3", "--goals", "1", "--seed", str(seed), "--processes", "1", "--out", str(out))
        returns.append(json.loads(out.read_text())["episode_return"])
    assert returns[0] == returns[1] != returns[2]


def test_processes_share_the_tasks_and_change_nothing(capsys, tmp_path):
    """ML10 has five test tasks; two processes play them, each with simulators of its own."""
    outs = [tmp_path / f"{count}.jsonl" for count in (1, 2)]
    command = ["eval", "--policy", "zero", "ml10", "--goals", "1", "--setting", "2019"]
    assert main([*command, "--processes", "1", "--out", str(outs[0])]) == 0
    child = spawn("-m", "manyhands", *command, "--processes", "2", "--out", str(outs[1]))
    out, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0, err
    assert "mean over tasks" in out
    assert outs[0].read_text() == outs[1].read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--policy", "scripted", "mt11"], "mt10"),
        (["--policy", "scripted", "mt10", "--goals", "51"], "--goals is 51. Allowed: 1 to 50"),
        (["--policy", "scripted", "mt10", "--goals", "-1"], "--goals is -1"),
        (["--policy", "scripted", "mt10", "--processes", "0"], "--processes is 0"),
        (["--policy", "best", "mt10"], "scripted"),
        (["--policy", "scripted"], "a protocol: mt10"),
        (["--policy", "zero", "mt10", "--episodes", "3"], "--episodes has no meaning here"),
        (["--policy", "zero", "mt10", "--step", "3"], "--step has no meaning here: it goes with a run"),
        (["mt10"], "mt10 is a protocol, not a run"),
        (["some-run", "--goals", "3"], "--goals has no meaning here"),
        (["some-run", "--protocol", "mt10", "--episodes", "3"], "--episodes has no meaning here"),
    ],
)
def test_mistakes_are_one_line(capsys, args, said):
    code, _, err = _play(capsys, *args)
    assert code == 2
    assert said in err.replace("PROTOCOL", "protocol")
    assert "Traceback" not in err

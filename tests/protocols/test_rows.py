"""Rows survive the way through a file, tell their settings line by line, and are not mixed where they must not be."""

import json
import math

import numpy as np
import pytest

from core.errors import ConfigError
from protocols.rows import Results, Row, score_matrix
from protocols.statistics import wilson_interval

SETTINGS = {"reward": "v2", "horizon": 500, "adaptation": 0, "evaluation": 1, "run": "r", "seed": 0}


def row(task="a", variation=0, success=False, last=None, first=-1, adapted=0, value=0.1, look=True) -> Row:
    return Row(task, variation, adapted, 11, success, success if last is None else last, first, 20, value, look)


def results(rows, **settings) -> Results:
    return Results(tuple(rows), dict.fromkeys({r.task for r in rows}, SETTINGS | settings))


def test_a_file_holds_all_and_every_line_stands_alone(tmp_path):
    one = results([row("a", 0, True, False, 7, value=1 / 3), row("b", 1)], checkpoint="last")
    path = tmp_path / "deeper" / "rows.jsonl"
    one.write(path)
    assert Results.read(path) == one
    last = json.loads(path.read_text().splitlines()[1])
    assert (last["task"], last["variation"], last["settings"]) == ("b", 1, SETTINGS | {"checkpoint": "last"})
    assert [file.name for file in path.parent.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("line", ["{", "[1]", '{"task": "a", "settings": {}}', json.dumps(row()._asdict())])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    results([row()]).write(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ConfigError, match="line 2"):
        Results.read(path)


def test_a_file_of_two_evaluations_is_refused(tmp_path):
    path, other = tmp_path / "one", tmp_path / "other"
    results([row()]).write(path)
    results([row()], reward="v1").write(other)
    path.write_text(path.read_text() + other.read_text())
    with pytest.raises(ConfigError, match="other settings"):
        Results.read(path)


def test_the_summary_of_a_task():
    rows = [row(first=4, success=True), row(first=9, success=True, last=False), row(first=5, success=True), row(value=0.7)]
    summary = results([*rows, row("b")]).summaries()
    a = summary["a"]
    assert (a.n, a.success_any, a.success_last, a.first_success) == (4, 0.75, 0.5, 5)
    assert a.episode_return == pytest.approx(0.25)
    assert a.any_interval == wilson_interval(3, 4) and a.last_interval == wilson_interval(2, 4)
    assert math.isnan(summary["b"].first_success)


def test_before_and_after_adaptation_are_never_averaged():
    explored = [row(adapted=k, look=False, value=k) for k in range(2)]
    mixed = results([row(adapted=k) for k in range(3)] + explored, adaptation=2)
    same = results([row(adapted=0), row(adapted=0, look=False)], adaptation=1)
    for ask in (mixed.means, mixed.summaries, same.means):
        with pytest.raises(ConfigError, match="mixed"):
            ask()
    assert mixed.exploration().means("episode_return") == {"a": 0.5}
    assert mixed.adapted().summaries()["a"].n == mixed.zero_shot().summaries()["a"].n == mixed.after(1).summaries()["a"].n == 1


def test_the_score_matrix_of_seeds_and_tasks():
    seeds = [results([row("a", success=s < 2), row("a"), row("b", success=True)], seed=s, run=f"r{s}") for s in range(3)]
    tasks, scores = score_matrix(seeds)
    assert tasks == ("a", "b")
    np.testing.assert_array_equal(scores, [[0.5, 1], [0.5, 1], [0, 1]])
    tasks, holey = score_matrix([seeds[0], seeds[1].of("b")], "success_last")
    np.testing.assert_array_equal(holey, [[0.5, 1], [np.nan, 1]])


def test_results_under_other_settings_do_not_share_a_matrix():
    with pytest.raises(ConfigError, match="differ in horizon, reward"):
        score_matrix([results([row()]), results([row()], reward="v1", horizon=150)])
    with pytest.raises(ConfigError, match="no results"):
        score_matrix([])

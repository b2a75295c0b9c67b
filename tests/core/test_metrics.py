"""Metrics: each row once, readable after a kill, NaN visible, TensorBoard as a view."""

import json
import math
import os
import sys

import numpy as np
import pytest
import torch

from core.errors import ManyhandsError
from core.metrics import Averages, Metrics, read_metrics


def values(path):
    return [(row["step"], row.get("a")) for row in read_metrics(path)]


def test_rows_are_there_at_once_and_as_logged(tmp_path):
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.log(10, {"learner/critic_loss": np.float32(0.5), "actor/success_any": torch.tensor([0.25, 1.0]), "n": 3})
    (row,) = read_metrics(metrics.path)
    assert row.pop("time") > 1e9
    assert row == {"step": 10, "learner/critic_loss": 0.5, "actor/success_any": [0.25, 1.0], "n": 3}
    metrics.close()
    metrics.close()


def test_what_is_not_finite_is_null_and_named(tmp_path):
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.log(1, {"a": math.nan, "b": np.array([1.0, math.inf]), "c": 2.0})
    text = metrics.path.read_text()
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (row["a"], row["b"], row["c"], row["nonfinite"]) == (None, [1.0, None], 2.0, ["a", "b"])


@pytest.mark.parametrize("name", ["step", "time", "nonfinite"])
def test_reserved_names(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        Metrics(tmp_path, tensorboard=False).log(1, {name: 1.0})


def test_a_torn_last_line_is_left_out_and_repaired(tmp_path):
    metrics = Metrics(tmp_path, tensorboard=False)
    for step in range(3):
        metrics.log(step, {"a": step})
    metrics.close()
    whole = metrics.path.read_bytes()
    for size in range(whole.rindex(b"{") + 1, len(whole)):
        os.truncate(metrics.path, size)
        assert values(metrics.path) == [(0, 0), (1, 1)]
        continued = Metrics(tmp_path, tensorboard=False)
        continued.log(9, {"a": 9})
        continued.close()
        assert values(metrics.path) == [(0, 0), (1, 1), (9, 9)]
        metrics.path.write_bytes(whole)


def test_damage_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ManyhandsError, match="line 2 of"):
        read_metrics(path)


def test_no_file_has_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_rewind_leaves_no_duplicates(tmp_path):
    first = Metrics(tmp_path, tensorboard=False)
    for step in (10, 20, 30, 40):
        first.log(step, {"a": 1})
    first.close()
    resumed = Metrics(tmp_path, tensorboard=False)
    resumed.rewind(20)
    resumed.log(30, {"a": 2})
    resumed.close()
    assert values(resumed.path) == [(10, 1), (20, 1), (30, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_rewind_of_an_empty_run(tmp_path):
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.rewind(0)
    metrics.log(1, {"a": 1})
    assert values(metrics.path) == [(1, 1)]


def test_tensorboard_gets_the_numbers_and_the_purge(tmp_path):
    tensorboard = pytest.importorskip("tensorboardX")
    written = []

    class Board:
        def __init__(self, folder, purge_step, flush_secs):
            written.append(("open", purge_step))

        def add_scalar(self, name, value, step, walltime):
            written.append((name, value, step))

        def close(self):
            written.append("close")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboard, "SummaryWriter", Board)
        metrics = Metrics(tmp_path)
        metrics.log(1, {"a": 1.0, "seeds": [2.0, math.nan]})
        metrics.rewind(0)
        metrics.log(1, {"a": np.ones(1)})
        metrics.close()
    assert written == [("open", None), ("a", 1.0, 1), ("seeds/0", 2.0, 1), "close", ("open", 1), ("a", 1.0, 1), "close"]


def test_real_tensorboard_files(tmp_path):
    pytest.importorskip("tensorboardX")
    metrics = Metrics(tmp_path)
    metrics.log(1, {"learner/critic_loss": 0.5})
    metrics.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"learner/critic_loss" in events.read_bytes()


def test_without_tensorboardx_the_rows_are_still_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    metrics = Metrics(tmp_path)
    metrics.log(1, {"a": 1})
    assert values(metrics.path) == [(1, 1)]
    assert not (tmp_path / "tensorboard").exists()


def test_averages_are_means_over_the_interval():
    averages = Averages()
    averages.add({"a": 1, "t": torch.tensor([1.0, 2.0]), "b": True})
    averages.add({"a": 2.0, "t": torch.tensor([3.0, 4.0], requires_grad=True)})
    means = averages.flush()
    assert means["a"] == 1.5
    assert means["b"] == 1.0
    assert isinstance(means["a"], float)
    assert means["t"].tolist() == [2.0, 3.0]
    assert averages.flush() == {}


@pytest.mark.parametrize("make", [torch.ones, np.ones])
def test_averages_do_not_keep_the_callers_array(make):
    averages, reused = Averages(), make(2)
    for value in (1.0, 3.0):
        reused[:] = value
        averages.add({"a": reused})
    assert averages.flush()["a"].tolist() == [2.0, 2.0]


def test_a_nan_stays_visible_in_the_mean():
    averages = Averages()
    averages.add({"a": 1.0})
    averages.add({"a": math.nan})
    assert math.isnan(averages.flush()["a"])

"""The summary over seeds, against numbers worked out by hand; and what the live table reads."""

import io
import json

import pytest
from rich.console import Console

from core.errors import ManyhandsError
from core.metrics import Metrics
from manyhands.registry import Registry
from manyhands.seeds_table import RESULT, SeedsView, last_metrics, print_summary
from protocols.statistics import wilson_interval


def write(folder, tasks, reason="steps"):
    """``tasks``: name -> (any, last) per episode."""
    folder.mkdir(parents=True)
    told = {
        task: {"success_any": any_, "success_last": last, "return": [1.0] * len(any_), "first_success": [0] * len(any_)}
        for task, (any_, last) in tasks.items()
    }
    (folder / RESULT).write_text(json.dumps({"run": folder.name, "reason": reason, "tasks": told, "best": told}))
    return folder


def printed(folders, not_begun=()):
    out = io.StringIO()
    print_summary(Console(file=out, width=160), folders, not_begun)
    return out.getvalue()


def line(text, begins):
    (found,) = [row for row in text.splitlines() if row.startswith(begins)]
    return found.split()


def share(good, n=10):
    return [True] * good + [False] * (n - good)


def test_two_seeds_have_the_interval_of_their_episodes(tmp_path):
    folders = {s: write(tmp_path / str(s), {"dummy:a": (share(8 + s), share(5))}) for s in range(2)}
    text = printed(folders)
    low, high = wilson_interval(17, 20)
    assert line(text, "dummy:a") == ["dummy:a", "2", "x", "10", "85.0%", f"{100 * low:.0f}-{100 * high:.0f}", "50.0%", "30-70", "1.0"]
    assert "mean over tasks" not in text, "there is one task"
    assert "Wilson" in text
    assert "fewer than 5 seeds say little" in text


def test_five_seeds_have_the_interval_over_seeds(tmp_path):
    goods = [0, 0, 10, 10, 10]
    tasks = {s: {"dummy:a": (share(good), share(0)), "metaworld:b-v3": (share(10), share(5))} for s, good in enumerate(goods)}
    text = printed({s: write(tmp_path / str(s), told) for s, told in tasks.items()})
    assert line(text, "dummy:a")[4:6] == ["60.0%", "20-100"]
    assert line(text, "b-v3")[4:8] == ["100.0%", "100-100", "50.0%", "50-50"]
    assert line(text, "mean over tasks")[3:8] == ["5", "x", "2", "tasks", "80.0%"]
    assert line(text, "mean over tasks")[8] == "60-100"
    assert "bootstrap over seeds" in text
    assert "say little" not in text


def test_episodes_differ_but_seeds_count_alike(tmp_path):
    folders = {0: write(tmp_path / "0", {"t": ([True] * 30, [True] * 30)}), 1: write(tmp_path / "1", {"t": ([False] * 10, [False] * 10)})}
    assert line(printed(folders), "t ")[:3] == ["t", "40", "50.0%"]


def test_who_is_not_in_it_is_named(tmp_path):
    good = {"t": (share(5), share(5))}
    (tmp_path / "2").mkdir()
    folders = {0: write(tmp_path / "0", good), 1: write(tmp_path / "1", good, "stopped"), 2: tmp_path / "2"}
    folders |= {3: write(tmp_path / "3", {}), 4: write(tmp_path / "4", {"other": (share(1), share(1))}, "target")}
    text = printed(folders, [5])
    assert "1 seed, their last evaluation" in text
    for seed, why in enumerate(["not finished (stopped)", "no result", "no evaluation", "other tasks than the first", "not begun"], 1):
        assert f"not in it: seed {seed}: {why}" in text
    assert "no summary of the seeds: seed 2: no result" in printed({2: tmp_path / "2"})


def test_a_damaged_result_is_told(tmp_path):
    folder = write(tmp_path / "0", {"t": (share(1), share(1))})
    (folder / RESULT).write_text('{"reason": "steps", "tasks": {"t": 3}}')
    with pytest.raises(ManyhandsError, match=r"result.json is damaged"):
        printed({0: folder})


def test_the_lines_of_several_runs(tmp_path):
    registry = Registry(tmp_path)
    runs = {seed: registry.get(registry.create("tiny", seed)) for seed in (0, 1)}
    metrics, rest = Metrics(runs[0].path, tensorboard=False), [f"time/{name}_share" for name in ("policy", "replay", "publish")]
    metrics.log(50, {"actor/steps_per_s": 123.4, "time/learner_share": 0.2, "time/simulator_share": 0.7, **dict.fromkeys(rest, 0.0)})
    metrics.log(50, {"eval/success_any": 0.5})
    metrics.close()
    registry.update(runs[0].id, steps=50, updates=7, success_any=0.5)
    with (runs[0].path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 51, "actor/steps')  # torn
    assert last_metrics(runs[0].path / "metrics.jsonl")["actor/steps_per_s"] == 123.4
    for terminal in (False, True):
        out = io.StringIO()
        with SeedsView(Console(file=out, width=160, force_terminal=terminal), [0, 1, 2], 400, registry, strict=True) as view:
            view.show(runs)
            view.show(runs)
        text = out.getvalue()
        for part in (runs[0].id, "50/400", "123", "50%", "simulator", runs[1].id, "0/400", "warm-up"):
            assert part in text
        assert terminal or text.count("\n") == 2, "what has not changed is not told again"
        assert not terminal or "waiting" in text

"""The benches of RLBench: refused without it and on its double, which is measured only where a test asks for that."""

import subprocess
import sys
from pathlib import Path

import pytest

from outpost.rlbench_tasks import installed
from tests.benches import loaded
from tests.rlbench_place import double_env

BENCH = Path(__file__).resolve().parents[1] / "bench"


def bench(name, *arguments, env=None):
    return subprocess.run([sys.executable, BENCH / f"{name}.py", *arguments], capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.skipif(installed(), reason="RLBench is installed")
def test_without_rlbench_one_line_says_what_to_install():
    done = bench("rlbench_step")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: RLBench is not installed") and done.stderr.count("\n") == 1


def test_the_double_is_refused_unless_asked_for(tmp_path):
    env, out = double_env(tmp_path), tmp_path / "out"
    done = bench("rlbench_step", "reach_target", "--out", str(out), env=env)
    assert done.returncode == 1 and "double of RLBench, whose times mean nothing" in done.stderr and not out.exists()
    small = ("--size", "16", "--episodes", "2", "--count", "2", "--out", str(out), "--double")
    done = bench("rlbench_step", "reach_target", "open_box", *small, env=env)
    assert (done.returncode, done.stderr) == (0, ""), done
    page = (out / "rlbench_step.md").read_text()
    assert "**On the tests' double: these are no measurements.**" in page
    rows = [line for line in page.splitlines() if line.startswith(("| reach_target", "| open_box"))]
    assert rows[0].endswith("| 2 of 2 | 2 |") and rows[1].endswith("| 0 of 2 | 0 |") and len(rows) == 3, (
        "what shows nothing is not collected"
    )


def test_the_table_of_rates_has_one_core_and_all():
    row = {"task": "a:b", "asked": 9, "made": 9, "retries": 1, "first_s": 2.0, "mb": 0.5, "per_core_s": 0.5}
    lines = loaded("demo_rate").table([{**row, "processes": 1}, {**row, "processes": 4, "per_core_s": 0.25}])
    assert "4 cores, per minute and core" in lines[0]
    assert lines[2] == "| b | 9 of 9 | 1 | 2.0 | 30.0 | 15.0 | 0.50 |"

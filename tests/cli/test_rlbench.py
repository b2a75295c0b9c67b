"""Every command on tasks of RLBench where that is not installed: one message with what to install, before anything starts."""

from pathlib import Path

import pytest

from manyhands import config_file, presets
from manyhands.registry import Registry
from outpost.rlbench_tasks import installed
from tests.cli.conftest import ask

TREE = Path(__file__).parents[1] / "data" / "rlbench_tree"
pytestmark = pytest.mark.skipif(installed(), reason="RLBench is installed")
LACKING = (
    "error: RLBench is not installed where this runs. It is not on PyPI, and needs CoppeliaSim 4.1 and PyRep: docs/rlbench.md says how"
)


@pytest.fixture
def run(tmp_path):
    """One that was begun where RLBench is installed."""
    row = Registry(tmp_path / "runs").create("rlbench-lamp-on-mt", 0)
    config_file.save(presets.find("rlbench-lamp-on-mt"), tmp_path / "runs" / row / "config.json")
    return row


def test_each_says_what_is_missing_and_starts_nothing(run, tmp_path):
    commands = [
        ["train", "c2farm-rlbench-small"],
        ["train", "c2farm-rlbench-small", "--dry-run"],
        ["train", "rlbench-lamp-on-mt", "--seeds", "0-1", "--at-once", "2"],
        ["train", "rlbench-lamp-on-scratch", "--backend", "ray"],
        ["resume", run],
        ["eval", run],
        ["video", run],
        ["adapt", run, "--goals", "2"],
        ["adapt", run, "--tasks", "lamp_on", "--method", "finetune", "--demos", "1"],
        ["adapt", run, "--tasks", "lamp_on", "--method", "reptile"],
        ["adapt", run, "--tasks", "lamp_on", "--method", "context"],
        ["finetune", run, "--tasks", "lamp_on", "--steps", "0", "10"],
        ["demos", "collect", "rlbench:reach_target", "rlbench:lamp_on", "-n", "2"],
    ]
    before = sorted(tmp_path.rglob("*"))
    for command, answer in zip(commands, ask(commands, tmp_path), strict=True):
        assert (answer["code"], answer["err"]) == (2, LACKING + "\n"), (command, answer)
        assert "ray" not in answer["loaded"] or command[-1] != "ray"
    new = [path for path in sorted(tmp_path.rglob("*")) if path not in before and ".cache" not in path.parts]
    assert not [path for path in new if path.is_dir()], new
    assert [row.id for row in Registry(tmp_path / "runs").list()] == [run]


def test_what_needs_no_simulator_works(run, tmp_path):
    commands = [
        ["presets"],
        ["train", "c2farm-rlbench-small", "--help"],
        ["show", run],
        ["runs"],
        ["demos", "import", str(TREE)],
        ["demos", "inspect"],
        ["demos", "export", "runs/demos/rlbench", "--format", "hdf5", "--out", "x"],
    ]
    for command, answer in zip(commands, ask(commands, tmp_path), strict=True):
        assert (answer["code"], answer["err"]) == (0, ""), (command, answer)


def test_the_doctor_names_everything_that_is_missing(tmp_path):
    (answer,) = ask([["doctor", "--sim", "rlbench"]], tmp_path)
    told = " ".join(answer["out"].split())
    assert answer["code"] == 1 and not answer["err"]
    assert "fail RLBench not installed" in told and "not ready: " in told and "github.com/stepjam/RLBench.git" in told

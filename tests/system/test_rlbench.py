"""The user's path to RLBench on its double, in real processes: a run from its demonstrations to its result, with faults on the way."""

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from core.metrics import read_metrics
from manyhands.registry import Registry
from tests.rlbench_place import double_env
from tests.system.tiny import PATIENCE_S, evaluations, family, kill_9, saved, spawn, steps_saved, wait_for

SMOKE = ("train", "c2farm-rlbench-small", "--total-steps", "200")
SETTINGS = {
    "simulator.size": 16,
    "algo.voxels": 4,
    "algo.reach": 0.15,
    "algo.channels": 4,
    "algo.batch-size": 4,
    "algo.room": 128,
    "replay.head-start": 4,
    "replay.updates-per-step": 0.25,
    "demos.count": 2,
    "evaluation.episodes": 3,
    "evaluation.every-steps": 100,
    "evaluation.target-success": 0,
}
TINY = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
"""the smoke of the preset with a network and pictures that are learned from in no time"""


def begun(root: Path, *more: str, env: dict[str, str]) -> subprocess.Popen:
    return spawn("-m", "manyhands", *SMOKE, *TINY, "--runs", str(root), *more, env=env)


def end(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=2 * PATIENCE_S)
    assert (process.returncode, err) == (0, ""), (process.args, out, err)
    return out


def told(*command: object, env: dict[str, str]) -> str:
    """What a command says that ends well."""
    return end(spawn("-m", "manyhands", *map(str, command), env=env))


def folder_of(root: Path) -> Path:
    (row,) = Registry(root).list()
    return row.path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return double_env(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def smoke(root, env) -> Path:
    """The run's folder, after it was killed in the middle and resumed."""
    process = begun(root, "--checkpoint.every-s", "0.3", env=env)
    wait_for(lambda: Registry(root).list() and any(steps_saved(row.path) for row in Registry(root).list()), "a checkpoint", process)
    kill_9(process)
    folder = folder_of(root)
    assert steps_saved(folder)[-1] < 200
    assert "done after 200 env steps" in told("resume", folder.name, "--runs", root, env=env)
    return folder


def test_it_collects_trains_judges_saves_and_goes_on_after_a_kill(smoke, root):
    assert len(list((root / "demos" / "rlbench").rglob("*.demo"))) == 2
    assert steps_saved(smoke)[-1] == 200 and evaluations(smoke)[-1]["step"] == 200
    learner = saved(smoke).components["learner"]
    assert 4 + 45 <= learner["updates"] <= 4 + 50
    result = json.loads((smoke / "result.json").read_text())
    assert result["reason"] == "steps" and result["steps"] == 200


def test_what_was_trained_is_judged_filmed_adapted_and_shown(smoke, root, env):
    for command in (
        ["eval", smoke.name, "--episodes", "3"],
        ["video", smoke.name, "--episodes", "1"],
        ["adapt", smoke.name, "--tasks", "push_buttons", "--demos", "1", "--method", "finetune", "--steps", "0", "8", "--episodes", "2"],
        ["show", smoke.name],
    ):
        assert told(*command, "--runs", root, env=env)
    assert (smoke / "videos" / "reach_target.gif").exists()


def test_an_estimate_has_a_process_for_each_simulator(root, env):
    says = told(*SMOKE, *TINY, "--runs", root, "--actors.simulators", "2", "--dry-run", env=env)
    assert "2 with simulators that train, 2 with those that evaluate, about 0.8 GB of memory" in says
    assert "env steps/s" in says


@pytest.mark.parametrize(("do", "says"), [("hang", "stepping for more than 3 s"), ("crash", "SIGSEGV"), ("exit", "X11 connection broke")])
def test_a_simulator_that_is_lost_in_the_middle_is_replaced(tmp_path, root, smoke, do, says):
    """Of training or of the evaluation, whichever comes there first: the run does not mind."""
    fault = {"at": "step", "nth": 20, "do": do, "once": str(tmp_path / "done")}
    more = ("--actors.step-timeout-s", "3", "--demos.folder", str(root / "demos"))
    process = begun(tmp_path / "runs", *more, env=double_env(tmp_path, fault))
    assert "done after 200 env steps" in end(process)
    assert (tmp_path / "done").exists()
    folder = folder_of(tmp_path / "runs")
    log = "".join(path.read_text() for path in (folder / "logs").rglob("pool.log"))
    assert says in log
    lost = read_metrics(folder / "metrics.jsonl")[-1]["actor/lost_simulators"]
    assert lost >= 1 or "evaluator" in str(*(folder / "logs").rglob("pool.log"))


def test_ctrl_c_while_the_first_demonstration_hangs_leaves_no_process(tmp_path):
    fault = {"at": "demo", "do": "hang", "every": True}
    process = begun(tmp_path / "runs", env=double_env(tmp_path, fault))
    wait_for(lambda: sum("manyhands.demos.collector" in " ".join(one.cmdline()) for one in family(process.pid)) > 1, "collectors", process)
    everyone = family(process.pid)[1:]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and err == "interrupted\n"
    wait_for(lambda: not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "processes to end")
    assert not Registry(tmp_path / "runs").list()

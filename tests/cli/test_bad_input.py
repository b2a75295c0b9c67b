"""A mistake on the command line is one clear line, exit code 2, and nothing has been started or lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def manyhands(root: Path, *args: str, code: int | None = None) -> subprocess.CompletedProcess:
    env = os.environ | {"MANYHANDS_RUNS": str(root), "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "manyhands", *args], capture_output=True, text=True, cwd=root.parent, env=env, timeout=180)
    if code is not None:
        assert done.returncode == code, done.stderr + done.stdout
    return done


def refused(root: Path, *args: str) -> str:
    done = manyhands(root, *args, code=2)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in done.stderr + done.stdout
    return lines[0]


BAD = [
    (["trian"], "Perhaps you meant 'train'"),
    (["train"], "reach-sac"),
    (["train", "reach-sca"], "Perhaps you meant 'reach-sac'"),
    (["train", "reach-sac", "--algo.tua", "0.1"], "--algo.tau"),
    (["train", "reach-sac", "--algo.tau", "fast"], "not a number"),
    (["train", "reach-sac", "--algo.tau", "2"], "algo.tau is 2"),
    (["train", "reach-sac", "--algo.batch-size", "0"], "algo.batch_size"),
    (["train", "reach-sac", "--actors.actors", "0"], "actors.actors is 0"),
    (["train", "reach-sac", "--seeds", "4-0"], "write 0-4"),
    (["train", "reach-sac", "--backend", "slurm"], "inline"),
    (["train", "reach-sac", "--tasks", "metaworld:reach-v9"], "reach-v3"),
    (["train", "reach-sac", "--tasks", "metawolrd:reach-v3"], "metaworld"),
    (["train", "reach-sac", "--simulator.horizon", "501"], "1 to 500"),
    (["train", "reach-sac", "--simulator.reward-version", "v3"], "v1"),
    (["train", "reach-sac", "--replay.capacity", "10000000000"], "GB"),
    (["train", "reach-sac", "--replay.capacity", "10000000000", "--dry-run"], "GB"),
    (["resume"], "manyhands resume RUN"),
    (["resume", "nothing"], "no runs"),
    (["eval", "nothing"], "no runs"),
    (["show", "nothing"], "no runs"),
]


@pytest.mark.parametrize(("args", "says"), BAD, ids=[" ".join(args) for args, _ in BAD])
def test_refused(tmp_path, args, says):
    root = tmp_path / "runs"
    assert says in refused(root, *args)
    left = [p for p in root.rglob("*") if p.is_file() and ".cache" not in p.parts] if root.exists() else []
    assert left == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A small run that is over, with one checkpoint."""
    root = tmp_path_factory.mktemp("cli") / "runs"
    small = ["--tasks", "metaworld:reach-v3", "--simulator.horizon", "40", "--evaluation.horizon", "40", "--evaluation.episodes", "2"]
    small += ["--actors.simulators", "2", "--actors.random-steps", "100", "--replay.min-size", "100", "--replay.capacity", "5000"]
    small += ["--algo.hidden", "16", "--algo.batch-size", "16", "--learner.compile", "eager", "--total-steps", "400"]
    done = manyhands(root, "train", "reach-sac", *small, "--evaluation.every-steps", "200")
    assert done.returncode == 1, done.stdout + done.stderr  # it ended, and says that it did not reach the target
    assert "did not reach the target" in done.stdout
    (run,) = [p.name for p in root.iterdir() if p.name.startswith("reach-sac")]
    assert f"manyhands eval {run}" in done.stdout
    return root, run


def test_runs_show_and_eval_work(finished):
    root, run = finished
    assert run in manyhands(root, "runs", code=0).stdout
    shown = manyhands(root, "show", run[-4:], code=0).stdout
    assert "finished" in shown
    assert "400" in shown
    evaluated = manyhands(root, "eval", run, "--episodes", "3", "--which", "last", code=0).stdout
    assert "metaworld:reach-v3" in evaluated
    assert "episodes" in evaluated


def test_unknown_run_names_the_closest(finished):
    root, run = finished
    assert run in refused(root, "show", run[:-1] + "x")


def copied(finished: tuple[Path, str], tmp_path: Path) -> tuple[Path, str, Path]:
    root, run = tmp_path / "runs", finished[1]
    shutil.copytree(finished[0], root, ignore=shutil.ignore_patterns(".cache"))
    (checkpoint,) = (root / run / "checkpoints").glob("step_*")
    return root, run, checkpoint


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "missing file": (lambda c: (c / "learner.safetensors").unlink(), "learner.safetensors"),
    "truncated": (lambda c: os.truncate(c / "learner.safetensors", 100), "learner.safetensors"),
    "bit flipped": (lambda c: flip(c / "learner.safetensors"), "learner.safetensors"),
    "manifest flipped": (lambda c: flip(c / "manifest.json"), "manifest.json"),
    "segment flipped": (lambda c: flip(next((c.parents[1] / "segments").iterdir())), "t"),
    "other schema": (lambda c: (c.parents[1] / "config.json").write_text('{"schema": 99}'), "schema"),
    "unknown key": (lambda c: edit(c.parents[1] / "config.json", algo_tua=1), "algo_tua"),
    "no config": (lambda c: (c.parents[1] / "config.json").unlink(), "config.json"),
}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_runs_are_refused_and_left_as_they_are(finished, tmp_path, kind):
    root, run, checkpoint = copied(finished, tmp_path)
    damage, says = DAMAGE[kind]
    damage(checkpoint)
    before = {p: p.read_bytes() for p in (root / run).rglob("*") if p.is_file() and "logs" not in p.parts and p.name != "metrics.jsonl"}
    assert says in refused(root, "resume", run)
    assert {p: p.read_bytes() for p in before if p.exists()} == before


def test_help_loads_nothing_heavy(tmp_path):
    code = (
        "import sys; from manyhands.cli import main; main(['--help']); main(['presets']);"
        "heavy = {'torch', 'ray', 'metaworld', 'mujoco', 'gymnasium'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "train PRESET" in done.stdout
    assert "reach-sac" in done.stdout


def test_dry_run_says_what_it_would_cost_and_keeps_nothing(tmp_path):
    root = tmp_path / "runs"
    done = manyhands(root, "train", "reach-sac", "--learner.compile", "eager", "--dry-run", code=0)
    for word in ("replay", "disk", "env steps/s", "updates/s", "estimate", "updates_per_step"):
        assert word in done.stdout
    assert not list(root.glob("reach-sac*"))

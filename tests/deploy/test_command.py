"""``manyhands deploy``: presets render and validate, mistakes are one line, the package loads nothing heavy, no secret gets out."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError
from deploy import files
from manyhands import cli
from manyhands.arguments import parse_train
from manyhands.deploy_arguments import TARGETS, parse_deploy, settings_of
from manyhands.deployment import deploy, facts_of

ROOT = Path(__file__).resolve().parents[2]
KNOWN = ["--replay-gib", "0.25"]  # else the simulators are asked
PRESETS = {
    "reach-sac": [],
    "mt10-mtmhsac": ["--seeds", "0-3", "--nodes.gpu-share", "0.25"],
    "mt50-mtsac-small": ["--nodes.gpu-share", "0", "--learner.device", "cpu"],
    "c2farm-reach": ["--replay.spill", "/disk"],
    "semicircle-pearl": [],
    "ml1-reach-maml-small": [],
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_render_and_validate_the_same_every_time(tmp_path, preset, target):
    options = parse_deploy([target, preset, *KNOWN, *PRESETS[preset]])
    for folder in (tmp_path / "a", tmp_path / "b"):
        options.extra = replace(options.extra, out=folder)
        assert sorted(deploy(options)) == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    first, second = ({p.relative_to(f): p.read_text() for p in f.rglob("*") if p.is_file()} for f in (tmp_path / "a", tmp_path / "b"))
    assert first and first == second
    assert not [name for name, text in first.items() if "@{" in text or str(tmp_path) in text]
    for name, text in first.items():
        assert bool((tmp_path / "a" / name).stat().st_mode & 0o100) == text.startswith("#!")


@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_of_a_job_is_one_that_train_takes(preset):
    facts = facts_of(parse_deploy(["kuberay", preset, *KNOWN, *PRESETS[preset], "--total-steps", "77"]))
    words = facts.job(facts.seeds[0])
    parsed = parse_train([preset, *words[words.index("--") + 1 :]])
    assert parsed.config.total_steps == 77 and parsed.config.learner.threads in (1, 7)
    assert parsed.config.actors.processes >= 1 and parsed.config.evaluation.processes >= 1
    assert (parsed.config.backend == "ray") is hasattr(parsed.config, "cluster")


def test_replay_is_computed_from_the_runs_settings():
    facts = facts_of(parse_deploy(["docker", "semicircle-pearl"]))
    twice = facts_of(
        parse_deploy(["docker", "semicircle-pearl", "--replay.capacity", str(2 * parse_train(["semicircle-pearl"]).config.replay.capacity)])
    )
    assert 0 < 1.8 * facts.replay_bytes < twice.replay_bytes < 2.1 * facts.replay_bytes


def test_settings_of_the_run_are_told_from_options_of_deploy():
    words = "--kuberay.image a:1 --algo.tau 0.01 --seeds 0-3 --algo.hidden 3 4 --nodes.gpu-share 1 --seed 2 --no-force --lockstep --out=x"
    kept = settings_of([*words.split(), "--replay.spill=/d"], {"kuberay", "nodes", "out", "force", "seeds"})
    assert " ".join(kept) == "--algo.tau 0.01 --algo.hidden 3 4 --lockstep --replay.spill=/d"


ERRORS = {
    "no target": ([], "deploy needs a target first"),
    "target": (["k8s", "reach-sac"], "unknown target of deploy 'k8s'"),
    "no preset": (["slurm"], "deploy slurm needs a preset"),
    "preset": (["slurm", "reach-sca"], "unknown preset 'reach-sca'. Perhaps you meant 'reach-sac'"),
    "option": (["slurm", "reach-sac", "--slurm.tme", "1"], "--slurm.tme"),
    "of another target": (["docker", "reach-sac", "--slurm.time", "1:00:00"], "--slurm.time"),
    "setting": (["slurm", "reach-sac", "--actors.simulators", "0"], "actors.simulators is 0"),
    "seeds": (["slurm", "reach-sac", "--seeds", "3-1", *KNOWN], "--seeds is '3-1'"),
    "size": (["kuberay", "reach-sac", "--actors.processes", "16", "--nodes.simulator-cpus", "8", *KNOWN], "--nodes.simulator-cpus 16"),
    "GPU": (["kuberay", "reach-sac", "--learner.device", "cpu", *KNOWN], "--nodes.gpu-share 0"),
    "ranks": (["kuberay", "reach-sac", "--learner.ranks", "2", *KNOWN], "--nodes.gpu-share 2"),
    "crd": (["slurm", "reach-sac", "--crd", "x", *KNOWN], "--crd has no meaning for slurm"),
    "role": (["docker", "reach-sac", "--role", "gcs", *KNOWN], "--role has no meaning for docker"),
    "gateway": (["redis", "reach-sac", "--role", "gateway", *KNOWN], "--gateway.clients 2"),
    "password": (
        ["kuberay", "reach-sac", "--gateway.clients", "1", "--gateway.url", "redis://u:hunter2@h", *KNOWN],
        "gateway.url has a password",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_one_line_and_nothing_is_written(case, tmp_path, capsys):
    words, said = ERRORS[case]
    out = ["--out", str(tmp_path / "out")] if len(words) > 1 else []
    code = cli.main(["deploy", *words, *out])
    captured = capsys.readouterr()
    assert code == 2 and "hunter2" not in captured.err and not (tmp_path / "out").exists()
    if words:
        assert captured.err.count("\n") == 1 and said in captured.err


def test_what_is_in_the_way_is_not_overwritten(tmp_path):
    made = {"a.yaml": "a: 1\n", "b/c.sh": "#!/bin/sh\n"}
    files.write(made, tmp_path / "out")
    files.write(made, tmp_path / "out")  # the same again
    (tmp_path / "out/mine").touch()
    with pytest.raises(ConfigError, match=r"a.yaml exists and differs.*--force"):
        files.write(made | {"a.yaml": "a: 2\n"}, tmp_path / "out")
    assert (tmp_path / "out/a.yaml").read_text() == "a: 1\n"
    files.write(made | {"a.yaml": "a: 2\n"}, tmp_path / "out", force=True)
    assert (tmp_path / "out/a.yaml").read_text() == "a: 2\n" and (tmp_path / "out/mine").exists()
    with pytest.raises(ConfigError, match="is a file"):
        files.write(made, tmp_path / "out/a.yaml")
    with pytest.raises(ConfigError, match="cannot be written to"):
        files.write(made, tmp_path / "out/a.yaml/below")


def test_without_out_the_files_are_shown(capsys):
    assert cli.main(["deploy", "monitoring", "reach-sac", *KNOWN]) == 0
    shown = capsys.readouterr().out
    assert re.findall("^# ----- (.*)$", shown, re.MULTILINE) == ["prometheus.yml", "kubernetes.yaml", "dashboard.json"]


def test_no_secret_of_this_machine_gets_into_a_file(tmp_path):
    secrets = {"RAY_AUTH_TOKEN": "tok-3f9a", "MANYHANDS_GATEWAY": "redis://u:pw-77aa@h", "REDIS_PASSWORD": "pw-51bc", "HOME": str(tmp_path)}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("tok-file-91de")
    code = "import sys; from manyhands.cli import main; [main(['deploy', t, 'reach-sac', '--replay-gib', '1']) for t in sys.argv[1:]]"
    done = subprocess.run([sys.executable, "-c", code, *TARGETS], capture_output=True, text=True, cwd=ROOT, env=os.environ | secrets)
    assert done.returncode == 0 and len(done.stdout) > 10_000, done.stderr
    assert not [value for value in ("tok-3f9a", "pw-77aa", "pw-51bc", "tok-file-91de") if value in done.stdout]


def test_the_package_loads_nothing_heavy():
    code = """
import importlib, json, pkgutil, sys, deploy
for module in pkgutil.iter_modules(deploy.__path__): importlib.import_module(f"deploy.{module.name}")
from tests.deploy.some import SMALL
from deploy import kuberay; kuberay.render(SMALL, kuberay.Options())
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "deploy" in loaded
    assert not loaded & {
        "torch",
        "ray",
        "numpy",
        "mujoco",
        "metaworld",
        "redis",
        "tyro",
        "manyhands",
        "simulators",
        "actors",
        "learner",
        "algos",
    }

"""The job for Slurm: bash takes it, directives are known, and with doubles of Slurm's commands it saves in time and comes back."""

import os
import signal
import subprocess
import time

import pytest

from core.errors import ConfigError
from deploy import slurm
from deploy.facts import Nodes
from tests.deploy.some import KINDS, SMALL


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_run_renders_a_valid_script_the_same_every_time(kind):
    options = slurm.Options()
    text = slurm.render(KINDS[kind], options)["job.sbatch"]
    assert text == slurm.render(KINDS[kind], options)["job.sbatch"]
    assert text.startswith("#!/usr/bin/env bash\n") and "@{" not in text
    assert "ray symmetric-run --address" in text and "#SBATCH --exclusive" in text and "#SBATCH --signal=B:USR1@300" in text


@pytest.mark.parametrize(
    ("kind", "directive"),
    [
        ("small", "array=0"),
        ("seeds", "array=0-3"),
        ("large", "gpus-per-node=2"),
        ("large", "nodes=6"),  # one of 16 processes beside the learner, nine on five nodes of 32
        ("outside", "nodes=1"),
    ],
)
def test_directives_follow_from_the_run(kind, directive):
    assert directive in slurm.directives(KINDS[kind], slurm.Options())


def test_what_needs_no_gpu_asks_for_none_and_names_come_from_options():
    words = slurm.directives(KINDS["cpu"], slurm.Options(partition="cpu", account="lab", time="1-00:00:00"))
    assert not [word for word in words if "gpu" in word] and {"partition=cpu", "account=lab", "time=1-00:00:00"} <= set(words)
    assert "array=0,2" in slurm.directives(SMALL._replace(seeds=(0, 2)), slurm.Options())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#!/bin/bash\n#SBATCH --node=2\ntrue\n", "line 2: '#SBATCH --node=2' is no directive"),
        ("#!/bin/bash\ntrue\n#SBATCH --nodes=2\n", "line 3"),
        ("#!/bin/bash\nif true\n", "syntax error"),
    ],
)
def test_a_mistake_in_a_script_is_found(text, said):
    with pytest.raises(ConfigError) as error:
        slurm.check(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "options", [{"time": "a day"}, {"save_s": 5}, {"partition": "a b"}, {"environment": "x; rm"}, {"account": "$(id)"}]
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError, match=r"\S+ is .*Allowed"):
        slurm.Options(**options)


def test_a_node_too_small_for_learner_and_actor_is_refused():
    with pytest.raises(ConfigError, match="8 for the learner leave 2, an actor has 4"):
        slurm.render(SMALL._replace(processes=4, nodes=Nodes(learner_cpus=8)), slurm.Options(node_cpus=10))


DOUBLES = {
    "srun": 'if [ "${@: -1}" = -I ]; then echo 10.0.0.1; else SLURM_NODEID=0 exec bash -c node; fi',
    "scontrol": 'if [ "$1" = show ]; then echo node1; else echo "$*" >>"$CALLS"; fi',
    "hostname": "echo 10.0.0.1",
    # The command after --; of the run itself, only how it ends.
    "ray": 'echo "$RAY_AUTH_MODE $(stat -c %a "$RAY_AUTH_TOKEN_PATH") $*" >>"$CALLS"; while [ "$1" != -- ]; do shift; done; shift; "$@"',
    "python": """
case "$*" in *token_hex*) echo -n secret;; *)
    while [ $# -gt 0 ]; do case "$1" in --pid) pid=$2;; --code) code=$2;; esac; shift; done
    echo $$ >"$pid"; trap 'echo 130 >"$code"; exit 130' TERM
    if [ "$ENDS" = soon ]; then echo 0 >"$code"; exit 0; fi
    while true; do sleep 0.05; done
esac""",
}


@pytest.fixture
def job(tmp_path):
    """Starts the rendered job with doubles of what Slurm, Ray and Python would do."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, text in DOUBLES.items():
        (bin_ / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    (tmp_path / "activate").touch()
    facts = SMALL._replace(nodes=Nodes(storage=str(tmp_path / "runs")))
    text = slurm.render(facts, slurm.Options(environment=str(tmp_path / "activate")))["job.sbatch"]
    slots = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1"}
    env = {**os.environ, **slots, "PATH": f"{bin_}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    started = []

    def start(**more):
        started.append(subprocess.Popen(["bash", "-c", text], env=env | more, stdout=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield start, tmp_path
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(path):
    limit = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_run_that_has_ended_ends_the_job(job):
    start, folder = job
    assert start(ENDS="soon").wait(timeout=30) == 0
    calls = (folder / "calls").read_text()
    assert calls.startswith("token 600 symmetric-run --address 10.0.0.1:20017 --min-nodes 1 ") and "requeue" not in calls
    assert "-- python -m deploy.again reach-sac --seed 0 " in calls
    assert not (folder / "runs/reach-sac/.slurm/0/token").exists()


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_out_of_time_it_saves_and_comes_back_but_not_when_cancelled(job, number, again):
    start, folder = job
    process = start(ENDS="never")
    wait_for(folder / "runs/reach-sac/.slurm/0/pid")
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert ("requeue 17" in (folder / "calls").read_text()) is again


def test_a_ray_that_did_not_start_is_a_failure(job):
    start, folder = job
    (folder / "bin/ray").write_text("#!/usr/bin/env bash\nexit 0\n")
    assert start(ENDS="soon").wait(timeout=30) == 1

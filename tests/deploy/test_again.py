"""One command that begins a run, goes on with it, and does nothing after its end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deploy import again
from manyhands.arguments import parse_train


def run_folder(runs, name, reason=None):
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if reason:
        (folder / "result.json").write_text(json.dumps({"reason": reason}))
    return folder


def test_it_begins_where_there_is_no_run(tmp_path):
    run_folder(tmp_path, "reach-sac-s1-aaaa")  # of another seed
    (tmp_path / "reach-sac-s0-bbbb").mkdir()  # nothing was kept of it
    words = again.command_of("reach-sac", 0, tmp_path, ["--total-steps", "100"])
    assert words[1:] == ["-m", "manyhands", "train", "reach-sac", "--seed", "0", "--runs", str(tmp_path), "--total-steps", "100"]
    parsed = parse_train(words[4:])  # settings as `train` takes them
    assert (parsed.config.seed, parsed.config.total_steps, parsed.runs) == (0, 100, tmp_path)


@pytest.mark.parametrize("reason", [None, "stopped"])
def test_it_goes_on_with_a_run_that_has_not_ended(tmp_path, reason):
    run_folder(tmp_path, "reach-sac-s0-aaaa", reason)
    words = again.command_of("reach-sac", 0, tmp_path, ["--total-steps", "100"])
    assert words[1:] == ["-m", "manyhands", "resume", "reach-sac-s0-aaaa", "--runs", str(tmp_path), "--force"]


@pytest.mark.parametrize("reason", ["steps", "target"])
def test_it_does_nothing_after_the_end(tmp_path, reason):
    run_folder(tmp_path, "reach-sac-s0-aaaa", reason)
    assert again.command_of("reach-sac", 0, tmp_path, []) == []
    assert again.go("reach-sac", 0, tmp_path, []) == 0


@pytest.mark.parametrize(("code", "reason", "told"), [(1, "steps", 0), (0, "target", 0), (130, "stopped", 130), (0, None, 1), (2, None, 2)])
def test_exit_code_0_means_that_the_run_has_ended(tmp_path, monkeypatch, code, reason, told):
    """Also without its target reached: trying again would change nothing."""

    def run(_):
        run_folder(tmp_path, "reach-sac-s0-aaaa", reason)
        return code

    monkeypatch.setattr(again, "_run", run)
    words = [
        "reach-sac",
        "--seed",
        "0",
        "--runs",
        str(tmp_path),
        "--pid",
        str(tmp_path / "pid"),
        "--code",
        str(tmp_path / "code"),
        "--",
        "--x",
    ]
    assert again.main(words) == told
    assert (tmp_path / "code").read_text() == f"{told}\n" and (tmp_path / "pid").read_text() == f"{os.getpid()}\n"


def test_it_passes_on_that_it_shall_stop(tmp_path):
    """With a process in place of the run that says what it got."""
    child = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(130)); print('up', flush=True); time.sleep(30)"
    code = f"from deploy import again; import sys; sys.exit(again._run([sys.executable, '-c', {child!r}]))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 130

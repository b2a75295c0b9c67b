"""Resume, inline: bit for bit what one uninterrupted run would have done; consistent after kill -9; polite after Ctrl-C."""

import json
import os
import signal
import threading

import pytest

from core.metrics import read_metrics
from learner.step import compiler_available
from manyhands import config_file
from manyhands.loop import train
from tests.system.tiny import (
    PATIENCE_S,
    assert_equal,
    evaluations,
    kill_9,
    manyhands,
    opened,
    replayed,
    run_through,
    saved,
    start_child,
    steps_saved,
    tiny,
    wait_for,
    when,
)

WHOLE, PART = 600, 228
"""env steps; PART is no multiple of an episode or a chunk"""
needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler: there is only the eager twin")
EXACT = ("learner", "published", "actor-0", "actor-1", "fleet")


def check_metrics(folder):
    """Rows never go back; no step is told twice."""
    rows = read_metrics(folder / "metrics.jsonl")
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    told = [row["step"] for row in rows if "learner/updates" in row]
    assert told == sorted(set(told))
    versions = [row["eval/version"] for row in rows if "eval/version" in row]
    assert versions == sorted(set(versions))
    return rows


def continued(folder, config):
    """The run in ``folder`` from now on has these settings."""
    config_file.save(config, folder / "config.json")


@pytest.mark.parametrize("twin", ["eager", pytest.param("compile", marks=needs_compiler)])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(tmp_path, twin):
    """The second half in a process of its own. Simulators end episodes themselves and at the horizon; evaluations run beside."""
    algo = {"n_step": 3, "normalize_obs": True}
    learner = {"compile": twin, "eager_first": 40}
    changes = {"simulator": {"terminate_on_success": True}, "evaluation": {"every_steps": 100}, "algo": algo, "learner": learner}
    straight = run_through(tiny(total_steps=WHOLE, **changes), tmp_path, (PART, lambda run: run.save(wait=True)))
    broken = run_through(tiny(total_steps=PART, **changes), tmp_path)
    for name in EXACT:
        assert_equal(saved(straight, PART).components[name], saved(broken).components[name], name)
    continued(broken, tiny(total_steps=WHOLE, **changes))
    done = manyhands("resume", broken.name, "--runs", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    one, other = saved(straight), saved(broken)
    assert one.step == other.step == WHOLE
    for name in EXACT:
        assert_equal(one.components[name], other.components[name], name)
    assert_equal(one.components["driver"]["limiter"], other.components["driver"]["limiter"])
    assert one.components["learner"]["updates"] > 200
    assert replayed(straight).tobytes() == replayed(broken).tobytes()
    check_metrics(broken)


def test_a_save_changes_nothing(tmp_path):
    """Saving at every turn, and never: the same run."""
    config = tiny(total_steps=160)
    often = run_through(config, tmp_path, *[(steps, lambda run: run.save()) for steps in range(4, 160, 4)])
    never = run_through(config, tmp_path)
    for name in EXACT:
        assert_equal(saved(often).components[name], saved(never).components[name], name)
    assert replayed(often).tobytes() == replayed(never).tobytes()


def test_open_episodes_come_back_wherever_a_run_is_cut(tmp_path):
    """From the checkpoint of any step, also one at which an episode ends while its last step is under way."""
    config = tiny(total_steps=120, simulator={"horizon": 7}, actors={"chunk": 3}, checkpoint={"keep": 50})
    steps = [100, 104, 108, 112, 116]
    folder = run_through(config, tmp_path, *[(step, lambda run: run.save(wait=True)) for step in steps])
    want, rows = saved(folder), replayed(folder)
    for step in steps:
        again = run_through_from(folder, config, tmp_path, step)
        for name in EXACT:
            assert_equal(saved(again).components[name], want.components[name], f"{name} from step {step}")
        assert replayed(again).tobytes() == rows.tobytes()


def run_through_from(folder, config, root, step):
    with opened(config, root, folder.name, step=step) as run:
        assert run.fleet.counters.steps == step
        train(run)
        run.finish()
    return folder


def test_kill_9_in_the_middle_then_resume(tmp_path):
    """The result is that of a run that was never killed; a finished run that is resumed adds nothing."""
    config = tiny(total_steps=1500, simulator={"slow_ms": 1.0}, checkpoint={"every_s": 0.3}, evaluation={"every_steps": 300})
    process, run = start_child(config, tmp_path)
    folder = tmp_path / run
    wait_for(lambda: len(steps_saved(folder)) > 1, "two checkpoints", process)
    kill_9(process)
    assert "killed" in manyhands("runs", "--runs", tmp_path).stdout
    done = manyhands("resume", run, "--runs", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    rows = check_metrics(folder)
    assert rows[-1]["step"] == saved(folder).step == 1500
    assert evaluations(folder)[-1]["step"] == 1500
    straight = run_through(tiny(total_steps=1500), tmp_path)
    for name in ("learner", "actor-0", "actor-1", "fleet"):
        assert_equal(saved(folder).components[name], saved(straight).components[name], name)
    assert replayed(folder).tobytes() == replayed(straight).tobytes()

    again = manyhands("resume", run, "--runs", tmp_path)
    assert (again.returncode, again.stderr) == (0, ""), again
    assert [r["step"] for r in check_metrics(folder)] == [r["step"] for r in rows]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    config = tiny(total_steps=100_000, simulator={"slow_ms": 1.0})
    process, run = start_child(config, tmp_path)
    wait_for(lambda: (tmp_path / run / "metrics.jsonl").exists() and read_metrics(tmp_path / run / "metrics.jsonl"), "metrics", process)
    if number == signal.SIGINT:
        busy = manyhands("resume", run, "--runs", tmp_path)
        assert busy.returncode == 2
        assert f"error: the run {run} is running already, as process {process.pid}" in busy.stderr
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, ""), (out, err)
    assert out.endswith(f"next: manyhands resume {run} --runs {tmp_path}\n"), "the line can be copied"
    assert "stopped" in manyhands("runs", "--runs", tmp_path).stdout
    step = saved(tmp_path / run).step
    assert json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == step


def test_a_checkpoint_that_replay_lost_is_made_again(tmp_path):
    """The ingest process was replaced between staging and writing: a save in passing is left out, the last one is repeated."""
    with opened(tiny(total_steps=80), tmp_path) as run:
        write, answers = run.fleet.write_replay, [None, None]
        run.fleet.write_replay = lambda: answers.pop() if answers else write()
        run.save()
        assert not run.finish_writing()
        assert not run.checkpoints.steps()
        train(run)
        run.finish()
        assert saved(run.folder).step == 80


def test_a_checkpoint_is_the_moment_of_its_save_however_late_it_is_written(tmp_path):
    config, gate = tiny(total_steps=200), threading.Event()
    at_once = run_through(config, tmp_path, (100, lambda run: run.save(wait=True)))
    with opened(config, tmp_path) as run:
        write = run.fleet.write_replay
        run.fleet.write_replay = lambda: write() if gate.wait(PATIENCE_S) else None
        when(run, (100, lambda run: run.save()), (180, lambda run: gate.set()))
        train(run)
        run.finish()
    for name in EXACT:
        assert_equal(saved(at_once, 100).components[name], saved(run.folder, 100).components[name], name)
    assert replayed(at_once, 100).tobytes() == replayed(run.folder, 100).tobytes()

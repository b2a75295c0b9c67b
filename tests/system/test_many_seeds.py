"""Several seeds at once, with real processes: each the run it would be alone; signals and deaths, of a child, the parent, the stack."""

import os
import signal
import subprocess
from dataclasses import replace

import psutil
import pytest

from actors.worker import Config as ActorConfig
from algos.ppo import Config as PpoConfig
from core.metrics import read_metrics
from manyhands import config_file
from manyhands.config import ReplayConfig
from manyhands.registry import Registry
from manyhands.session import train_seeds
from tests.system.tiny import (
    PATIENCE_S,
    ROOT,
    assert_equal,
    evaluations,
    family,
    manyhands,
    replayed,
    run_through,
    saved,
    spawn,
    steps_saved,
    tiny,
    wait_for,
)

EXACT = ("learner", "published", "actor-0", "actor-1", "fleet")


@pytest.fixture
def many(tmp_path):
    """Starts seeds; whatever is left of them at the end is killed."""
    started: list[subprocess.Popen] = []

    def start(config, seeds="0,1", at_once=2, stack=0):
        path = tmp_path / "config.json"
        config_file.save(config, path)
        script = str(ROOT / "tests/system/many.py")
        started.append(spawn(script, str(path), str(tmp_path / "runs"), seeds, str(at_once), str(stack)))
        return started[-1]

    yield start
    for process in started:
        for member in family(process.pid) if process.poll() is None else []:
            member.kill()


def end(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def rows(tmp_path):
    return {int(row.seed): row for row in Registry(tmp_path / "runs").list()}


def under_way(tmp_path, seeds):
    """Every seed has collected something."""
    found = rows(tmp_path)
    return len(found) == seeds and all(row.steps for row in found.values())


EVALUATED = {"total_steps": 200, "evaluation": {"every_steps": 100}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Seed -> folder of its run by itself."""
    root = tmp_path_factory.mktemp("alone")
    return {seed: run_through(tiny(**EVALUATED, seed=seed), root) for seed in range(3)}


def evaluated(folder):
    """But for the step at which an evaluation came to its end, beside all else."""
    return [{name: row[name] for name in row if name.startswith("eval/")} for row in evaluations(folder)]


def check_same_as_alone(alone, row):
    one, other = saved(alone), saved(row.path)
    for name in EXACT:
        assert_equal(one.components[name], other.components[name], name)
    assert replayed(alone).tobytes() == replayed(row.path).tobytes()
    assert len(evaluated(alone)) == 2
    assert evaluated(alone) == evaluated(row.path)


@pytest.mark.parametrize("stack", [0, 3])
def test_each_seed_is_the_run_it_would_be_alone(tmp_path, many, alone, stack):
    """Also where one learner has all of them."""
    code, out, err = end(many(tiny(**EVALUATED), "0,1,2", 3, stack))
    assert (code, err) == (0, ""), out
    found = rows(tmp_path)
    assert {seed: row.status for seed, row in found.items()} == dict.fromkeys(range(3), "finished")
    for seed, row in found.items():
        assert f"seed {seed}: done. next: manyhands eval {row.id} --runs {tmp_path / 'runs'}\n" in out
        assert f"run {row.id} in" in (row.path / "logs/output.log").read_text()
        check_same_as_alone(alone[seed], row)


def test_on_policy_seeds_share_a_learner_too(tmp_path, many):
    """A round of each is 2 x 2 episodes of 20 steps; the seeds end where each ends alone."""
    config = tiny(algorithm="ppo", algo=PpoConfig(hidden=(8,), episodes=1, epochs=1, minibatches=1), total_steps=240)
    config = replace(config, actors=ActorConfig(actors=2, simulators=2), replay=ReplayConfig())  # what only a stream has is refused
    code, out, err = end(many(config, "0,1", 2, 2))
    assert (code, err) == (0, ""), out
    for seed, row in rows(tmp_path).items():
        alone = run_through(replace(config, seed=seed), tmp_path / "alone")
        for name in EXACT:
            assert_equal(saved(alone).components[name], saved(row.path).components[name], name)


def test_one_after_the_other_in_this_process(tmp_path, capsys):
    assert train_seeds(tiny(total_steps=40), [0, 1], tmp_path / "runs") == 0
    assert {seed: (row.status, row.pid) for seed, row in rows(tmp_path).items()} == dict.fromkeys((0, 1), ("finished", os.getpid()))
    out = capsys.readouterr().out
    assert "no summary of the seeds: seed 0: no result" in out or "2 seeds, their last evaluation" in out


def test_seeds_wait_for_their_turn_and_have_cores_of_their_own(tmp_path, many):
    process = many(tiny(total_steps=100_000, simulator={"slow_ms": 1.0}), "3,4,5", 2)
    wait_for(lambda: under_way(tmp_path, 2), "two seeds under way", process)
    cores = {tuple(psutil.Process(row.pid).cpu_affinity()) for row in rows(tmp_path).values()}
    assert len(cores) == min(2, len(os.sched_getaffinity(0)))
    process.send_signal(signal.SIGTERM)
    code, out, _ = end(process)
    assert code == 130
    assert "not begun: seeds 5" in out


@pytest.mark.parametrize(("number", "stack"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_a_signal_stops_and_saves_all_and_each_goes_on_alone(tmp_path, many, number, stack):
    process = many(tiny(total_steps=100_000, simulator={"slow_ms": 1.0}), stack=stack)
    wait_for(lambda: under_way(tmp_path, 2), "both seeds under way", process)
    process.send_signal(number)
    code, out, err = end(process)
    assert (code, err) == (130, ""), out
    for seed, row in rows(tmp_path).items():
        assert row.status == "stopped"
        assert steps_saved(row.path) == [row.steps]
        assert f"seed {seed}: stopped and saved after {row.steps:,} env steps. next: manyhands resume {row.id} --runs" in out
    if stack:
        row = rows(tmp_path)[1]
        config_file.save(tiny(total_steps=row.steps + 40, seed=1), row.path / "config.json")
        done = manyhands("resume", row.id, "--runs", tmp_path / "runs")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert [r["step"] for r in read_metrics(row.path / "metrics.jsonl")][-1] == row.steps + 40


def test_a_second_signal_ends_all_at_once(tmp_path, many):
    process = many(tiny(total_steps=100_000, simulator={"slow_ms": 1.0}))
    wait_for(lambda: under_way(tmp_path, 2), "both seeds under way", process)
    everyone = family(process.pid)
    children = [psutil.Process(row.pid) for row in rows(tmp_path).values()]
    for child in children:
        child.suspend()  # it cannot stop politely
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    code, _, _ = end(process)
    assert code == 130
    wait_for(lambda: not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "all to end")


@pytest.mark.parametrize("stack", [0, 2])
def test_a_child_that_is_killed_leaves_the_others_alone(tmp_path, many, stack):
    process = many(tiny(total_steps=1500, simulator={"slow_ms": 1.0}), stack=stack)
    wait_for(lambda: 0 in (found := rows(tmp_path)) and found[0].steps, "seed 0 to be under way", process)
    victim = rows(tmp_path)[0]
    os.kill(victim.pid, signal.SIGKILL)
    code, out, err = end(process)
    assert (code, err) == (137, ""), out
    found = rows(tmp_path)
    assert (found[0].status, found[1].status) == ("killed", "finished")
    assert found[1].steps == 1500
    assert "seed 0: killed by SIGKILL after" in out
    assert f"next: manyhands resume {victim.id} --runs" in out


@pytest.mark.parametrize("stack", [0, 2])
def test_children_of_a_killed_parent_stop_and_save(tmp_path, many, stack):
    process = many(tiny(total_steps=100_000, simulator={"slow_ms": 1.0}), stack=stack)
    wait_for(lambda: under_way(tmp_path, 2), "both seeds under way", process)
    everyone = family(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "all to end")
    for row in rows(tmp_path).values():
        assert row.status == "stopped"
        assert steps_saved(row.path) == [row.steps]


def test_without_the_stack_runs_end_and_say_how_to_go_on(tmp_path, many):
    config = tiny(total_steps=100_000, simulator={"slow_ms": 1.0}, checkpoint={"every_s": 0.2})
    process = many(config, stack=2)
    wait_for(lambda: under_way(tmp_path, 2) and all(steps_saved(r.path) for r in rows(tmp_path).values()), "checkpoints", process)
    (stack,) = [member for member in family(process.pid) if "manyhands.stack_process" in member.cmdline()]
    stack.kill()
    code, out, _ = end(process)
    assert code == 2
    for seed, row in rows(tmp_path).items():
        assert row.status == "failed"
        assert f"seed {seed}: failed: learner died: the process that has the learners" in out
        assert f"next: manyhands resume {row.id}" in out
        assert f"go on with: manyhands resume {row.id}" in (row.path / "logs/output.log").read_text()


def test_replay_of_all_seeds_together_must_fit(tmp_path, many):
    code, _, err = end(many(tiny(replay={"capacity": 200_000_000}), "0,1,2,3,4,5,6,7", 8))
    assert code == 2
    assert err.startswith("error: more seeds at once than memory: for 8 of them replay needs")
    assert "fix: --at-once" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()

"""Counting: every transition that an actor made is in replay once and whole, across kill -9 of what can be killed (inline)."""

import os
import signal
from pathlib import Path

import pytest

from core.rows import CLOSING, DISCARDED
from tests.system.counting import check_draws, check_rows, counter_config, discarded_episodes, open_episodes, simulator_seed
from tests.system.tiny import kill_9, manyhands, replayed, run_through, saved, simulator_pid, start_child, wait_for


def check_counts(folder, config):
    """Rows, counters and limiter tell the same story, and updates keep their promise."""
    parts, rows = saved(folder), replayed(folder)
    counters, limiter = parts.components["fleet"]["counters"], parts.components["driver"]["limiter"]
    check_rows(rows, config)
    stored = int((rows["kind"] != CLOSING).sum())
    assert stored == sum(parts.meta["replay"]["transitions"]) >= counters["stored"]
    replay = config.replay
    assert counters["updates"] == limiter["updates"] == parts.components["learner"]["updates"]
    owed = (limiter["inserted"] - replay.min_size) * replay.updates_per_step - limiter["updates"]
    assert 0 <= owed <= replay.max_lead_steps * replay.updates_per_step + 1
    return rows, counters


def test_nothing_is_lost_or_doubled(tmp_path):
    config = counter_config(total_steps=600)
    folder = run_through(config, tmp_path, (300, check_draws))
    rows, counters = check_counts(folder, config)
    assert counters["steps"] == 600
    assert counters["lost"] == counters["restarts"] == 0
    assert not discarded_episodes(rows)
    assert len(open_episodes(rows)) <= 4


def test_a_killed_simulator_costs_its_open_episodes_only(tmp_path):
    config = counter_config(total_steps=800)
    seen = {}

    def kill(run):
        seen["before"] = run.fleet.counters.stored
        os.kill(simulator_pid(os.getpid(), simulator_seed(config, 0, 0)), signal.SIGKILL)

    folder = run_through(config, tmp_path, (300, kill), (600, check_draws))
    rows, counters = check_counts(folder, config)
    assert counters["lost"] == 2  # one process, two simulators
    assert counters["steps"] == 800
    assert counters["stored"] >= seen["before"]
    assert len(discarded_episodes(rows)) <= 2
    assert len(open_episodes(rows)) <= 4


def test_a_hung_simulator_is_replaced_and_its_episode_withdrawn(tmp_path):
    """Variation 3 of every simulator hangs at its 5th step."""
    options = {"hang_at_step": 5, "fail_variation": 3}
    config = counter_config(total_steps=500, simulator=options, actors={"step_timeout_s": 0.5, "chunk": 2}, evaluation={"episodes": 1})
    folder = run_through(config, tmp_path)
    rows, counters = check_counts(folder, config)
    assert counters["lost"] >= 4
    assert counters["steps"] == 500
    assert discarded_episodes(rows)
    hung = rows[rows["obs"][:, 1] == 3]
    assert (hung["kind"] == CLOSING).sum() < len(hung)
    assert set(hung["kind"].tolist()) <= {CLOSING, DISCARDED}


@pytest.mark.parametrize("backend", ["inline"])
def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path, backend):
    config = counter_config(total_steps=1500, backend=backend, simulator={"slow_ms": 1.0}, checkpoint={"every_s": 0.3})
    process, run = start_child(config, tmp_path)
    wait_for(lambda: list(tmp_path.glob("*/checkpoints/step_*/done")), "a checkpoint", process)
    kill_9(process)
    done = manyhands("resume", run, "--runs", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    rows, counters = check_counts(tmp_path / run, config)
    assert counters["steps"] == 1500
    assert len(open_episodes(rows)) <= 4
    assert not list(Path("/dev/shm").glob(f"*{run}*"))


def test_a_replay_from_which_everything_was_withdrawn_fills_again(tmp_path):
    """As a resumed Ray run finds it when all its episodes were open: updates wait for the first transition instead of ending the run."""
    config = counter_config(total_steps=600, simulator={"horizon": 60}, replay={"max_lead_steps": 0})
    seen = []

    def withdraw(run):
        run.fleet._ask("ingest", "discard_open")
        seen.append(run.fleet.counters.updates)

    folder = run_through(config, tmp_path, (200, withdraw))
    rows, counters = replayed(folder), saved(folder).components["fleet"]["counters"]
    assert (rows["kind"] == DISCARDED).sum() > 100
    assert counters["updates"] > seen[0] > 0

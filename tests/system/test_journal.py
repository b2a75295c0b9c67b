"""kill -9 of the driver of a run, then `manyhands resume`: every env step that replay had acknowledged is there, once."""

import os
import signal

import pytest

from core.metrics import read_metrics
from manyhands.backends import ComponentDied
from manyhands.config import RunConfig
from manyhands.loop import train
from manyhands.recovery import Recovery
from replay.ingest import ring_file
from replay.journal import FOLDER
from replay.ring import Ring
from tests.system.counting import check_rows, counter_config, open_episodes
from tests.system.tiny import (
    kill_9,
    manyhands,
    opened,
    replayed,
    run_through,
    saved,
    spawn,
    start_child,
    steps_saved,
    tiny,
    transitions,
    wait_for,
)


def ring_of(run):
    """The rows of a run whose processes are dead, as its ring has them, and the newest version that acted in them: whatever was
    acknowledged is among them. A run that is resumed removes this ring."""
    ring = Ring.attach(ring_file(run))
    rows = ring.rows[0][ring.whole(0)].copy()
    ring.close()
    return rows, int(transitions(rows)["version"].max())


def same_but_kind(one, other):
    """Rows are the same ones; some may have been withdrawn meanwhile."""
    for name in one.dtype.names:
        if name != "kind":
            assert one[name].tobytes() == other[name].tobytes(), name


def stored(run):
    """Rows so far; 0 where there is no ring yet."""
    if not ring_file(run).exists():
        return 0
    ring = Ring.attach(ring_file(run))
    count = int(ring.state().rows[0])
    ring.close()
    return count


@pytest.fixture
def inexact(monkeypatch):
    """Runs in this process that cannot go on bit by bit, as with simulators that are not reset at each episode."""
    monkeypatch.setattr(RunConfig, "exact", property(lambda _: False))
    return counter_config


def stop_at(run, steps):
    """Trains so far, and leaves it as a killed driver would."""
    run.done = lambda: run.fleet.counters.steps >= steps
    train(run)
    del run.done


@pytest.mark.chaos
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("level", "deaths"), [("process", 2), ("host", 1)])
def test_a_killed_ray_run_has_every_acknowledged_step_once(tmp_path, level, deaths):
    """There was never a checkpoint but the one that it begins with."""
    config = counter_config(backend="ray", total_steps=100_000, simulator={"slow_ms": 1.0}, replay={"journal": level})
    process, run = start_child(config, tmp_path)
    folder, before = tmp_path / run, 0
    for _ in range(deaths):
        wait_for(lambda enough=before + 400: stored(run) > enough, "rows", process)
        kill_9(process)
        assert steps_saved(folder) == [0]
        rows, version = ring_of(run)
        assert before < len(rows)
        before = len(rows)
        published = Recovery(folder, journaled=True, free=True).newest()
        assert published >= version
        process = spawn("-m", "manyhands", "resume", run, "--runs", str(tmp_path))
    wait_for(lambda: stored(run) > before + 200, "rows", process)
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    after, parts = replayed(folder), saved(folder)
    same_but_kind(rows, after[: len(rows)])
    check_rows(after, config)
    assert not open_episodes(after[: len(rows)]) & open_episodes(after), "episodes of actors that are gone can still be drawn"
    assert after["version"][len(rows) :].min() > published, "a version means one policy"
    counters, limiter = parts.components["fleet"]["counters"], parts.components["driver"]["limiter"]
    assert limiter["inserted"] == sum(parts.meta["replay"]["transitions"]) == len(transitions(after)) >= counters["stored"]
    assert counters["steps"] >= counters["stored"] > before / 2
    steps = [row["step"] for row in read_metrics(folder / "metrics.jsonl")]
    assert steps == sorted(set(steps))
    assert len(list((folder / FOLDER).glob("*.journal"))) == 1, "the last checkpoint covers all but what comes after it"


@pytest.mark.chaos
@pytest.mark.ray
def test_a_lost_learner_costs_no_step(tmp_path):
    """Nor does an ingest that dies before, and again while the run is resumed."""
    config, seen = counter_config(backend="ray", total_steps=100_000, replay={"max_lead_steps": 100_000}), {}

    def kill(run, name):
        os.kill(run.fleet.backend.process_id(name), signal.SIGKILL)

    def kill_learner(run):
        seen["rows"] = run.fleet.ring.rows[0][run.fleet.ring.whole(0)].copy()
        kill(run, "learner")

    with pytest.raises(ComponentDied, match="learner died"):
        run_through(config, tmp_path, (200, lambda run: kill(run, "ingest")), (500, kill_learner))
    (folder,) = [path.parent for path in tmp_path.glob("*/config.json")]
    assert steps_saved(folder) == [0]
    with opened(config, tmp_path, folder.name) as run:
        kill(run, "ingest")
        stop_at(run, run.fleet.counters.steps + 200)
        run.reason = "stopped"
        run.finish()
    after = replayed(folder)
    same_but_kind(seen["rows"], after[: len(seen["rows"])])
    check_rows(after, config)


def test_what_was_collected_since_a_checkpoint_counts(tmp_path, inexact):
    """Inline, in a run that cannot go on bit by bit: counters, limiter and versions go on from what the journal gave back."""
    config = inexact(total_steps=400)
    with opened(config, tmp_path) as run:
        stop_at(run, 200)
        before, limiter = vars(run.fleet.counters).copy(), run.limiter.state_dict()
        rows = run.fleet._ask("ingest", "counts")["transitions"]
        ring = run.fleet.ring.rows[0][run.fleet.ring.whole(0)].copy()
        assert run.checkpoints.steps() == [0]
        name = run.id
    with opened(config, tmp_path, name) as run:
        counters = run.fleet.counters
        assert counters.stored == sum(rows) == run.limiter.state_dict()["inserted"] == limiter["inserted"]
        assert before["steps"] - 4 * 8 <= counters.steps <= before["steps"], "less what was in chunks that were not full"
        assert counters.steps >= counters.stored
        assert counters.updates == 0 < before["updates"], "the learner goes back to its checkpoint, and owes as many updates again"
        assert counters.version > before["version"]
        same_but_kind(ring, run.fleet.ring.rows[0][run.fleet.ring.whole(0)])
        train(run)
        assert run.limiter.state_dict()["updates"] >= before["updates"]


def test_going_back_to_a_step_is_final(tmp_path, inexact):
    """``resume --step``: the journal is left aside, and a run that dies right after that goes on from there."""
    config = inexact(total_steps=400, checkpoint={"keep": 9})
    with opened(config, tmp_path) as run:
        stop_at(run, 100)
        run.save(wait=True)
        stop_at(run, 200)
        name, version = run.id, run.fleet.counters.version
    step = steps_saved(tmp_path / name)[-1]
    with opened(config, tmp_path, name, step=step) as run:
        stored_then = run.fleet._ask("ingest", "counts")["transitions"]
        assert run.fleet.counters.version > version, "versions do not go back even so"
    with opened(config, tmp_path, name) as run:
        assert run.fleet._ask("ingest", "counts")["transitions"] == stored_then
        assert run.fleet.recovery.transitions == 0


def test_an_exact_run_needs_no_journal(tmp_path):
    """What it has lost since its checkpoint it makes again, bit for bit: see test_resume."""
    folder = run_through(tiny(total_steps=100, replay={"journal": "host"}), tmp_path)
    assert not (folder / FOLDER).exists()
    assert "journal" not in saved(folder).meta["replay"]


def test_a_damaged_journal_is_refused_in_one_line_and_a_step_is_the_way_out(tmp_path, inexact):
    config = inexact(total_steps=120)
    with opened(config, tmp_path) as run:
        stop_at(run, 100)
        name = run.id
    (path,) = (tmp_path / name / FOLDER).glob("*.journal")
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    refused = manyhands("resume", name, "--runs", tmp_path, "--force")
    assert refused.returncode == 2, refused
    assert "is damaged at byte" in refused.stderr
    assert "resume with --step" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = manyhands("resume", name, "--step", "0", "--runs", tmp_path, "--force")
    assert (done.returncode, done.stderr) == (0, ""), done
    check_rows(replayed(tmp_path / name), config)

"""The Ray backend on a real cluster: inline's numbers in lockstep, counting across kill -9, one consistent manifest to resume from."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from algos.ppo import Config as PpoConfig
from core.errors import ConfigError
from manyhands.backends import ComponentDied
from replay.demos import demo_file
from replay.ingest import ring_file
from tests.system import farm
from tests.system.counting import check_draws, check_rows, counter_config, discarded_episodes, open_episodes, simulator_seed
from tests.system.probe import Probe
from tests.system.tiny import (
    PATIENCE_S,
    assert_equal,
    evaluations,
    family,
    kill_9,
    replayed,
    run_through,
    saved,
    simulator_pid,
    spawn,
    start_child,
    steps_saved,
    tiny,
    transitions,
    wait_for,
)

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    """One private cluster for this module; backends use the one that their process is connected to."""
    ray_backend = pytest.importorskip("manyhands.backends.ray_backend")
    folder = ray_backend.connect()
    yield ray_backend.ray
    ray_backend.ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def check_manifest(folder, config):
    """One story in all parts of a checkpoint of an asynchronous run."""
    parts, rows = saved(folder), replayed(folder)
    driver, learner, counters = (parts.components[name] for name in ("driver", "learner", "fleet"))
    counters = counters["counters"]
    check_rows(rows, config)
    assert len(transitions(rows)) == sum(parts.meta["replay"]["transitions"]) == driver["limiter"]["inserted"] >= counters["stored"]
    assert learner["updates"] == counters["updates"] == driver["limiter"]["updates"]
    assert learner["version"] == counters["version"] == parts.components["published"]["version"] >= rows["version"].max()
    replay = config.replay
    owed = (driver["limiter"]["inserted"] - replay.min_size) * replay.updates_per_step - driver["limiter"]["updates"]
    assert owed >= 0
    return rows, counters


def kill(run, name):
    os.kill(run.fleet.backend.process_id(name), signal.SIGKILL)


@pytest.mark.chaos
@pytest.mark.usefixtures("cluster")
def test_counting_across_kill_9_of_simulator_actor_and_ingest_and_then_resume(tmp_path, capfd):
    config = counter_config(backend="ray", total_steps=3000, simulator={"slow_ms": 1.0})
    seen = {}

    def kill_simulator(run):
        os.kill(simulator_pid(run.fleet.backend.process_id("actor-0"), simulator_seed(config, 0, 0)), signal.SIGKILL)

    def kill_actor(run):
        seen["stored"] = run.fleet.counters.stored
        kill(run, "actor-1")

    def kill_others(run):
        kill(run, "ingest")
        kill(run, "evaluator")

    folder = run_through(config, tmp_path, (500, kill_simulator), (1000, kill_actor), (1500, kill_others), (2000, check_draws))
    assert capfd.readouterr() == ("", ""), "deaths are counted and logged, not shouted"
    assert "died" in (folder / "logs" / "ray.log").read_text()
    rows, counters = check_manifest(folder, config)
    assert counters["restarts"] == 2
    assert [row["eval/version"] for row in evaluations(folder)] == [counters["version"]], "the last evaluation found its evaluator dead"
    assert counters["lost"] == 2
    assert counters["stored"] > seen["stored"]
    assert len(open_episodes(rows)) <= 4
    assert {writer for writer, _ in discarded_episodes(rows)} <= {0, 1}
    published = counters["version"]

    resumed = counter_config(backend="ray", total_steps=3600, simulator={"slow_ms": 1.0})
    run_through(resumed, tmp_path, run=folder.name)
    more, counters = check_manifest(folder, resumed)
    assert counters["steps"] >= 3600
    assert len(more) > len(rows)
    assert (more["obs"][: len(rows)] == rows["obs"]).all()
    assert not open_episodes(rows) & open_episodes(more), "episodes of actors that are gone can still be drawn"
    assert more["version"][len(rows) :].min() > published, "a version means one policy, also over a resume"
    assert not ring_file(folder.name).exists()


@pytest.mark.usefixtures("cluster")
def test_a_lost_learner_ends_the_run_in_one_line_and_leaves_a_checkpoint(tmp_path):
    events = (300, lambda run: run.save(wait=True)), (400, lambda run: kill(run, "learner"))
    with pytest.raises(ComponentDied, match=r"^learner died: .*") as death:
        run_through(tiny(backend="ray", total_steps=100_000), tmp_path, *events)
    assert "\n" not in str(death.value)
    (folder,) = [path.parent for path in tmp_path.glob("*/config.json")]
    assert saved(folder).components["learner"]["updates"] > 0
    assert not ring_file(folder.name).exists()


@pytest.mark.usefixtures("cluster")
def test_lockstep_is_inline_for_who_sees_and_is_shown_how_it_is_done(tmp_path):
    common = {"total_steps": 40, "evaluation": {"every_steps": 20}}
    inline, ray = (run_through(farm.farmed(backend=name, lockstep=name == "ray", **common), tmp_path) for name in ("inline", "ray"))
    assert saved(inline).components["learner"]["updates"] >= 20
    for name in farm.EXACT:
        assert_equal(saved(inline).components[name], saved(ray).components[name], name)
    assert farm.columns(inline) == farm.columns(ray)
    assert not demo_file(ray.name).exists()


@pytest.mark.usefixtures("cluster")
def test_lockstep_is_inline_bit_for_bit(tmp_path):
    """Also through a checkpoint in the middle; turns of 3 vector steps, so that a chunk is cut within a turn."""
    common = {"total_steps": 600, "actors": {"steps_per_call": 3}, "evaluation": {"every_steps": 250}}
    folders = []
    for backend, lockstep in (("inline", False), ("ray", True)):
        config = tiny(backend=backend, lockstep=lockstep, **common)
        folders.append(run_through(config, tmp_path, (300, lambda run: run.save(wait=True))))
    for step in (300, 600):
        inline, ray = (saved(folder, step) for folder in folders)
        assert inline.components["learner"]["updates"] >= 100
        for name in ("learner", "actor-0", "actor-1", "published", "fleet"):
            assert_equal(inline.components[name], ray.components[name], name)
        assert_equal(inline.components["driver"]["limiter"], ray.components["driver"]["limiter"])
        assert replayed(folders[0], step).tobytes() == replayed(folders[1], step).tobytes()
    assert [r["eval/version"] for r in evaluations(folders[0])] == [r["eval/version"] for r in evaluations(folders[1])]


def rounds(**changes):
    """On-policy; a round is 2 tasks x 2 simulators x 2 episodes x 10 steps."""
    algo = PpoConfig(hidden=(16,), episodes=2, epochs=2, minibatches=2)
    common = {"tasks": ("dummy:point",) * 2, "simulator": {"horizon": 10}, "actors": {"actors": 2}, "total_steps": 480}
    return tiny(algorithm="ppo", algo=algo, **{**common, **changes})


@pytest.mark.usefixtures("cluster")
def test_rounds_are_inline_bit_for_bit_and_a_lost_actor_plays_its_part_again(tmp_path):
    """Without lockstep: whoever delivers first, a round is the same. A restarted actor explores with numbers of its own."""
    inline, ray = (saved(run_through(rounds(backend=backend), tmp_path)) for backend in ("inline", "ray"))
    assert inline.components["learner"]["updates"] == 6
    for name in ("learner", "published"):
        assert_equal(inline.components[name], ray.components[name], name)
    slow = rounds(backend="ray", simulator={"horizon": 10, "slow_ms": 5.0})
    parts = saved(run_through(slow, tmp_path, (80, lambda run: kill(run, "actor-1"))))
    assert parts.components["fleet"]["counters"]["restarts"] == 1
    assert parts.components["learner"]["updates"] == parts.components["learner"]["version"] == 6


@pytest.mark.chaos
def test_a_killed_cluster_then_a_polite_stop(tmp_path):
    """kill -9 of the driver ends everything; what resumes obeys Ctrl-C of a terminal (SIGINT to the whole group) and leaves nothing."""
    config = counter_config(backend="ray", total_steps=100_000, simulator={"slow_ms": 1.0}, checkpoint={"every_s": 0.5})
    home = tmp_path / "home"
    home.mkdir()
    options = {"env": {**os.environ, "HOME": str(home)}, "start_new_session": True}
    process, run = start_child(config, tmp_path, **options)
    wait_for(lambda: steps_saved(tmp_path / run), "a checkpoint", process)
    kill_9(process)
    before = max(steps_saved(tmp_path / run))
    rows = replayed(tmp_path / run)

    process = spawn("-m", "manyhands", "resume", run, "--runs", str(tmp_path), **options)
    wait_for(lambda: max(steps_saved(tmp_path / run)) > before, "another checkpoint", process)
    temporary = {found for child in family(process.pid) for found in re.findall(r"/tmp/manyhands-ray-[\w-]+", " ".join(child.cmdline()))}
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, ""), (out, err)
    assert f"next: manyhands resume {run}" in out
    check_manifest(tmp_path / run, config)
    assert (replayed(tmp_path / run)["obs"][: len(rows)] == rows["obs"]).all()
    assert not list(home.rglob("*ray*")), "ray left something in the home folder"
    assert len(temporary) == 1
    assert not Path(temporary.pop()).exists()
    assert not ring_file(run).exists()
    logs = {path.name for path in (tmp_path / run / "logs").glob("*.log")}
    assert logs == {"ingest.log", "learner.log", "actor-0.log", "actor-1.log", "evaluator.log"}


@pytest.fixture
def backend(cluster, tmp_path):
    from manyhands.backends.ray_backend import RayBackend

    made = RayBackend(tmp_path, env={"OMP_NUM_THREADS": "2"})
    yield made
    made.close()


def ask(backend, name, method, *args):
    return backend.result(backend.call(name, method, *args))


def test_a_component_has_a_process_with_a_log_and_our_settings(backend, tmp_path):
    backend.start("one", Probe, 1)
    about = ask(backend, "one", "about")
    assert about == {"pid": backend.process_id("one"), "threads": 2, "main": True}
    assert about["pid"] != os.getpid()
    assert (tmp_path / "one.log").read_text() == "made, on stdout\n"


def test_errors_come_as_what_they_are(backend):
    backend.start("good", Probe, 1)
    backend.start("bad", Probe, -1)
    with pytest.raises(ConfigError, match="number is -1"):
        ask(backend, "bad", "about")
    with pytest.raises(ConfigError, match="asked to fail"):
        ask(backend, "good", "fail")
    with pytest.raises(ZeroDivisionError, match="asked for a bug"):
        ask(backend, "good", "bug")
    os.kill(backend.process_id("good"), signal.SIGKILL)
    with pytest.raises(ComponentDied, match=r"^good died: .*worker") as death:
        ask(backend, "good", "about")
    assert "\n" not in str(death.value)
    backend.start("good", Probe, 2)
    assert ask(backend, "good", "see", 5) == 5


def test_a_service_is_made_again_and_others_may_be_beside(backend):
    backend.start("service", Probe, 3, restart=True)
    before = backend.process_id("service")
    long = backend.beside("service", "wait_for", 200)
    tickets = [backend.call("service", "see", i) for i in range(200)]
    assert [backend.result(t) for t in tickets] == list(range(200))
    assert backend.result(long) == list(range(200)), "calls are carried out in order, and beside the long one"
    assert backend.ready(tickets, wait=True) == tickets
    os.kill(before, signal.SIGKILL)
    assert ask(backend, "service", "see", 1) == 1
    assert backend.process_id("service") != before

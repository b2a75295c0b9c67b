"""A whole run whose only simulators are in clients elsewhere; and what a run with a gateway cannot be."""

import json
import os
import signal
from dataclasses import replace

import pytest

import algos
from core.errors import ConfigError, ManyhandsError, MissingExtra
from core.types import Weights
from manyhands import build, gateway, gateway_evaluator
from manyhands.config_file import load
from manyhands.result import Outcomes
from replay import gateway_server
from simulators import hooks
from tests.replay.gateway_side import Redis, check_counting, start_client, wait_for
from tests.system.tiny import PATIENCE_S, evaluations, kill_9, manyhands, replayed, saved, spawn, start_child, steps_saved, tiny


def outside(**changes):
    parts = {
        "tasks": ("dummy:counter",),
        "backend": "ray",
        "actors": {"actors": 0},
        "gateway": {"clients": 3, "timeout_s": 3.0},
        "replay": {"updates_per_step": 0.05},
        **changes,
    }
    return tiny(**parts)


@pytest.mark.ray
def test_a_run_learns_from_clients_and_goes_on_with_them_when_its_gateway_is_killed(tmp_path):
    config = outside(total_steps=1500, checkpoint={"every_s": 0.5})
    process, run = start_child(config, tmp_path)
    folder = tmp_path / run
    address = folder / "gateway" / "address"
    clients = []
    try:
        wait_for(lambda: address.exists() or process.poll() is not None)
        clients = [start_client(f"@{address}", "--simulators", 2) for _ in range(2)]
        wait_for(lambda: list(folder.glob("checkpoints/step_*[1-9]*/done")) or process.poll() is not None)
        kill_gateway(folder)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
        assert [client.wait(PATIENCE_S) for client in clients] == [0, 0], "the run is over, and tells them"
    finally:
        for each in (process, *clients):
            each.kill()
    rows, counters, limiter, _ = accounts(folder, 1500)
    assert counters["restarts"] == 1
    owed = (limiter["inserted"] - config.replay.min_size) * config.replay.updates_per_step - limiter["updates"]
    assert 0 <= owed <= config.replay.max_lead_steps * config.replay.updates_per_step + 1
    assert max(rows["version"]) > 0, "clients act with weights that were learned"
    assert counters["updates"] > 30
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert max(row.get("gateway/clients", 0) for row in metrics) == 2
    assert load(folder / "config.json") == config
    assert not address.exists()


@pytest.mark.chaos
@pytest.mark.ray
def test_clients_go_on_when_the_driver_was_killed_and_the_run_is_resumed(tmp_path):
    """The server dies with the driver and comes back where clients look for it; they begin anew from the checkpoint."""
    config = outside(total_steps=1200, checkpoint={"every_s": 0.5})
    process, run = start_child(config, tmp_path)
    folder = tmp_path / run
    address, clients, logs = folder / "gateway" / "address", [], [tmp_path / "0.log", tmp_path / "1.log"]
    try:
        wait_for(lambda: address.exists() or process.poll() is not None)
        clients = [start_client(f"@{address}", "--simulators", 2, log=log.open("wb")) for log in logs]
        wait_for(lambda: list(folder.glob("checkpoints/step_*[1-9]*/done")) or process.poll() is not None)
        kill_9(process)
        before = max(saved(folder).meta["replay"]["incarnation"])
        assert [client.poll() for client in clients] == [None, None]
        process = spawn("-m", "manyhands", "resume", run, "--runs", str(tmp_path))
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
        assert [client.wait(PATIENCE_S) for client in clients] == [0, 0]
    finally:
        for each in (process, *clients):
            each.kill()
    *_, manifest = accounts(folder, 1200)
    assert max(manifest["incarnation"]) > before
    for log in logs:
        said = log.read_text().splitlines()
        assert sum(" simulators of dummy:counter" in line for line in said) >= 2, "they were given work twice"
        assert any("is away" in line for line in said) and said[-1] == "the run is over"


def accounts(folder, steps):
    """Each env step once, and all agree on how many. Returns rows, counters, limiter and manifest of replay, as saved."""
    parts, rows = saved(folder), replayed(folder)
    counters, limiter, manifest = parts.components["fleet"]["counters"], parts.components["driver"]["limiter"], parts.meta["replay"]
    check_counting(rows)
    assert counters["steps"] >= steps
    # What was stored and not told when something was killed is in replay, which the limiter goes by.
    assert counters["stored"] <= limiter["inserted"] == sum(manifest["transitions"])
    return rows, counters, limiter, manifest


def kill_gateway(folder):
    """Kills the process of the gateway once: the fleet starts another, and clients go on."""
    for path in os.listdir("/proc"):
        if path.isdecimal():
            try:
                target = os.readlink(f"/proc/{path}/fd/1")
            except OSError:
                continue
            if target == str(folder / "logs" / "gateway.log"):
                os.kill(int(path), signal.SIGKILL)
                return
    raise AssertionError("no process of the gateway")


def test_a_run_in_strict_turns_has_no_gateway():
    for changes in ({"backend": "inline"}, {"lockstep": True}):
        config = outside(**changes)
        with pytest.raises(ConfigError, match="strict turns; fix: --backend ray"):
            gateway.check(config, build.task_spec(config))


@pytest.mark.ray
def test_clients_evaluate_as_the_run_would(tmp_path):
    """The same episodes, the same numbers, the same metrics, target and best checkpoint."""
    config = outside(tasks=("dummy:point", "dummy:point"), total_steps=400, evaluation={"every_steps": 150, "episodes": 3})
    config = replace(config, gateway=replace(config.gateway, evaluate="clients"))
    process, run = start_child(config, tmp_path)
    folder = tmp_path / run
    address, client = folder / "gateway" / "address", None
    try:
        wait_for(lambda: address.exists() or process.poll() is not None)
        client = start_client(f"@{address}", "--simulators", 2)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
        assert client.wait(PATIENCE_S) == 0
    finally:
        for each in filter(None, (process, client)):
            each.kill()
    driver = saved(folder).components["driver"]
    assert len(evaluations(folder)) >= 2
    spec = build.task_spec(config)
    judge = build.evaluator(config, spec, tmp_path)
    try:
        for kept in (driver["best"], saved(folder).components["published"]):
            outcomes, weights = Outcomes(config.tasks), Weights(kept["version"], kept["params"])
            outcomes.take(judge.evaluate(weights), weights, 0, 0)
            wanted = outcomes.last
            assert wanted is not None
            found = driver["best"] if kept is driver["best"] else driver["last"]
            for name, told in wanted["tasks"].items():
                # Products of one row and of several are not equal to the last bit.
                assert found["tasks"][name].pop("return") == pytest.approx(told.pop("return"), rel=1e-5)
                assert found["tasks"][name] == told
    finally:
        judge.close()


@pytest.mark.ray
def test_where_no_client_answers_training_goes_on_and_the_evaluation_is_missing(tmp_path):
    """The only client is gone when the last evaluation begins."""
    config = outside(total_steps=300, gateway={"clients": 1, "timeout_s": 2.0, "evaluate": "clients", "patience_s": 3.0})
    process, run = start_child(config, tmp_path)
    folder = tmp_path / run
    address, client = folder / "gateway" / "address", None
    try:
        wait_for(lambda: address.exists() or process.poll() is not None)
        client = start_client(f"@{address}", "--simulators", 2)
        wait_for(lambda: max(steps_saved(folder), default=0) or process.poll() is not None)  # the one before the last evaluation
        client.kill()
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
    finally:
        for each in filter(None, (process, client)):
            each.kill()
    if not evaluations(folder):  # else it was as quick as that
        assert "is missing: no answer of clients for 3 s" in out
        assert json.loads((folder / "result.json").read_text())["tasks"] == {}
        assert any("eval/missing_version" in row for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))


def test_who_evaluates(monkeypatch):
    config = outside()
    assert not gateway_evaluator.by_clients(config)
    monkeypatch.setattr(hooks, "missing", lambda name: f"{name} is not installed")
    assert gateway_evaluator.by_clients(config)
    gateway_evaluator.check(config)
    with pytest.raises(ConfigError, match=r"gateway\.evaluate is run.*dummy:counter is not installed.*--gateway\.evaluate clients"):
        gateway_evaluator.check(replace(config, gateway=replace(config.gateway, evaluate="run")))
    with pytest.raises(ConfigError, match=r"evaluation\.adaptation is 2, and clients cannot adapt"):
        gateway_evaluator.check(replace(config, evaluation=replace(config.evaluation, adaptation=2)))


def test_what_is_wrong_with_server_or_seeds_is_said_before_a_run_is_made(tmp_path, monkeypatch):
    config = outside()
    spec, of = build.task_spec(config), lambda **changes: replace(config, gateway=replace(config.gateway, **changes))
    gateway.check(config, spec)
    with pytest.raises(ConfigError, match="2 seeds at once would each need clients of their own; fix: --at-once 1"):
        gateway.check(config, spec, at_once=2)
    with pytest.raises(ManyhandsError, match=r"redis://127\.0\.0\.1:1 is away"):
        gateway.check(of(url="redis://127.0.0.1:1"), spec)
    with pytest.raises(ManyhandsError, match="the address of a server begins with"):
        gateway.check(of(url="http://x"), spec)
    server = Redis(tmp_path, "--requirepass", "secret")
    try:
        with pytest.raises(ManyhandsError, match="refuses this user or password"):
            gateway.check(of(url=server.url), spec)
        gateway.check(of(url=server.url.replace("//", "//:secret@")), spec)
    finally:
        server.kill()
    monkeypatch.setattr(gateway, "MOST_PAYLOAD", 100)
    with pytest.raises(ConfigError, match=r"a chunk of a client would have 8 transitions.*Fix: a smaller actors\.chunk"):
        gateway.check(config, spec)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(gateway_server, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="apt-get install redis-server"):
        gateway.check(config, spec)


def test_an_algorithm_that_needs_torch_to_act_is_refused():
    config = outside()
    spec = build.task_spec(config)
    with pytest.raises(ConfigError, match=r"pearl cannot act without torch.*c2farm, reptile, sac"):
        gateway.policy(replace(config, algorithm="pearl", algo=algos.find("pearl").Config()), spec)


def test_someone_must_collect():
    with pytest.raises(ConfigError, match="nobody would collect"):
        outside(gateway={"clients": 0, "timeout_s": 20.0})


def test_tasks_are_dealt_out_among_clients_and_their_simulators():
    config = replace(outside(gateway={"clients": 2}), tasks=tuple(f"dummy:{name}" for name in ("counter", "point", "counter", "point")))
    spec = build.task_spec(replace(config, tasks=("dummy:counter",)))
    played = [[lane["tasks"] for lane in gateway.plan(config, spec, place, 1, count)["lanes"]] for place, count in ((0, 1), (1, 3))]
    assert played == [[[0, 2]], [[1], [3], [1]]]
    seeds = [lane["seed"] for place in (0, 1) for lane in gateway.plan(config, spec, place, 1, 4)["lanes"]]
    assert len(set(seeds)) == 8


def test_the_command_line_has_the_client():
    done = manyhands("simulator", "--connect", "http://x")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the address of a server begins with redis://")

"""Runs on a Ray cluster of several nodes, as a person launches them: the driver, simulator nodes and the learner's node are lost."""

import io
import json
import os
import signal
import sys
import time
from contextlib import redirect_stdout

import pytest

from core.errors import ConfigError
from manyhands.arguments import ResumeArguments
from manyhands.registry import Registry
from tests.system.tiny import saved, tiny

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(1200)]

PATIENCE_S = 400
"""for one thing to happen: a dozen processes load torch on two cores that others use too"""
CONFIG = tiny(
    backend="ray",
    total_steps=10_000_000,
    simulator={"slow_ms": 5.0},
    actors={"actors": 2, "simulators": 1},
    checkpoint={"every_s": 1.0},
)


class Person:
    """Gives commands; ``web`` is the dashboard, ``address`` the head."""

    def __init__(self, nodes, root) -> None:
        self.nodes, self.root = nodes, root

    def said(self, command, options):
        with redirect_stdout(io.StringIO()) as out:
            assert command(options) == 0
        return out.getvalue()

    def launch(self, config, *arguments, cluster):
        from manyhands.cluster.arguments import parse_launch
        from manyhands.cluster.launch import launch

        options = parse_launch(["semicircle-pearl", "--cluster", cluster, "--runs", str(self.root), "--python", sys.executable, *arguments])
        options.config = config
        return self.said(launch, options)

    def top(self):
        """Run -> its row."""
        from manyhands.cluster.arguments import TopArguments
        from manyhands.cluster.commands import top

        out = self.said(top, TopArguments(cluster=self.nodes.address, runs=self.root, once=True, json=True))
        return {row["run"]: row for row in json.loads(out)}

    def ask(self, name, cluster, run, **more):
        from manyhands.cluster import arguments, commands

        kinds = {"logs": arguments.LogsArguments, "stop": arguments.StopArguments, "resume_on": ResumeArguments}
        options = kinds[name](run=run, runs=self.root, cluster=cluster, python=sys.executable, **more)
        return self.said(getattr(commands, name), options)

    def wait(self, condition, what):
        """Until ``condition`` holds of what ``top`` shows."""
        until = time.monotonic() + PATIENCE_S
        while not condition(rows := self.top()):
            assert time.monotonic() < until, f"waited {PATIENCE_S} s for {what}; {rows}"
            time.sleep(0.5)
        return rows


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    from tests.system.nodes import nodes

    with nodes(dashboard=True) as made:
        yield made


def test_two_seeds_through_everything(cluster, tmp_path):
    from tests.system.nodes import ip

    person = Person(cluster, tmp_path)
    with pytest.raises(ConfigError, match=r"no node of the cluster can take a run, which needs learner 0\.5\. There is"):
        person.launch(CONFIG, "--seeds", "0-1", "--share", "0.5", cluster=cluster.dashboard)
    home, first, second = cluster.add(learner=1), cluster.add(cpus=2, simulator=2), cluster.add(cpus=2, simulator=2)
    assert "room for 2 at once" in person.launch(CONFIG, "--seeds", "0-1", "--share", "0.5", "--dry-run", cluster=cluster.address)
    assert not person.top(), "a dry run enters nothing"

    said = person.launch(CONFIG, "--seeds", "0-1", "--share", "0.5", cluster=cluster.dashboard)  # as from a laptop
    rows = person.wait(lambda rows: len(rows) == 2 and all(row.get("saved", -1) > 0 for row in rows.values()), "both to be saved")
    one, other = sorted(rows)
    assert f"{one} is on {ip(home)}" in said
    assert {(row["node"], row["state"], row["restarts"]) for row in rows.values()} == {(ip(home), "running", 0)}
    person.wait(lambda rows: all(row["alive"] == 2 for row in rows.values()), "all actors")

    assert "is stopped and saved" in person.ask("stop", cluster.dashboard, other)
    row = person.top()[other]
    assert (row["status"], row["state"]) == ("stopped", "")
    with pytest.raises(ConfigError, match="no run of this cluster is called"):
        person.ask("stop", cluster.address, other)

    pid = person.top()[one]["pid"]
    os.kill(pid, signal.SIGKILL)
    at = person.wait(lambda rows: rows[one].get("pid") not in (None, pid), "another driver")[one]["saved"]
    rows = person.wait(lambda rows: rows[one]["saved"] > at, "it to go on")
    assert (rows[one]["restarts"], rows[one]["reason"]) == (1, "killed by SIGKILL")
    assert person.ask("logs", cluster.address, one, lines=100).count(f"run {one} in") == 2

    cluster.remove(first), cluster.remove(second)  # both: wherever its actors are
    cluster.add(cpus=1, simulator=1)
    rows = person.wait(lambda rows: rows[one].get("alive") == 1 == rows[one]["pending"], "one actor where there is room for one")
    steps = rows[one]["steps"]
    person.wait(lambda rows: rows[one]["steps"] > steps, "the run to go on with one actor")
    cluster.add(cpus=1, simulator=1)
    rows = person.wait(lambda rows: rows[one].get("alive") == 2, "the new node to be used")
    assert rows[one]["restarts"] == 1, "none of this was the driver's"
    assert rows[one]["actor_restarts"] >= 1

    new_home = cluster.add(learner=1)
    cluster.remove(home)
    at = person.wait(lambda rows: rows[one].get("node") == ip(new_home), "a Keeper elsewhere")[one]["saved"]
    person.wait(lambda rows: rows[one]["saved"] > at, "the run to go on there")
    person.ask("resume_on", cluster.address, other)
    with pytest.raises(ConfigError, match="is on this cluster already"):
        person.ask("resume_on", cluster.address, other)
    for run in (one, other):
        person.ask("stop", cluster.address, run)
    person.wait(lambda rows: all(row["state"] == "" for row in rows.values()), "both to be off the cluster")
    assert {row.status for row in Registry(tmp_path).list()} == {"stopped"}
    check_whole(tmp_path / one)


def check_whole(folder):
    """The last checkpoint loads, and its parts are of one moment."""
    parts = saved(folder)
    driver, learner, counters = parts.components["driver"], parts.components["learner"], parts.components["fleet"]["counters"]
    assert sum(parts.meta["replay"]["transitions"]) == driver["limiter"]["inserted"] >= counters["stored"]
    assert learner["updates"] == counters["updates"] == driver["limiter"]["updates"] > 0


def test_shares_of_gpus_are_dealt_out_and_looked_at(cluster, tmp_path):
    """With GPUs that only Ray believes in: two runs share one, a third has to wait."""
    from manyhands.backends.ray_cluster import RayCluster
    from manyhands.cluster.enlist import Request, enlist

    node = cluster.add(gpus=1, learner=1)
    request = Request(CONFIG, (0, 1, 2), str(tmp_path), 0.5, 0.5, False)
    said: list[str] = []
    with RayCluster(cluster.address) as connected:
        runs = enlist(request, connected, said.append)
        placed = [line for line in said if line.endswith(f"is on {node.node_ip_address}, GPU 0")]
        assert len(placed) == 2
        assert sum(line.endswith("waits for a node with room") for line in said) == 1
        for run in runs:
            connected.end(run)

"""C2F-ARM learns from simulators in a client: images are seen and encoded where neither torch nor core's learner is, and stored once."""

import os
from dataclasses import replace

import numpy as np
import pytest

import simulators.rlbench
from core.rows import CLOSING
from tests.replay.gateway_side import bare_python, start_client, wait_for
from tests.rlbench_place import DOUBLES
from tests.system.farm import farmed
from tests.system.tiny import PATIENCE_S, ROOT, evaluations, replayed, saved, start_child

OUTSIDE = {"backend": "ray", "actors": {"actors": 0}, "total_steps": 40, "gateway": {"clients": 1, "timeout_s": 3.0}}


def run_with_a_client(config, folder, *arguments, variables=None, driver=None):
    """Trains with one client in a bare Python; returns the run's folder and what the client said."""
    process, run = start_child(config, folder, **({"env": driver} if driver else {}))
    address, client, log = folder / run / "gateway" / "address", None, folder / "client.log"
    try:
        wait_for(lambda: address.exists() or process.poll() is not None)
        given = {"python": bare_python(folder), "log": log.open("wb"), **(variables or {})}
        client = start_client(f"@{address}", "--simulators", 2, "--logs", folder / "logs", *arguments, **given)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err + log.read_text()
        assert client.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        for each in filter(None, (process, client)):
            each.kill()
    return folder / run, log.read_text()


def check_once(folder):
    """Every transition that was acknowledged is in replay, once, in episodes without holes."""
    rows, counters = replayed(folder), saved(folder).components["fleet"]["counters"]
    taken = rows[rows["kind"] != CLOSING]
    assert len(taken) == counters["stored"] > 20  # an episode that is open at the end is not
    keys = {(int(row["writer"]), int(row["episode"]), int(row["t"])) for row in taken}
    assert len(keys) == len(taken)
    for writer, episode, t in keys:
        assert t == 0 or (writer, episode, t - 1) in keys
    return taken, counters


@pytest.mark.ray
@pytest.mark.chaos
def test_blocks(tmp_path):
    """From demonstrations, and evaluated by the client."""
    config = farmed(**OUTSIDE)
    config = replace(config, gateway=replace(config.gateway, evaluate="clients"))
    folder, said = run_with_a_client(config, tmp_path, "--module", "tests.elsewhere.blocks")
    assert " is lost" not in said
    taken, counters = check_once(folder)
    assert counters["updates"] >= config.replay.head_start + 10
    assert np.abs(taken["voxel_value"]).sum() > 0
    assert max(taken["version"]) > 0
    assert len(evaluations(folder)) == 1


@pytest.mark.ray
def test_rlbench_is_only_where_the_client_is(tmp_path, rlbench_double):
    """The strict double. The run itself has no RLBench, so the client evaluates too."""
    options = simulators.rlbench.Options(size=16, horizon=4, restart_episodes=6)
    changes = {"demos": {"count": 0}, "replay": {"head_start": 0, "min_size": 8}}
    config = replace(farmed(**OUTSIDE, **changes), tasks=("rlbench:reach_target",), simulator=options).check()
    without = {**os.environ, "PYTHONPATH": str(ROOT)}
    there = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(DOUBLES)])}
    folder, said = run_with_a_client(config, tmp_path, variables=there, driver=without)
    assert " is lost" not in said
    taken, counters = check_once(folder)
    assert counters["updates"] > 5
    assert np.abs(taken["voxel_value"]).sum() > 0
    assert len(evaluations(folder)) == 1

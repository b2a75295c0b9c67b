"""Simulators that crash, hang, exit or lie: they are replaced, counted, and nobody else notices."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from core.errors import SimulatorError
from simulators.pool import SimulatorPool

FAULTS = {
    "crash": ({"fail_at_step": 3}, "slot 1: crash while stepping, exit code 1: .*failed on purpose at step 3"),
    "exit": ({"exit_at_step": 3}, "slot 1: crash while stepping, exit code 3"),
    "hang": ({"hang_at_step": 3}, r"slot 1: hang, stepping for more than 0.7 s \(step_timeout_s\)"),
    "nan observation": ({"nan_at_step": 3}, "slot 1: crash .*variation 100: observation, field obs, is not finite"),
    "nan reward": ({"nan_at_step": 3, "nan_in": "reward"}, "slot 1: crash .*variation 100: reward is not finite"),
    "both ends": ({"both_ends_at_step": 3}, "slot 1: crash .*terminated and truncated are both true"),
}


def _zeros(n):
    return np.zeros((n, 2), np.float32)


def _children():
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_replaced_counted_and_contained(fault):
    """Slots 0, 1 are worker 0's, slots 2, 3 worker 1's; only variation 100, in slot 1, is at fault."""
    options, says = FAULTS[fault]
    with SimulatorPool(
        "dummy:counter", [1, 2, 3, 4], {**options, "fail_variation": 100, "horizon": 5}, workers=2, step_timeout_s=0.7
    ) as pool:
        before = _children()
        pool.reset([10, 100, 20, 30])
        for _ in range(2):
            assert not pool.step(_zeros(4)).lost.any()
        got = pool.step(_zeros(4))
        assert got.lost.tolist() == [True, True, False, False]
        assert pool.variations.tolist() == [11, 101, 20, 30]
        assert got.obs["obs"][:, 1:3].tolist() == [[11, 0], [101, 0], [20, 3], [30, 3]]
        assert got.reward.tolist() == [0, 0, 3, 3]
        assert not (got.terminated | got.truncated).any()
        assert pool.failures == 1
        assert len(_children() & before) == 1
        assert len(_children()) == 2
        assert pool.last_failure.startswith("dummy:counter worker 0 ")
        assert re.search(says, pool.last_failure), pool.last_failure
        for t in range(1, 4):
            got = pool.step(_zeros(4))
            assert not got.lost.any()
            assert got.closing["obs"][:, 2].tolist() == [t, t, *([t + 3] * 2 if t < 3 else [1, 1])]
    assert not _children()


def test_a_hang_in_the_automatic_reset():
    options = {"hang_in_reset": True, "fail_variation": 8, "horizon": 2}
    with SimulatorPool("dummy:counter", [1], options, reset_timeout_s=0.5) as pool:
        pool.reset([7])
        pool.step(_zeros(1))
        got = pool.step(_zeros(1))
        assert got.lost.tolist() == [True]
        assert pool.variations.tolist() == [9]
        assert "hang, resetting for more than 0.5 s (reset_timeout_s)" in pool.last_failure


def test_a_hang_in_reset_moves_on():
    with SimulatorPool("dummy:counter", [1, 2], {"hang_in_reset": True, "fail_variation": 3}, reset_timeout_s=0.5) as pool:
        pool.reset([3, 5])
        assert pool.variations.tolist() == [4, 6]
        assert pool.obs["obs"][:, 1].tolist() == [4, 6]


def test_the_deadline_is_per_simulator_not_per_worker():
    """Four slow simulators in one worker take longer together than the deadline of one."""
    with SimulatorPool("dummy:counter", range(4), {"slow_ms": 200.0}, step_timeout_s=0.6) as pool:
        pool.reset([0] * 4)
        assert not pool.step(_zeros(4)).lost.any()
        assert pool.failures == 0


def test_a_worker_that_is_killed_between_two_steps():
    with SimulatorPool("dummy:counter", [1, 2], workers=2) as pool:
        pool.reset([0, 0])
        pool.step(_zeros(2))
        os.kill(sorted(_children())[0], signal.SIGKILL)
        got = pool.step(_zeros(2))
        assert sorted(got.lost.tolist()) == [False, True]
        assert "killed by SIGKILL" in pool.last_failure


def test_a_stopped_worker_is_a_hang():
    with SimulatorPool("dummy:counter", [1], step_timeout_s=0.5) as pool:
        pool.reset([0])
        os.kill(_children().pop(), signal.SIGSTOP)
        assert pool.step(_zeros(1)).lost.all()
        assert not pool.step(_zeros(1)).lost.any()


def test_replay_survives_a_killed_worker():
    with SimulatorPool("dummy:counter", [1]) as pool:
        pool.reset([0])
        os.kill(_children().pop(), signal.SIGKILL)
        pool.replay([5], [np.ones((4, 2), np.float32)])
        assert pool.failures == 1
        assert pool.obs["obs"][0, 1:3].tolist() == [5, 4]


@pytest.mark.parametrize("options", [{"fail_at_step": 1}, {"hang_in_reset": True}])
def test_too_many_failures_end_the_pool(options, tmp_path):
    pool = SimulatorPool("dummy:point", [1, 2], options, workers=2, max_failures=2, reset_timeout_s=0.4, log_dir=tmp_path)
    with pytest.raises(SimulatorError, match=r"failed 2 times in a row \(max_failures\)") as error:
        pool.reset([0, 0])
        for _ in range(3):
            pool.step(_zeros(2))
    assert not error.value.retryable
    assert "dummy:point worker" in str(error.value)
    if "fail_at_step" in options:
        assert "Traceback" in str(error.value)
        assert "failed on purpose" in (tmp_path / "simulators-0.log").read_text()
    assert not _children()


def test_failures_with_steps_in_between_do_not_add_up():
    """Only failures in a row end a pool: a task that crashes now and then is worth going on with."""
    with SimulatorPool("dummy:counter", [1], {"fail_at_step": 2}, max_failures=2) as pool:
        pool.reset([0])
        lost = [bool(pool.step(_zeros(1)).lost[0]) for _ in range(8)]
        assert lost == [False, True] * 4
        assert pool.failures == 4


@pytest.mark.parametrize("hanging", [False, True])
def test_workers_die_with_a_killed_parent(hanging):
    script = (
        "import sys, time, numpy, psutil\n"
        "from simulators.pool import SimulatorPool\n"
        f"pool = SimulatorPool('dummy:point', range(4), {{'hang_at_step': {int(hanging)}}}, workers=2)\n"
        "pool.reset([0] * 4)\n"
        "pool.send(numpy.zeros((4, 2), numpy.float32))\n"
        "print(*[child.pid for child in psutil.Process().children()], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while any(_alive(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(worker) for worker in workers)


def _alive(process):
    # A zombie is dead: only its new parent has not noticed yet.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

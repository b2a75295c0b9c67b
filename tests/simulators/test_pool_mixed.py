"""A pool of several tasks, stepped in lockstep or freely, its workers pinned or not."""

import os
import time

import numpy as np
import psutil
import pytest

import simulators
from core.errors import ConfigError, SimulatorError
from simulators.pool import SimulatorPool
from simulators.process import cores


def _actions(steps, n, dim=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n, dim)).astype(np.float32)


@pytest.mark.metaworld
@pytest.mark.parametrize("workers", [1, 2])
def test_every_slot_is_its_own_task_with_its_own_options(workers):
    names = ["metaworld:reach-v3", "metaworld:push-v3", "metaworld:reach-v3", "metaworld:push-v3", "metaworld:push-v3"]
    options = [{"horizon": horizon} for horizon in (7, 7, 9, 9, 12)]
    direct = [simulators.make(name, seed, **one) for seed, (name, one) in enumerate(zip(names, options, strict=True))]
    with SimulatorPool(names, range(5), options, workers=workers) as pool:
        assert pool.specs == [simulator.spec for simulator in direct]
        pool.reset([3] * 5)
        variations = [3] * 5
        for simulator in direct:
            simulator.reset(3)
        for actions in _actions(20, 5, 4):
            got = pool.step(actions)
            for slot, simulator in enumerate(direct):
                step = simulator.step(actions[slot])
                np.testing.assert_array_equal(got.closing["obs"][slot], step.obs["obs"])
                assert (got.reward[slot], got.truncated[slot]) == (np.float32(step.reward), step.truncated)
                if step.truncated:
                    variations[slot] += 1
                    np.testing.assert_array_equal(got.obs["obs"][slot], simulator.reset(variations[slot])["obs"])
            assert pool.variations.tolist() == variations


def test_tasks_that_look_different_cannot_share_a_pool():
    with pytest.raises(ConfigError, match="dummy:point and dummy:counter differ in observation or action"):
        SimulatorPool(["dummy:point", "dummy:counter"], [0, 0])


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["dummy:point"], {}, "1 names and 2 options for 2 seeds"),
        (["dummy:point"] * 2, [{}], "2 names and 1 options for 2 seeds"),
        (["dummy:point", "dummy:pint"], {}, "pint"),
        (["dummy:point"] * 2, [{}, {"horizn": 3}], "horizn"),
    ],
)
def test_impossible_pools_are_refused(names, options, said):
    with pytest.raises(ConfigError, match=said):
        SimulatorPool(names, [0, 1], options)


def test_fast_workers_do_not_wait_for_a_slow_one():
    options = [{"slow_ms": 300.0}, {}, {}]
    with SimulatorPool("dummy:point", range(3), options, workers=3) as pool:
        pool.reset([0] * 3)
        pool.send(np.zeros((3, 2), np.float32))
        steps = np.zeros(3, int)
        began = time.monotonic()
        while not steps[0]:
            done, _ = pool.recv_any()
            steps[done] += 1
            pool.send(np.zeros((3, 2), np.float32), workers=[w for w in done if w])
        assert time.monotonic() - began >= 0.3
        assert min(steps[1:]) > 5
        pool.recv()
        with pytest.raises(SimulatorError, match=r"recv_any\(\) without send"):
            pool.recv_any()


def test_free_steps_are_those_of_lockstep():
    """Each simulator sees its own actions in its own order, however the workers are served."""
    actions = _actions(30, 4)
    with SimulatorPool("dummy:counter", range(4), {"horizon": 7}, workers=2) as pool:
        pool.reset([0] * 4)
        wanted = [(pool.step(a).closing["obs"].copy(), pool.variations.copy()) for a in actions]
    with SimulatorPool("dummy:counter", range(4), {"horizon": 7}, workers=2) as pool:
        pool.reset([0] * 4)
        t = [0, 0]
        pool.send(actions[0])
        while min(t) < len(actions):
            for w in (got := pool.recv_any())[0]:
                share = pool.shares[w]
                np.testing.assert_array_equal(got[1].closing["obs"][share], wanted[t[w]][0][share])
                np.testing.assert_array_equal(pool.variations[share], wanted[t[w]][1][share])
                t[w] += 1
                if t[w] < len(actions):
                    pool.send(actions[t[w]], workers=[w])


def test_hundreds_of_simulators_in_one_worker():
    """Its order is longer than an argument of a command may be, its specs come in many pieces."""
    names = ["dummy:point", "dummy:counter"] * 600
    with SimulatorPool(names, range(1200), {"action_dim": 4}) as pool:
        assert [spec.task for spec in pool.specs] == names
        pool.reset([0] * 1200)
        assert not pool.step(np.zeros((1200, 4), np.float32)).lost.any()


def test_what_was_lost_before_is_not_lost_again():
    """One worker's loss, told by recv_any, is over when the other's step is received."""
    with SimulatorPool("dummy:point", range(2), workers=2) as pool:
        pool.reset([0, 0])
        zeros = np.zeros((2, 2), np.float32)
        psutil.Process(pool._crew.processes[0]._child.pid).kill()
        pool.send(zeros, workers=[0])
        done, step = pool.recv_any()
        assert (done, step.lost[0]) == ([0], True)
        pool.send(zeros, workers=[1])
        assert not pool.recv().lost.any()


def test_failures_while_others_go_on_end_the_pool_too():
    options = [{"fail_at_step": 1}, {}]
    with SimulatorPool("dummy:point", range(2), options, workers=2, max_failures=2) as pool:
        pool.reset([0, 0])
        zeros, until = np.zeros((2, 2), np.float32), time.monotonic() + 60
        with pytest.raises(SimulatorError, match="max_failures"):
            while time.monotonic() < until:
                pool.send(zeros, workers=[w for w in (0, 1) if w not in pool._stepping])
                pool.recv_any()


def test_a_worker_that_is_being_replaced_holds_up_nobody():
    """Its second start even has to wait; the other goes on stepping, and is told of the loss only once there is a simulator again."""
    options = [{"fail_at_step": 1}, {}]
    with SimulatorPool("dummy:counter", range(2), options, workers=2) as pool:
        pool.reset([0, 0])
        zeros = np.zeros((2, 2), np.float32)
        pool.send(zeros)
        meanwhile, lost = [0], 0
        while lost < 2:
            done, step = pool.recv_any()
            if 0 in done:
                assert step.lost[0]
                lost += 1
                meanwhile.append(0)
            meanwhile[-1] += 1 in done
            pool.send(zeros, workers=done)
        assert pool.failures == 2
        assert min(meanwhile[:2]) > 20


@pytest.mark.parametrize("workers", [[0, 0], [2], [-1]])
def test_workers_are_named_once_and_exist(workers):
    with SimulatorPool("dummy:point", range(2), workers=2) as pool:
        pool.reset([0, 0])
        with pytest.raises(SimulatorError, match="Allowed: some of 0 to 1"):
            pool.send(np.zeros((2, 2), np.float32), workers=workers)


def test_a_worker_that_is_busy_cannot_be_sent_to_again():
    with SimulatorPool("dummy:point", range(2), {"slow_ms": 50.0}, workers=2) as pool:
        pool.reset([0, 0])
        pool.send(np.zeros((2, 2), np.float32), workers=[1])
        with pytest.raises(SimulatorError, match="twice"):
            pool.send(np.zeros((2, 2), np.float32))
        pool.send(np.zeros((2, 2), np.float32), workers=[0])
        assert not pool.recv().lost.any()


def test_a_hang_is_found_while_others_go_on():
    options = [{"hang_at_step": 2}, {}]
    with SimulatorPool("dummy:point", range(2), options, workers=2, step_timeout_s=0.4, max_failures=3) as pool:
        pool.reset([0, 0])
        pool.send(np.zeros((2, 2), np.float32))
        until = time.monotonic() + 30
        while not pool.failures and time.monotonic() < until:
            done, step = pool.recv_any()
            if 0 in done and step.lost[0]:
                break
            pool.send(np.zeros((2, 2), np.float32), workers=done)
        assert pool.failures == 1
        assert "slot 0: hang" in pool.last_failure


def test_pinned_workers_stay_on_their_cores():
    mine = sorted(os.sched_getaffinity(0))
    with SimulatorPool("dummy:point", range(2), workers=2, cores=cores(1, 2)) as pool:
        pool.reset([0, 0])
        children = [psutil.Process(process._child.pid) for process in pool._crew.processes]
        assert [child.cpu_affinity() for child in children] == [[mine[2 % len(mine)]], [mine[3 % len(mine)]]]


def test_ranks_share_the_cores_evenly():
    mine = sorted(os.sched_getaffinity(0))
    taken = [core for rank in range(len(mine)) for core in cores(rank, 3)]
    assert sorted(taken) == sorted(mine * 3)

"""A pool over a long time: pauses between starts, episodes that are played no more, processes replaced before they grow too large."""

import numpy as np
import psutil
import pytest

from core.errors import ConfigError, SimulatorError
from simulators import ledger
from simulators.ledger import Ledger, Limits, pause
from simulators.pool import SimulatorPool


def zeros(n):
    return np.zeros((n, 2), np.float32)


def pids(pool):
    return [process.pid for process in pool._crew.processes]


# ---- back-off ----------------------------------------------------------------------------------------------------------


def test_pauses_double_up_to_a_limit():
    assert [pause(n) for n in range(1, 10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pause(10_000) == 30


@pytest.fixture
def pauses(monkeypatch):
    """Those that were made, and none that takes time."""
    made = []

    def noted(failures):
        made.append(pause(failures))
        return made[-1] / 100

    monkeypatch.setattr(ledger, "pause", noted)
    return made


def test_a_completed_episode_makes_the_next_start_immediate_again(pauses):
    """Variations 0, 1, 2 fail, 3 does not: the one after it is a first failure again."""
    options = {"kinds": 4, "fail_at_step": 2, "horizon": 3}
    with SimulatorPool("dummy:counter", [0], {**options, "fail_kind": 0}, quarantine_after=0) as pool:
        pool.reset([0])
        while pool.failures < 2:
            pool.step(zeros(1))
        assert pauses == [0, 0]  # three episodes were completed in between
    pauses.clear()
    with SimulatorPool("dummy:counter", [0], options, quarantine_after=0) as pool:
        pool.reset([0])
        while pool.failures < 4:
            pool.step(zeros(1))
        assert pauses == [0, 0.5, 1, 2]


def test_launches_that_fail_are_paused_between_too(pauses, monkeypatch):
    from simulators import dummy

    monkeypatch.setattr(dummy, "environment", lambda: {"PYTHONHOME": "/nowhere"}, raising=False)
    with pytest.raises(SimulatorError, match=r"crash while launching.*failed 4 times in a row \(max_failures\)"):
        SimulatorPool("dummy:point", [0], max_failures=4)
    assert pauses == [0, 0.5, 1]


def test_closing_does_not_wait_for_a_pause(monkeypatch):
    monkeypatch.setattr(ledger, "pause", lambda _: 3600.0)
    options = [{"fail_at_step": 1}, {}]
    pool = SimulatorPool("dummy:point", range(2), options, workers=2)
    pool.reset([0, 0])
    pool.send(zeros(2))
    for _ in range(3):
        done, _ = pool.recv_any()
        assert done == [1]  # nor do the others
        pool.send(zeros(2), workers=done)
    pool.close()
    assert pids(pool) == [0, 0]


# ---- deadlines ---------------------------------------------------------------------------------------------------------


def test_the_deadline_of_a_launch_is_per_simulator(monkeypatch, tmp_path):
    """Each takes most of it to be made; together they take longer."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if 'simulators.worker' in ' '.join(sys.orig_argv):\n"
        "    import simulators.dummy as dummy\n"
        "    made = dummy.Point.__init__\n"
        "    def slow(self, *args):\n"
        "        time.sleep(float(os.environ['SLOW_S']))\n"
        "        made(self, *args)\n"
        "    dummy.Point.__init__ = slow\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SLOW_S", "1.5")
    with SimulatorPool("dummy:point", range(4), launch_timeout_s=4.0, max_failures=1) as pool:
        assert pool.failures == 0
    monkeypatch.setenv("SLOW_S", "60")
    with pytest.raises(SimulatorError, match=r"hang, launching for more than 2 s \(launch_timeout_s\)"):
        SimulatorPool("dummy:point", range(2), launch_timeout_s=2.0, max_failures=1)


# ---- quarantine --------------------------------------------------------------------------------------------------------

KINDS = {"kinds": 3, "fail_kind": 1, "horizon": 2}


@pytest.mark.parametrize("fault", [{"fail_at_step": 1}, {"hang_in_reset": True}])
def test_a_kind_that_keeps_failing_is_passed_over(fault, pauses, tmp_path):
    """Variations 1, 4 and 7 fail; from then on 10, 13, ... are not even begun, by any worker."""
    with SimulatorPool("dummy:counter", [5, 6], {**KINDS, **fault}, workers=2, reset_timeout_s=0.4, log_dir=tmp_path) as pool:
        pool.reset([0, 0])
        begun = [set(), set()]
        for _ in range(40):
            for slot, variation in enumerate(pool.variations):
                begun[slot].add(int(variation))
            assert pool.step(zeros(2)).obs["obs"][:, 1].tolist() == pool.variations.tolist()
        for slot in range(2):
            late = sorted(v for v in begun[slot] if v > 12)
            assert late
            assert all(v % 3 != 1 for v in late)
            assert late == [v for v in range(late[0], late[-1] + 1) if v % 3 != 1]  # and no other is left out
        assert 3 <= pool.failures <= 4  # two workers may be at it at once
        done = pool.upkeep()
        assert len(done.quarantined) == 1
        assert done.quarantined[0].startswith(
            "quarantine: kind 1 of dummy:counter failed 3 times in a row and is played no more; the last: "
        )
        assert pool.upkeep() == (0, ())
        pool.reset([1, 2])
        assert pool.variations.tolist() == [2, 2]
    assert (tmp_path / "pool.log").read_text().count("quarantine: kind 1 of dummy:counter") == 1
    assert len((tmp_path / "pool.log").read_text().splitlines()) == pool.failures + 1


def test_only_failures_in_a_row_count_against_a_kind(pauses):
    """Variations 1 and 4 of kind 1 fail, 7 does not, 10 and 13 do: never three in a row."""
    book = Ledger(["dummy:counter"], [KINDS], 1, Limits(5, 3))
    for variation in (1, 4):
        book.failed(0, "crash", 0, variation)
    book.ended(0, 0, 7)
    for variation in (10, 13):
        book.failed(0, "crash", 0, variation)
    book.ended(0, 0, 2)  # another kind's does not help
    assert not book.quarantined
    assert book.allowed(0, 16) == 16
    book.failed(0, "crash", 0, 16)
    assert book.allowed(0, 19) == 20


def test_a_failure_that_no_episode_is_to_blame_for_counts_against_none():
    book = Ledger(["dummy:counter"], [KINDS], 1, Limits(50, 3))
    for _ in range(20):
        book.failed(0, "died at launch")
    assert not book.quarantined


def test_without_kinds_nothing_is_quarantined():
    book = Ledger(["dummy:counter"], [{}], 1, Limits(50, 3))
    for variation in range(20):
        book.failed(0, "crash", 0, variation)
    assert not book.quarantined


def test_zero_means_that_every_episode_is_tried(pauses):
    with SimulatorPool("dummy:counter", [0], {**KINDS, "fail_at_step": 1}, quarantine_after=0) as pool:
        pool.reset([0])
        while pool.failures < 5:
            pool.step(zeros(1))
        assert int(pool.variations[0]) == 14


@pytest.mark.parametrize(
    ("kinds", "says"), [(1, "kind 0 of dummy:counter is all there is, and it is"), (2, "all 2 kinds of its episodes are")]
)
def test_a_task_without_any_kind_left_ends_clearly(kinds, says, pauses):
    options = {"kinds": kinds, "fail_at_step": 2}
    pool = SimulatorPool("dummy:counter", [0], options)
    pool.reset([0])
    with pytest.raises(SimulatorError) as error:
        for _ in range(100):
            pool.step(zeros(1))
    told = str(error.value)
    assert not error.value.retryable
    assert f"dummy:counter: {says} quarantined; each failed 3 times without a completed episode (quarantine_after)" in told
    assert "failed on purpose at step 2" in told
    assert not psutil.Process().children()


def test_kinds_are_not_a_way_around_a_broken_machine(pauses):
    """A hundred kinds that all fail: it is not tried three hundred times."""
    pool = SimulatorPool("dummy:counter", [0], {"kinds": 100, "fail_at_step": 1}, max_failures=2)
    pool.reset([0])
    with pytest.raises(SimulatorError, match=r"failed 8 times in a row \(max_failures\)"):
        for _ in range(100):
            pool.step(zeros(1))


# ---- planned restarts --------------------------------------------------------------------------------------------------


def _told(pool, steps):
    """What ``steps`` steps bring, and how often each worker was another process."""
    seen, changes, before = [], [0] * len(pool.shares), pids(pool)
    for t in range(steps):
        got = pool.step(np.full((pool.size, 2), t / steps, np.float32))
        seen.append([np.copy(a) for a in (got.obs["obs"], got.closing["obs"], *got[2:])])
        now = pids(pool)
        changes = [count + (a != b) for count, a, b in zip(changes, before, now, strict=True)]
        before = now
    return seen, changes


def test_a_planned_restart_loses_nothing():
    """Step for step what it would be without; a process per simulator, since episodes of others are not at their end."""
    options = [{"horizon": 3}, {"horizon": 4}]
    with SimulatorPool("dummy:counter", [7, 8], options) as pool:
        pool.reset([0, 10])
        wanted, _ = _told(pool, 24)
    with SimulatorPool("dummy:counter", [7, 8], [{**one, "restart_episodes": 2} for one in options]) as pool:
        pool.reset([0, 10])
        seen, changes = _told(pool, 24)
        assert changes == [4, 3]
        assert (pool.failures, pool.upkeep()) == (0, (7, ()))
    for got, want in zip(seen, wanted, strict=True):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_that_has_grown_is_replaced_at_an_episodes_end(tmp_path):
    options = {"horizon": 2, "leak_mb": 40, "restart_mb": 150.0}
    with SimulatorPool("dummy:counter", [0], options, log_dir=tmp_path) as pool:
        pool.reset([0])
        _, (changes,) = _told(pool, 20)
        assert 2 <= changes <= 9
        assert pool.upkeep().planned == changes
        assert pool._crew.processes[0].mb() < 250
        assert pool.variations.tolist() == [10]
    assert (tmp_path / "pool.log").read_text().count("MB (restart_mb)") == changes


def test_one_that_does_not_grow_is_left_alone():
    with SimulatorPool("dummy:counter", [0], {"horizon": 2, "restart_mb": 4000.0}) as pool:
        pool.reset([0])
        assert _told(pool, 20)[1] == [0]


def test_others_go_on_while_one_is_replaced_as_planned():
    options = [{"horizon": 1, "restart_episodes": 1}, {}]
    with SimulatorPool("dummy:counter", range(2), options, workers=2) as pool:
        pool.reset([0, 0])
        pool.send(zeros(2))
        others = 0
        while True:
            done, step = pool.recv_any()
            if 0 in done:
                break
            others += 1
            pool.send(zeros(2), workers=done)
        assert others > 20
        assert not step.lost[0]
        assert step.terminated[0] | step.truncated[0]
        assert step.closing["obs"][0, 1:3].tolist() == [0, 1]
        assert step.obs["obs"][0, 1:3].tolist() == [1, 0]


def test_a_planned_restart_that_fails_keeps_the_episode_that_ended(monkeypatch):
    """Its process does not come up at the first try: a failure, but nothing that was played is lost by it."""
    with SimulatorPool("dummy:counter", [0], {"horizon": 2, "restart_episodes": 1}) as pool:
        (process,) = pool._crew.processes
        good = process.around

        def repaired(_):
            process.around = good
            return 0.0

        monkeypatch.setattr(ledger, "pause", repaired)
        pool.reset([0])
        pool.step(zeros(1))
        process.around = good._replace(env={"PYTHONHOME": "/nowhere"})
        got = pool.step(zeros(1))
        assert pool.failures == 1
        assert (got.lost.tolist(), got.terminated.tolist(), got.truncated.tolist()) == ([False], [False], [True])
        assert (got.reward.tolist(), got.closing["obs"][0, 1:3].tolist()) == ([2.0], [0, 2])
        assert got.obs["obs"][0, 1:3].tolist() == [2, 0]
        assert not pool.step(zeros(1)).lost.any()


@pytest.mark.parametrize(("option", "value"), [("restart_episodes", -1), ("restart_mb", -0.5), ("kinds", -2)])
def test_impossible_limits(option, value):
    with pytest.raises(ConfigError, match=option):
        SimulatorPool("dummy:point", [0], {option: value})

"""What a simulator's module asks for its processes: surroundings, a process each, an end of all that they started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.errors import SimulatorError
from simulators import dummy, hooks
from simulators.pool import SimulatorPool
from simulators.process import FOLDER


def alive(pids):
    """Which of them are; a zombie is dead, only nobody has asked."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def gone(pids):
    """Whether all of them end within a while."""
    until = time.monotonic() + 20
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pids)


def worker(pool, w=0):
    return psutil.Process(pool._crew.processes[w].pid)


def sleepers(process):
    """What a dummy started."""
    return [child.pid for child in process.children(recursive=True) if child.name() == "sleep"]


@pytest.fixture
def guarded(monkeypatch):
    monkeypatch.setattr(dummy, "ONE_PER_PROCESS", True, raising=False)


def zeros(n):
    return np.zeros((n, 2), np.float32)


@pytest.mark.usefixtures("guarded")
def test_one_that_takes_a_process_to_itself_gets_it_whatever_is_asked():
    with SimulatorPool("dummy:point", range(3), workers=1) as pool:
        assert len({process.pid for process in pool._crew.processes}) == 3
        assert [share.stop - share.start for share in pool.shares] == [1, 1, 1]
        pool.reset([0] * 3)
        assert not pool.step(zeros(3)).lost.any()


def test_the_environment_is_the_childs_alone(monkeypatch):
    monkeypatch.setattr(dummy, "environment", lambda: {"LD_LIBRARY_PATH": "/of/this/simulator", "MINE": "1"}, raising=False)
    with SimulatorPool("dummy:point", [0]) as pool:
        environ = worker(pool).environ()
    assert (environ["LD_LIBRARY_PATH"], environ["MINE"]) == ("/of/this/simulator", "1")
    assert "MINE" not in os.environ


def test_a_folder_of_its_own_goes_with_the_process(monkeypatch):
    monkeypatch.setattr(dummy, "OWN_FOLDER", True, raising=False)
    with SimulatorPool("dummy:point", range(2), {"fail_at_step": 2}, workers=2) as pool:
        first = [Path(worker(pool, w).cwd()) for w in range(2)]
        assert len(set(first)) == 2
        for folder in first:
            assert folder.name.startswith(FOLDER)
            (folder / "left behind").write_text("x")
        pool.reset([0, 0])
        pool.step(zeros(2))
        assert pool.step(zeros(2)).lost.all()
        second = [Path(worker(pool, w).cwd()) for w in range(2)]
        assert not any(folder.exists() for folder in first)
        assert all(folder.is_dir() and not list(folder.iterdir()) for folder in second)
    assert not any(folder.exists() for folder in second)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("how", ["hang", "kill", "close", "crash"])
def test_what_a_worker_started_dies_with_it(how):
    options = {"starts_child": True, "hang_at_step": int(how == "hang"), "fail_at_step": int(how == "crash"), "fail_variation": 0}
    with SimulatorPool("dummy:point", [0], options, step_timeout_s=0.5) as pool:
        pool.reset([0])
        family = [worker(pool).pid, *(child.pid for child in worker(pool).children(recursive=True))]
        assert len(family) == 3  # with its guard
        assert len(sleepers(worker(pool))) == 1
        if how == "kill":
            os.kill(family[0], signal.SIGKILL)
        if how != "close":
            assert pool.step(zeros(1)).lost.all()
            assert gone(family)
            family = sleepers(worker(pool))
            assert len(family) == 1
    assert gone(family)


@pytest.mark.parametrize("hanging", [False, True])
def test_what_a_worker_started_dies_with_a_killed_parent_and_its_folder_too(hanging):
    script = (
        "import time, numpy, psutil\n"
        "from simulators import dummy\n"
        "from simulators.pool import SimulatorPool\n"
        "dummy.OWN_FOLDER = True\n"
        f"pool = SimulatorPool('dummy:point', [0], {{'hang_at_step': {int(hanging)}, 'starts_child': True}})\n"
        "pool.reset([0])\n"
        "pool.send(numpy.zeros((1, 2), numpy.float32))\n"
        "print(psutil.Process(pool._crew.processes[0].pid).cwd())\n"
        "print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    folder, pids = Path(parent.stdout.readline().strip()), [int(pid) for pid in parent.stdout.readline().split()]
    assert folder.is_dir()
    assert len(pids) == 3
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pids)
    assert not folder.exists()


@pytest.mark.usefixtures("guarded")
def test_a_worker_that_dies_while_nobody_looks_leaves_nothing():
    """Its parent does not wait for it at the moment: the guard alone clears up."""
    with SimulatorPool("dummy:point", [0], {"starts_child": True}) as pool:
        pool.reset([0])
        started = sleepers(worker(pool))
        os.kill(worker(pool).pid, signal.SIGKILL)
        assert gone(started)


@pytest.mark.usefixtures("guarded")
def test_a_guard_is_not_weighed():
    with SimulatorPool("dummy:point", [0], {"starts_child": True}) as pool:
        process = worker(pool)
        alone = process.memory_info().rss + psutil.Process(sleepers(process)[0]).memory_info().rss
        assert pool._crew.processes[0].mb() == pytest.approx(alone / 2**20, rel=0.1)


def test_the_last_words_of_one_that_fails_are_its_failure(tmp_path):
    """CoppeliaSim prints, crashes or hangs while Python ends."""
    (tmp_path / "noisy.py").write_text("import atexit\natexit.register(print, 'noise', flush=True)\nraise ValueError('why')\n")
    command = [sys.executable, "-m", "simulators.guard", "", "noisy"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), str(tmp_path)])}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True)
    assert done.returncode == 1 and done.stdout.strip().splitlines()[-1] == "ValueError: why" and "noise" not in done.stdout


def test_a_module_that_knows_its_spec_is_believed(monkeypatch):
    from manyhands import build
    from tests.system.tiny import tiny

    config = tiny(tasks=("dummy:point", "dummy:counter"), simulator={"horizon": 5, "action_dim": 4})
    asked = build.task_spec(config)

    def no_process(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(dummy, "spec", lambda task, options: dummy.make(task, 0, **vars(options)).spec, raising=False)
    monkeypatch.setattr(build, "SimulatorPool", no_process)
    assert build.task_spec(config) == asked
    assert hooks.spec("dummy:point@3", {}) is None


def test_a_pool_that_cannot_be_is_told_before_anything_starts(monkeypatch):
    def missing():
        raise SimulatorError("no root folder", retryable=False)

    monkeypatch.setattr(dummy, "environment", missing, raising=False)
    before = set(psutil.Process().children())
    with pytest.raises(SimulatorError, match="no root folder"):
        SimulatorPool("dummy:point", [0])
    assert set(psutil.Process().children()) <= before

"""The private display with the real Xvfb, where it is installed: seen by who may, alone, and gone with its owner, however that goes."""

import ctypes.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from manyhands.demos.collect import Plan, collect
from outpost import display
from simulators.pool import SimulatorPool
from simulators.process import FOLDER
from tests.rlbench_place import double_env

pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
ROOT = Path(__file__).resolve().parents[2]
SOCKETS = Path("/tmp/.X11-unix")
LOOK = """
import ctypes, ctypes.util, sys, time
x, number = ctypes.CDLL(ctypes.util.find_library("X11")), ctypes.c_int()
x.XOpenDisplay.restype = ctypes.c_void_p
shown = x.XOpenDisplay(None)
if not shown:
    sys.exit(3)
print(x.XQueryExtension(ctypes.c_void_p(shown), b"GLX", *[ctypes.byref(number)] * 3), flush=True)
while "stay" in sys.argv:
    x.XSync(ctypes.c_void_p(shown), 0)
    time.sleep(0.05)
"""
OWN = """
import time
from outpost import display
shown = display.Display()
print(shown.name, shown.process.pid, flush=True)
time.sleep(3600)
"""
POOL = """
import sys, time
from simulators.pool import SimulatorPool
pool = SimulatorPool("rlbench:reach_target", [0, 1], {"size": 8})
pool.reset([0, 0])
print(*[process.pid for process in pool._crew.processes], flush=True)
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def _no_display(monkeypatch, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("XAUTHORITY", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def in_double(monkeypatch, tmp_path):
    """Processes started from here find the double, and no display."""
    for name, value in double_env(tmp_path / "place", display=None).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "doubles"))


def wait_for(condition, what):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited a minute for {what}")


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def servers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children(recursive=True) if child.name() == "Xvfb"]


def socket_of(name: str) -> Path:
    return SOCKETS / f"X{name[1:]}"


def lock_of(name: str) -> Path:
    return Path(f"/tmp/.X{name[1:]}-lock")


@pytest.mark.skipif(ctypes.util.find_library("X11") is None, reason="no libX11 to look with")
def test_who_has_its_cookie_may_look_and_finds_glx():
    shown = display.Display()
    try:
        mine = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True)
        assert (mine.returncode, mine.stdout) == (0, "1\n"), mine
        other = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, env={**os.environ, "XAUTHORITY": os.devnull})
        assert other.returncode == 3
    finally:
        shown.close()
    assert not socket_of(shown.name).exists() and not lock_of(shown.name).exists()


@pytest.mark.skipif(ctypes.util.find_library("X11") is None, reason="no libX11 to look with")
def test_where_the_server_dies_who_looks_is_lost_and_the_next_one_starts():
    shown = display.Display()
    client = subprocess.Popen([sys.executable, "-c", LOOK, "stay"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert client.stdout is not None and client.stdout.readline() == b"1\n"
    os.kill(shown.process.pid, signal.SIGKILL)
    assert client.wait(60) != 0, "as Qt does, Xlib ends the process"
    client.stdout.close()
    shown.close()
    again = display.Display()
    assert socket_of(again.name).exists()
    again.close()


def test_it_is_gone_after_its_owner_was_killed():
    owner = subprocess.Popen([sys.executable, "-c", OWN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name, pid = owner.stdout.readline().split()
    server = psutil.Process(int(pid))
    assert socket_of(name).exists()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_for(lambda: gone(server) and not socket_of(name).exists(), "Xvfb to end")
    assert not lock_of(name).exists()


def test_each_simulator_of_a_pool_has_its_own_and_a_killed_one_gets_another(in_double, tmp_path):
    with SimulatorPool("rlbench:reach_target", [0, 1], {"size": 8}) as pool:
        pool.reset([0, 0])
        workers = [process.pid for process in pool._crew.processes]
        first = [server for worker in workers for server in servers(worker)]
        assert len(first) == 2
        names = {psutil.Process(worker).environ().get("TMPDIR") for worker in workers}
        assert len(names) == 2 and all(Path(str(name)).name.startswith(FOLDER) for name in names)
        os.kill(workers[0], signal.SIGKILL)
        pool.step(np.zeros((2, 8), np.float32))
        assert pool.failures == 1 and gone(first[0]) and not gone(first[1])
        (second,) = servers(pool._crew.processes[0].pid)
    wait_for(lambda: gone(first[1]) and gone(second), "displays to end")
    assert not list(tmp_path.glob("manyhands-*")), "neither folders nor cookies are left"


def test_nothing_is_left_of_a_pool_whose_process_was_killed(in_double, tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", POOL], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    everyone = [one for worker in workers for one in (worker, *worker.children(recursive=True))]
    assert sum(one.name() == "Xvfb" for one in everyone) == 2
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_for(lambda: all(gone(one) for one in everyone) and not list(tmp_path.glob("manyhands-*")), "all of it to end")


def test_demonstrations_are_collected_on_displays_of_their_own(in_double, tmp_path):
    state = collect(Plan(("rlbench:reach_target",), 3, tmp_path / "demos", {"size": 8}, processes=2))
    assert (state.done, state.retries) == (3, 0)
    wait_for(lambda: not list(tmp_path.glob("manyhands-*")), "folders to go")

"""Room and leaks: impossible sizes are refused with numbers, files of dead runs are swept, those of live ones never."""

import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from core.errors import ConfigError
from replay import memory
from replay.memory import check_fits, required_bytes, sweep
from replay.ring import Ring
from tests.replay.build import DTYPE

HOLD = """
import sys, time
from replay.ring import Ring
from tests.replay.build import DTYPE
ring = Ring.create("dead", DTYPE, tasks=1, capacity=64, writers=1, window=2, directory=sys.argv[1])
print("up", flush=True)
time.sleep(60)
"""


def test_required_bytes_is_the_size_of_the_file(make_ring):
    ring = make_ring(tasks=3, capacity=100, writers=4, window=5)
    assert ring.path.stat().st_size == required_bytes(DTYPE, 3, 100, 4, 5)
    assert ring.path.stat().st_blocks * 512 >= ring.path.stat().st_size, "all pages are reserved"


def test_too_large_for_shared_memory(shm):
    with pytest.raises(ConfigError, match=r"needs 1e\+06 GB, .* has .* GB free of .* GB; fix: .*--shm-size"):
        check_fits(10**15, shm)
    with pytest.raises(ConfigError, match="replay needs"):
        Ring.create("big", DTYPE, tasks=50, capacity=10**10, writers=1, window=2, directory=shm)
    assert not list(shm.iterdir())
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        check_fits(1, shm / "nowhere")


def test_too_large_for_this_machine(shm, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2 * 10**9)
    with pytest.raises(ConfigError, match=r"replay needs 1.95 GB, this machine has 2 GB of memory left"):
        check_fits(1_950_000_000, shm)
    check_fits(1_800_000_000, shm)


def test_the_numbers_of_a_full_folder(shm, monkeypatch):
    Space = namedtuple("Space", "f_bavail f_blocks f_frsize")
    monkeypatch.setattr(memory.os, "statvfs", lambda _: Space(12_000, 24_000, 10**6))
    with pytest.raises(ConfigError, match=r"replay needs 61 GB, .* has 12 GB free of 24 GB"):
        check_fits(61 * 10**9, shm)


def test_sweep_after_a_kill(shm, make_ring):
    live = make_ring()
    (shm / "manyhands-foreign.ring").write_bytes(b"not ours" * 100)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(shm)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    dead = shm / "manyhands-dead.ring"
    assert sweep(shm) == []
    reader = Ring.attach(dead)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert sweep(shm) == [], "a learner still reads it"
    reader.close()
    assert sweep(shm) == [dead]
    assert sorted(shm.iterdir()) == [shm / "manyhands-foreign.ring", live.path]


def test_a_run_between_two_ingests_is_kept(shm):
    """Nobody has the file attached at this moment, but the process that owns the run lives: its ingest is being started again."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ring = Ring.create("run", DTYPE, tasks=1, capacity=64, writers=1, window=2, directory=shm, owner=sleeper.pid)
    ring.close()
    assert sweep(shm) == []
    sleeper.kill()
    while memory.start_time(sleeper.pid):
        time.sleep(0.01)
    assert sweep(shm) == [ring.path], "a zombie does not live"
    sleeper.wait()

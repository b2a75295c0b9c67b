"""The cluster's side of a gateway for tests: a real server, a real ring, clients as processes. As a program: a gateway to be killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from core.rows import CLOSING, OPENING, STEP, row_dtype
from core.types import Field, TaskSpec, Weights
from outpost.keys import Keys
from outpost.link import Link, Lost
from outpost.wire import describe, fingerprint
from replay.check import ChunkCheck
from replay.gateway import Gateway
from replay.gateway_config import Config
from replay.gateway_intake import Work
from replay.gateway_server import binary
from replay.ingest import Ingest

ROOT = Path(__file__).resolve().parents[2]
HORIZON, CHUNK, PLACES = 20, 8, 4
SPEC = TaskSpec("dummy:counter", (Field("obs", (6,)),), 2, HORIZON)
DTYPE = row_dtype(SPEC)
KEYS = Keys()
PATIENCE_S = 120


class Sink:
    """As a backend's, without processes in between."""

    def __init__(self, ingest):
        self.ingest = ingest

    def send(self, chunk):
        assert self.ingest.insert(chunk) == chunk.sequence

    def flush(self):
        pass

    def discard_episode(self, writer, episode):
        self.ingest.discard_episode(writer, episode)

    def take_over(self, writer, incarnation):
        self.ingest.take_over(writer, incarnation)

    def progress(self):
        return self.ingest.progress()


def plan(place, incarnation, simulators, **changes):
    """What clients are told: to count."""
    lanes = [{"tasks": [0], "seed": 100 * place + i, "lane": i} for i in range(simulators)]
    return {
        "tasks": ["dummy:counter"],
        "options": {"horizon": HORIZON},
        "first_episode": incarnation * 1000,
        "lanes": lanes,
        "row": describe(DTYPE),
        "observed": ["obs"],
        "frame": 0,
        "shown": [["obs", [6]]],
        "chunk": CHUNK,
        "horizon": HORIZON,
        "action_dim": 2,
        "trial": 1,
        "policy": {"name": "random", "action_dim": 2},
        "seed": place,
        "random_steps": 0,
        "step_timeout_s": 5.0,
        "reset_timeout_s": 30.0,
        **changes,
    }


class Side:
    """A gateway and its ring, in this process."""

    def __init__(self, url, shm, *, run="run", capacity=200_000, plan=plan, needs=("dummy",), **settings):
        self.ingest = Ingest("gw", DTYPE, tasks=1, capacity=capacity, writers=PLACES, window=2, directory=shm)
        config = Config(**{"clients": PLACES, "timeout_s": 2.0, **settings})
        check = ChunkCheck(self.ingest.ring.layout)
        work = Work(run, "id", 0, DTYPE, fingerprint(describe(DTYPE)), check, needs, plan)
        self.gateway = Gateway(Link(url), config, work, Sink(self.ingest))
        self.total = 0

    def collect(self, steps=400):
        taken = self.gateway.collect(steps)
        self.total += taken.stored
        return taken

    def until(self, condition, steps=400):
        """Collects until that holds."""
        end = time.monotonic() + PATIENCE_S
        while not condition(taken := self.collect(steps)):
            assert time.monotonic() < end, self.gateway.intake.counts
        return taken

    def rows(self):
        return self.ingest.ring.rows[0][self.ingest.ring.whole(0)].copy()

    def close(self):
        self.gateway.close()
        self.ingest.close(unlink=True)


@contextmanager
def opened(url, shm, **settings):
    side = Side(url, shm, **settings)
    side.gateway.begin(WEIGHTS)
    try:
        yield side
    finally:
        side.close()


WEIGHTS = Weights(0, {"w": np.arange(4, dtype=np.float32)})


class Redis:
    """A server that can be killed and started again on the same port and folder."""

    def __init__(self, folder, *settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.settings, self.url = folder, settings, f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", "")
        command = [binary(), *place, *self.settings]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, *command):
        end = time.monotonic() + PATIENCE_S
        link = Link(self.url)
        try:
            while True:
                try:
                    return link.ask(*command)
                except Lost:
                    assert time.monotonic() < end
                    time.sleep(0.05)
        finally:
            link.close()


def program(*arguments, python=sys.executable, log=subprocess.DEVNULL, **env):
    """A process of ours."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.Popen([python, *map(str, arguments)], cwd="/", env=variables, stdout=log, stderr=log)


def bare_python(folder):
    """A Python with numpy, msgpack and redis only."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    packages = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    for name in ("numpy", "msgpack", "redis"):
        (own,) = find_spec(name).submodule_search_locations
        for found in (Path(own), *Path(own).parent.glob(f"{name}.libs")):
            (packages / found.name).symlink_to(found)
    return str(folder / "venv" / "bin" / "python")


def start_client(url, *arguments, **options):
    return program("-m", "outpost", "--connect", url, *arguments, **options)


def wait_for(condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def end(process, how=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(how)
    return process.wait(PATIENCE_S)


def check_counting(rows):
    """Nothing is missing within an episode, nothing is there twice, nothing is of another one. Returns the number of chunks."""
    assert len(rows), "nothing was stored"
    for writer, episode in {(int(r["writer"]), int(r["episode"])) for r in rows}:
        mine = rows[(rows["writer"] == writer) & (rows["episode"] == episode)]
        taken = mine[mine["kind"] != CLOSING]
        assert taken["t"].tolist() == list(range(len(taken))), "steps are missing or doubled"
        assert (mine["obs"][:, 2] == mine["t"]).all()
        assert len(set(mine["obs"][:, 1].tolist())) == len(set(mine["slot"].tolist())) == 1
        assert (taken["reward"] == taken["t"] + 1).all()
        at = np.flatnonzero(mine["kind"] != CLOSING)
        assert (mine["obs"][at + 1, 4:] == mine["action"][at]).all(), "the row after a step shows the action that led to it"
    assert not (rows["kind"] == OPENING).any()
    assert (rows["kind"] == STEP).any()
    return int((rows["kind"] == CLOSING).sum())


def main(url, shm, stop):
    """Collects until the file ``stop`` is there; leaves the ring behind."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            side = Side(url, shm)
            side.gateway.begin(WEIGHTS)
            break
        except Lost:
            assert time.monotonic() < end
            time.sleep(0.05)
    while not Path(stop).exists():
        side.collect()
    shutil.os._exit(0)  # as it is: the ring is looked at by someone else


if __name__ == "__main__":
    main(*sys.argv[1:])

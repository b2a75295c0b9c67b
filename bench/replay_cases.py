"""The measured cases of ``bench/replay.py``: what is timed, in interleaved rounds. Runs inside the peers' environment."""

import gc
import json
import multiprocessing
import os
import platform
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from replay_peers import CpprbBuffer, Floor, RllibBuffer, Sb3Buffer, TorchrlBuffer
from replay_report import markdown

from core.rows import CLOSING, row_dtype
from core.types import Chunk, Field, Stream, TaskSpec
from replay.ingest import Ingest
from replay.ring import Ring
from replay.sampler import Sampler

OBS, ACTION, HORIZON = 39, 4, 500
"""Meta-World"""
DTYPE = row_dtype(TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, HORIZON))
DRAWS = {"10 tasks x 128": (10, 128), "50 tasks x 128": (50, 128), "256 of one": (1, 256), "1280 of one": (1, 1280)}
CHUNKS = (1, 50, 500)
UNACKED = 4
"""chunks that an actor may have under way"""
Timed = dict[str, Callable[[], object]]


def run(rounds: int, slice_s: float, rows: int, out: Path) -> None:
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    result = {"draws": {}, "inserts": {}}
    for name, (tasks, batch) in DRAWS.items():
        result["draws"][name] = draws(tasks, batch, rows // tasks, rounds, slice_s)
        print(name, {k: f"{v['median_us']:.1f}" for k, v in result["draws"][name].items()}, flush=True)
    for chunk in CHUNKS:
        result["inserts"][str(chunk)] = inserts(chunk, rounds, slice_s)
        print("insert", chunk, {k: f"{v:,.0f}" for k, v in result["inserts"][str(chunk)].items()}, flush=True)
    result["about"] = about(rounds, slice_s, rows, load)
    out.mkdir(parents=True, exist_ok=True)
    (out / "replay.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "replay.md").write_text(markdown(result))


def episode(n: int, writer: int = 0, number: int = 0) -> np.ndarray:
    """n transitions and the closing row."""
    made = np.zeros(n + 1, DTYPE)
    made["obs"] = np.random.default_rng(number).standard_normal((n + 1, OBS), np.float32)
    made["writer"], made["episode"], made["t"] = writer, number, np.arange(n + 1)
    made["kind"][-1] = CLOSING
    made["truncated"][-2] = n >= HORIZON
    return made


def filled_ring(tasks: int, capacity: int) -> Ring:
    """Full rings of episodes in chunks of 50, wrapped around once."""
    ring = Ring.create(f"bench-{os.getpid()}", DTYPE, tasks=tasks, capacity=capacity, writers=tasks, window=2)
    ring.unlink()
    rows = episode(50)
    for i in range(capacity // 51 + 2):
        for task in range(tasks):
            rows["writer"], rows["episode"] = task, i
            ring.insert(Chunk(task, 0, i, task, rows))
    return ring


def draws(tasks: int, batch: int, capacity: int, rounds: int, slice_s: float) -> dict:
    ring = filled_ring(tasks, capacity)
    sampler = Sampler(ring, range(tasks), Stream(batch), seed=0)
    floor = Floor(sampler, tasks * batch, ring.layout)
    timed: Timed = {"C gather (floor)": floor.draw, "manyhands": sampler.sample}
    for name, make in {"cpprb": CpprbBuffer, "SB3": Sb3Buffer, "TorchRL": TorchrlBuffer}.items():
        timed[name] = make(tasks, capacity, OBS, ACTION).sampler(batch)
    timed["RLlib"] = RllibBuffer(tasks, max(1000, capacity // 5), OBS, ACTION).sampler(batch)
    result = interleave(timed, rounds, slice_s)
    ring.close()
    return result


def interleave(timed: Timed, rounds: int, slice_s: float) -> dict:
    """Every round times each library for one slice. Medians over rounds of the medians of a slice: noise hits all alike."""
    for call in timed.values():
        call()
    gc.collect()
    medians: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            medians[name].append(slice_median(call, slice_s))
    base, ours = np.array(medians["C gather (floor)"]), np.array(medians["manyhands"])
    return {
        name: {
            "median_us": float(np.median(times)) * 1e6,
            "fastest_round_us": float(np.min(times)) * 1e6,
            "of_floor": float(np.median(np.array(times) / base)),
            "of_manyhands": float(np.median(np.array(times) / ours)),
        }
        for name, times in medians.items()
    }


def slice_median(call: Callable[[], object], slice_s: float) -> float:
    clock, times = time.perf_counter, []
    end = clock() + slice_s
    while True:
        start = clock()
        call()
        now = clock()
        times.append(now - start)
        if now > end and len(times) >= 3:
            return float(np.median(times))


def inserts(chunk: int, rounds: int, slice_s: float) -> dict[str, float]:
    """Transitions per second, medians over rounds."""
    capacity = 100_000
    wire = Wire(chunk, capacity)
    ingest = Ingest(f"bench-local-{os.getpid()}", DTYPE, 1, capacity, 1, 2)
    local = Local(ingest, chunk)
    timed: Timed = {"manyhands, acknowledged, from another process": wire.send, "manyhands, in-process": local.send}
    for name, make in {"cpprb": CpprbBuffer, "SB3": Sb3Buffer, "TorchRL": TorchrlBuffer, "RLlib": RllibBuffer}.items():
        timed[name + ", in-process"] = make(1, capacity, OBS, ACTION, fill=False).inserter(chunk)
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            rates[name].append(throughput(call, slice_s) * chunk)
    wire.close()
    ingest.close(unlink=True)
    return {name: float(np.median(values)) for name, values in rates.items()}


def throughput(call: Callable[[], object], slice_s: float) -> float:
    """Calls per second over a slice: inserts have a backlog, so single calls say nothing."""
    clock, calls = time.perf_counter, 0
    start = clock()
    while (now := clock()) < start + slice_s or calls < 3:
        call()
        calls += 1
    return calls / (now - start)


class Local:
    """Chunks straight into an ingest of this process."""

    def __init__(self, ingest: Ingest, n: int) -> None:
        self._ingest, self._rows, self._sequence = ingest, episode(n), 0

    def send(self) -> None:
        assert self._ingest.insert(Chunk(0, 0, self._sequence, 0, self._rows)) == self._sequence
        self._sequence += 1


class Wire:
    """An actor and an ingest in two processes, a socket between them, at most UNACKED chunks without acknowledgement."""

    def __init__(self, n: int, capacity: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=serve, args=(far, capacity, os.getpid()), daemon=True)
        self._process.start()
        self._rows, self._sequence, self._acknowledged = episode(n), 0, -1

    def send(self) -> None:
        self._pipe.send_bytes(struct.pack("4q", 0, 0, self._sequence, 0) + self._rows.tobytes())
        self._sequence += 1
        while self._sequence - 1 - self._acknowledged >= UNACKED:
            (self._acknowledged,) = struct.unpack("q", self._pipe.recv_bytes())

    def close(self) -> None:
        self._pipe.send_bytes(b"")
        self._process.join()


def serve(pipe, capacity: int, number: int) -> None:
    """The ingest process."""
    ingest = Ingest(f"bench-wire-{number}", DTYPE, 1, capacity, 1, 2)
    while message := pipe.recv_bytes():
        rows = np.frombuffer(message, DTYPE, offset=32)
        pipe.send_bytes(struct.pack("q", ingest.insert(Chunk(*struct.unpack_from("4q", message), rows))))
    ingest.close(unlink=True)


def about(rounds: int, slice_s: float, rows: int, load: float) -> dict:
    cpu = next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    names = ("torch", "numpy", "stable-baselines3", "cpprb", "torchrl", "tensordict", "ray")
    return {
        "command": "python bench/replay.py " + " ".join(a for a in sys.argv[1:] if a != "--inside"),
        "machine": f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "compiler": subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.splitlines()[0],
        "rounds": rounds,
        "slice_s": slice_s,
        "rows": rows,
        "row_bytes": DTYPE.itemsize,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }

"""How fast the gateway takes in chunks: through a real Redis server into a ring. ``python bench/gateway.py``; about a minute.

A process beside this one sends chunks as a client does, at most a window of them unacknowledged. 1 KB and 300 KB, each with a server that
writes nothing down, once a second, and before every answer. Writes bench/results/gateway.md and .json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np
from _machine import RESULTS, child_env, command_line, describe, write, write_json

from core.rows import CLOSING, row_dtype
from core.types import Field, TaskSpec, Weights
from outpost import PROTOCOL, wire
from outpost.keys import Keys
from outpost.link import Link
from replay.check import ChunkCheck
from replay.gateway import Gateway
from replay.gateway_config import Config
from replay.gateway_intake import Work
from replay.gateway_server import Server
from replay.ingest import Ingest

SIZES = {"1 KB": (4, 45), "300 KB": (50, 1470)}
"""transitions of a chunk, numbers of an observation"""
DURABILITY = ("no", "everysec", "always")
WINDOW = 8
KEYS = Keys()


def spec(width: int) -> TaskSpec:
    return TaskSpec("bench:x", (Field("obs", (width,)),), 4, 1000)


class Sink:
    """Straight into the ring."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest, self.flush = ingest, lambda: None
        self.send, self.discard_episode, self.take_over, self.progress = (
            ingest.insert,
            ingest.discard_episode,
            ingest.take_over,
            ingest.progress,
        )


def send(url: str, size: str, seconds: float) -> None:
    """The other process: says hello, waits for a place, and sends."""
    n, width = SIZES[size]
    dtype, link, count = row_dtype(spec(width)), Link(url), 0
    layout, rows = wire.fingerprint(wire.describe(dtype)), np.zeros(n + 1, dtype)
    rows["kind"][-1], rows["t"] = CLOSING, np.arange(n + 1)
    told = {"boot": "b", "bye": False, "run": "", "writer": -1, "incarnation": -1, "taken": 0, "lost": 0}
    hello = {"simulators": 1, "makes": ["bench"], "protocol": PROTOCOL}
    place, order, last, end = {"run": ""}, None, b"0", 0.0
    sequence = 0
    while not end or time.monotonic() < end:
        count += 1
        link.ask("HSET", KEYS.beats, "bench", wire.frame(wire.BEAT, {**told, **place, "count": count, "hello": hello}))
        found = link.ask("XREAD", "BLOCK", 1000, "STREAMS", KEYS.orders("bench"), last)
        if found:
            last, order = found[0][1][-1][0], wire.unframe(found[0][1][-1][1][1], wire.ORDER).header
        if not order or not order["run"]:
            continue
        end = end or time.monotonic() + seconds
        place = {name: order[name] for name in ("run", "writer", "incarnation")}
        sending = []
        while sequence < order["acknowledged"] + WINDOW:
            rows["episode"] = sequence
            chunk = wire.Chunk(order["run"], order["writer"], order["incarnation"], sequence, 0, layout, n + 1, [], [])
            sending.append(("XADD", KEYS.chunks, "*", "f", wire.pack_chunk(chunk, rows)))
            sequence += 1
        if sending:
            link.ask_all(sending)


def measure(size: str, durability: str, seconds: float) -> dict:
    """Chunks per second, from when the first is stored."""
    n, width = SIZES[size]
    dtype = row_dtype(spec(width))
    config = Config(clients=1, durability=durability, window=WINDOW)
    with ExitStack() as opened:
        folder, shm = opened.enter_context(tempfile.TemporaryDirectory()), opened.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        server = Server(config, Path(folder))
        opened.callback(server.close)
        ingest = Ingest("bench", dtype, tasks=1, capacity=max(2000, int(2e8 / dtype.itemsize)), writers=1, window=2, directory=shm)
        opened.callback(ingest.close, unlink=True)
        layout = wire.fingerprint(wire.describe(dtype))
        work = Work("bench", "bench", 0, dtype, layout, ChunkCheck(ingest.ring.layout), ("bench",), lambda *_: {})
        gateway = Gateway(Link(server.url), config, work, Sink(ingest))
        gateway.begin(Weights(0, {}))
        opened.callback(gateway.close)
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--send", server.url, size, str(seconds)]
        sender = subprocess.Popen(command, env=child_env())
        opened.callback(sender.kill)
        stored, began, busy_s, ended = 0, 0.0, 0.0, 0.0
        while sender.poll() is None:
            taken = gateway.collect(10**9)
            if taken.stored:
                began = began or time.monotonic() - taken.seconds
                stored, ended = stored + taken.stored, time.monotonic()
                busy_s += taken.seconds - taken.wait_s
        if sender.returncode or not stored:
            raise SystemExit(f"the sender of {size} chunks ended with {sender.returncode}; {stored} transitions were stored")
        used = next(line for line in Link(server.url).ask("INFO", "memory").decode().splitlines() if line.startswith("used_memory_peak:"))
        peak = int(used.partition(":")[2])
    chunks, took = stored / n, ended - began
    size_bytes = (n + 1) * dtype.itemsize
    return {
        "chunk": size,
        "chunk_bytes": size_bytes,
        "durability": durability,
        "chunks_per_s": chunks / took,
        "mb_per_s": chunks * size_bytes / took / 1e6,
        "steps_per_s": stored / took,
        "gateway_busy": busy_s / took,
        "server_peak_mb": peak / 1e6,
    }


def markdown(about: dict, rows: list[dict]) -> str:
    lines = [
        "# The gateway",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}, load before: {about['load_before']:.2f}.",
        f"One sender with a window of {WINDOW} chunks, a Redis server, a gateway, a ring, all on this machine.",
        "",
        "| chunk | server writes | chunks/s | MB/s | env steps/s | gateway busy | server's memory, peak |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        numbers = f"{row['chunks_per_s']:,.0f} | {row['mb_per_s']:.1f} | {row['steps_per_s']:,.0f} | {row['gateway_busy']:.0%}"
        lines.append(f"| {row['chunk']} | {row['durability']} | {numbers} | {row['server_peak_mb']:.1f} MB |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.send:
        return send(args.send[0], args.send[1], float(args.send[2]))
    about = describe() | {"command": command_line("gateway")}
    rows = [measure(size, durability, args.seconds) for size in SIZES for durability in DURABILITY]
    write_json(args.out / "gateway.json", {"about": about, "rows": rows})
    write(args.out / "gateway.md", markdown(about, rows))
    return None


if __name__ == "__main__":
    main()

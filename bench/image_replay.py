"""Replay of a vision algorithm: sparse voxel grids drawn by priority from memory and from disk. ``python bench/image_replay.py``.

With ``--yarr-source`` (a checkout of github.com/stepjam/YARR) the buffer of C2F-ARM's authors beside it, in turns. Results:
bench/results/image_replay.{md,json}.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), str(ROOT / "bench"), *(path for path in sys.path if Path(path or ".").resolve() != ROOT / "bench")]

import numpy as np
import torch
from _machine import RESULTS, command_line, describe, write, write_json

from core.rows import CLOSING, row_dtype
from core.types import Chunk, Field, Stream, TaskSpec
from replay.check import ChunkCheck
from replay.ring import Ring
from replay.sampler import Sampler

ROOMS = {"10 KB": 384, "20 KB": 768}
"""voxels that a row has room for, of 26 bytes each, both depths together"""
BATCHES = (32, 128)
EPISODE = 10
LABELS = (Field("trans", (6,), "uint8"), Field("rot_grip", (4,), "uint8"))
YARR = "YARR"


class Case(NamedTuple):
    """One thing that is timed; ``before`` is not."""

    rows: int
    call: Callable[[], object]
    before: Callable[[], object] = lambda: None


def dtype_of(room: int) -> np.dtype:
    spec = TaskSpec("bench", (Field("obs", (11,)),), 8, EPISODE)
    voxels = (Field("voxel_index", (room,), "uint16"), Field("voxel_value", (room, 6)), Field("voxels", (2,), "uint16"))
    return row_dtype(spec, LABELS, (*voxels, Field("centre", (3,))))


class Buffer:
    """A full ring of one task, and samplers of it.

    Args:
        folder: on a disk; None: in memory.
    """

    def __init__(self, name: str, dtype: np.dtype, capacity: int, folder: Path | None) -> None:
        where = {} if folder is None else {"directory": folder, "spilled": True}
        self.writer = Ring.create(f"bench-{os.getpid()}-{name}", dtype, tasks=1, capacity=capacity, writers=1, window=2, **where)
        self.check, self.sequence = ChunkCheck(self.writer.layout), 0
        self.rows = np.zeros(EPISODE + 1, dtype)
        noise = np.random.default_rng(0).random(self.rows["voxel_value"].shape, np.float32)
        self.rows["voxel_value"], self.rows["t"] = noise, np.arange(EPISODE + 1)
        self.rows["kind"][-1], self.rows["terminated"][-2] = CLOSING, True
        for _ in range(capacity // (EPISODE + 1) + 2):
            self.insert()
        self.reader = Ring.attach(self.writer.path)
        self.writer.unlink()

    def insert(self) -> None:
        """What ingest does with an episode."""
        self.rows["episode"] = self.sequence
        chunk = Chunk(0, 0, self.sequence, 0, self.rows)
        self.check(chunk)
        self.writer.insert(chunk)
        self.sequence += 1

    def sampler(self, batch: int, *, ranked: bool = True) -> Sampler:
        plan = Stream(batch, priority=0.7, weight=0.5) if ranked else Stream(batch)
        return Sampler(self.reader, [0], plan, seed=0)

    def forget_pages(self) -> None:
        """Nothing of the rows stays in memory."""
        file = self.reader.reopen()
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds; each gives every case one slice of time")
    parser.add_argument("--slice-s", type=float, default=0.3, help="time of one case in one round, seconds")
    parser.add_argument("--rows", type=int, default=20_000, help="rows in every ring")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="folder of the disk that is measured")
    parser.add_argument("--yarr-source", default="", help="checkout of github.com/stepjam/YARR")
    parser.add_argument("--yarr-rows", type=int, default=2000, help="rows of its buffer, 246 KB each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = describe() | {"command": command_line("image_replay"), **{k: v for k, v in vars(args).items() if isinstance(v, int | float)}}
    with tempfile.TemporaryDirectory(dir=args.disk) as folder:
        sizes, cases, closing = made(args, Path(folder))
        result = {"about": about, "bytes": sizes, "ms_per_row": measured(cases, args.rounds, args.slice_s)}
        for close in closing:
            close()
    result["about"]["load_after"] = os.getloadavg()[0]
    write_json(args.out / "image_replay.json", result)
    write(args.out / "image_replay.md", page(result))


def made(args: argparse.Namespace, folder: Path) -> tuple[dict[str, int], dict[str, Case], list[Callable[[], None]]]:
    """Bytes per row, everything that is timed, what closes it."""
    sizes: dict[str, int] = {}
    cases: dict[str, Case] = {}
    closing: list[Callable[[], None]] = []
    for name, room in ROOMS.items():
        dtype = dtype_of(room)
        sizes[name] = dtype.itemsize
        memory, disk = (Buffer(f"{room}{kind}", dtype, args.rows, at) for kind, at in (("m", None), ("d", folder)))
        closing += [memory.close, disk.close]
        cases |= drawn(name, memory, disk)
    if args.yarr_source:
        from image_replay_yarr import YarrBuffer

        for batch in BATCHES:
            peer = YarrBuffer(args.yarr_source, args.yarr_rows, batch)
            sizes[YARR] = peer.row_bytes
            cases |= peer_cases("memory", peer, batch)
        (folder / "yarr").mkdir()
        for batch in BATCHES:
            peer = YarrBuffer(args.yarr_source, args.yarr_rows, batch, folder / "yarr")
            cases |= peer_cases("disk, cached", peer, batch)
            cases[f"{YARR} | disk, cold | draw {batch}"] = Case(batch, peer.draw, peer.forget_pages)
    return sizes, cases, closing


def drawn(name: str, memory: Buffer, disk: Buffer) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for batch in BATCHES:
        of, on = memory.sampler(batch), disk.sampler(batch)
        told = np.random.default_rng(0).random((1, batch)) + 0.1
        cases[f"{name} | memory | draw {batch}"] = Case(batch, of.sample)
        cases[f"{name} | memory, uniform | draw {batch}"] = Case(batch, memory.sampler(batch, ranked=False).sample)
        cases[f"{name} | disk, cached | draw {batch}"] = Case(batch, on.sample)
        cases[f"{name} | disk, cold | draw {batch}"] = Case(batch, on.sample, disk.forget_pages)
        cases[f"{name} | memory | rank {batch}"] = Case(batch, lambda of=of, told=told: of.prioritise(told))
        of.sample()
    cases[f"{name} | memory | insert"] = Case(EPISODE, memory.insert)
    cases[f"{name} | disk, cached | insert"] = Case(EPISODE, disk.insert)
    return cases


def peer_cases(place: str, peer: Any, batch: int) -> dict[str, Case]:
    peer.draw()
    cases = {f"{YARR} | {place} | draw {batch}": Case(batch, peer.draw), f"{YARR} | {place} | rank {batch}": Case(batch, peer.rank)}
    return cases | ({f"{YARR} | {place} | insert": Case(EPISODE, peer.insert)} if batch == BATCHES[0] else {})


def measured(cases: dict[str, Case], rounds: int, slice_s: float) -> dict[str, dict[str, float]]:
    """Milliseconds per row of each case: median and fastest over interleaved rounds."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case.before()
        case.call()
    gc.disable()
    for _ in range(rounds):
        for name, case in cases.items():
            spent, calls, end = 0.0, 0, time.perf_counter() + slice_s
            while not calls or time.perf_counter() < end:
                case.before()
                began = time.perf_counter()
                case.call()
                spent, calls = spent + time.perf_counter() - began, calls + 1
            found[name].append(1e3 * spent / calls / case.rows)
    gc.enable()
    return {name: {"median": median(values), "fastest": min(values)} for name, values in found.items()}


def page(result: dict[str, Any]) -> str:
    about, sizes, ms = result["about"], result["bytes"], result["ms_per_row"]
    peer = f", {YARR} {about['yarr_rows']:,}" if YARR in sizes else ""
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    lines = [
        "# Replay of a vision algorithm",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {versions}.",
        f"One thread, and 8 that read from disk. Full rings of {about['rows']:,} rows{peer}.",
        f"Medians over {about['rounds']} interleaved rounds of {about['slice_s']} s per case.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after.",
        "",
        "A row has an observation as sparse voxel grids, action, reward, labels. A draw is of windows of two rows, with rejection,",
        "weights and the check for rows overwritten meanwhile. `cold`: the file's pages are dropped before every draw, but the disk, or",
        "the host of a virtual machine, may still have them. `rank`: the priorities of a batch are written back. An insert is an",
        "episode of 10, checked.",
        "",
        "| | bytes per row | 100,000 rows, GB |",
        "|---|---:|---:|",
        *(f"| {name} | {size:,} | {size / 1e4:,.1f} |" for name, size in sizes.items()),
        "",
        "ms per row:",
        "",
    ]
    parts = [name.split(" | ") for name in ms]
    columns = list(dict.fromkeys(part[2] for part in parts))
    lines += ["| | | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for name, place in dict.fromkeys((part[0], part[1]) for part in parts):
        said = [ms.get(f"{name} | {place} | {column}") for column in columns]
        lines.append(f"| {name} | {place} | " + " | ".join(f"{each['median']:.4f}" if each else "" for each in said) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()

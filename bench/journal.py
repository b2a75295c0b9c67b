"""What the journal of replay costs: inserts at the levels off, process and host. ``python bench/journal.py``; about three minutes.

Rows of 90 floats in chunks of 50 and 500, and rows of 10 and 30 KB as images make them, in chunks of 10 and 50. First one chunk after the
other, which shows the cost of an insert; then at the rates that simulators have, which shows what part of its time the ingest spends on it.
Levels take turns within each round. Writes bench/results/journal.md and .json. The journal lies in ``--folder``: take a disk, not memory.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np
from _machine import RESULTS, command_line, describe, write, write_json

from core.rows import CLOSING, row_dtype
from core.types import Chunk, Field, TaskSpec
from replay.ingest import Ingest
from replay.journal import Wanted, drop
from replay.settings import LEVELS

STATE, KB_10, KB_30 = "90 floats", "10 KB", "30 KB"
IMAGES = {KB_10: 10_000, KB_30: 30_000}
RING_BYTES = 200e6


class Case(NamedTuple):
    row: str
    chunk: int
    """transitions"""
    rate: float
    """env steps per second that a fast run has"""


CASES = [Case(STATE, 50, 10_000), Case(STATE, 500, 10_000), Case(KB_10, 10, 200), Case(KB_10, 50, 200), Case(KB_30, 50, 200)]


def row_type(row: str) -> np.dtype:
    """Observation, 4 numbers of action, reward, bookkeeping: in all as many bytes as the name says."""
    if row == STATE:
        return row_dtype(TaskSpec("bench", (Field("obs", (85,)),), 4, 1000))
    fields = (Field("obs", (8,)), Field("image", (IMAGES[row],), "uint8"))
    return row_dtype(TaskSpec("bench", fields, 4, 1000))


class Side:
    """One ingest at one level, kept over all rounds."""

    def __init__(self, case: Case, level: Any, shm: Path, disk: Path) -> None:
        dtype = row_type(case.row)
        self.case, self.level, self.run = case, level, disk / f"{case.row} {case.chunk} {level}"
        capacity = max(10 * case.chunk, int(RING_BYTES / dtype.itemsize))
        name = f"{case.row}-{case.chunk}-{level}".replace(" ", "")
        self.ingest = Ingest(name, dtype, 1, capacity, 1, 2, shm, journal=Wanted(self.run, level))
        self.rows = np.zeros(case.chunk + 1, dtype)
        self.rows["kind"][-1], self.rows["t"] = CLOSING, np.arange(case.chunk + 1)
        if "image" in (dtype.names or ()):
            self.rows["image"] = np.random.default_rng(0).integers(0, 256, self.rows["image"].shape, np.uint8)
        self.sequence = 0
        self.full: list[float] = []
        """seconds of each insert, one after the other"""
        self.paced: list[float] = []
        """the same at the case's rate"""
        self.paced_s = 0.0

    def insert(self) -> float:
        """Seconds until the acknowledgement."""
        self.rows["episode"] = self.sequence
        chunk = Chunk(0, 0, self.sequence, 0, self.rows)
        began = time.perf_counter()
        assert self.ingest.insert(chunk) == self.sequence
        self.sequence += 1
        return time.perf_counter() - began

    def go(self, seconds: float) -> None:
        """One round: as fast as it goes, then at the rate."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.full.append(self.insert())
        self.tidy()
        every, began = self.case.chunk / self.case.rate, time.perf_counter()
        for turn in range(int(seconds / every)):
            time.sleep(max(0.0, began + turn * every - time.perf_counter()))
            self.paced.append(self.insert())
        self.paced_s += time.perf_counter() - began
        self.tidy()

    def tidy(self) -> None:
        """As after a checkpoint."""
        number = self.ingest._front.cut()
        if number is not None:
            drop(self.run, number)

    def result(self) -> dict[str, Any]:
        full, paced = np.array(self.full), np.array(self.paced)
        chunk_bytes = len(self.rows) * self.rows.itemsize
        return {
            "row": self.case.row,
            "row_bytes": self.rows.itemsize,
            "chunk": self.case.chunk,
            "level": self.level,
            "steps_per_s": self.case.chunk / float(np.median(full)),
            "mean_steps_per_s": self.case.chunk * len(full) / float(full.sum()),
            "mb_per_s": chunk_bytes / float(np.median(full)) / 1e6,
            "ack_us": float(np.median(full)) * 1e6,
            "ack_p99_us": float(np.quantile(full, 0.99)) * 1e6,
            "rate": self.case.rate,
            "paced_ack_us": float(np.median(paced)) * 1e6,
            "paced_ack_p99_us": float(np.quantile(paced, 0.99)) * 1e6,
            "paced_busy": float(paced.sum()) / self.paced_s,
            "inserts": [len(full), len(paced)],
        }


def file_system(folder: Path) -> str:
    """What the journal is written to."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    return max((m for m in mounts if folder.resolve().is_relative_to(m[0])), key=lambda m: len(m[0]))[1]


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    lines = [
        "# The journal of replay",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}, load before: {about['load_before']:.2f}.",
        f"The journal lies on {about['disk']}. One process inserts and waits for each acknowledgement. First one after the other:",
        "the median, and the mean, which has in it the times that the kernel made it wait for the disk. Then at a rate: busy is the part",
        "of its time that the ingest spends in inserts.",
        "",
        "| row | chunk | level | steps/s, median | mean | ack, us | p99 | at steps/s | ack, us | p99 | busy |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        full = f"{r['steps_per_s']:,.0f} | {r['mean_steps_per_s']:,.0f} | {r['ack_us']:,.0f} | {r['ack_p99_us']:,.0f}"
        paced = f"{r['rate']:,.0f} | {r['paced_ack_us']:,.0f} | {r['paced_ack_p99_us']:,.0f} | {r['paced_busy']:.2%}"
        lines.append(f"| {r['row']} | {r['chunk']} | {r['level']} | {full} | {paced} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case, level and round, twice")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=ROOT, help="on the disk that the journal is to be written to")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    about, rows = describe() | {"command": command_line("journal"), "disk": file_system(args.folder)}, []
    for case in CASES:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as shm, tempfile.TemporaryDirectory(dir=args.folder) as disk:
            sides = [Side(case, level, Path(shm), Path(disk)) for level in LEVELS]
            for turn in range(args.rounds):
                for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
                    side.go(args.seconds)
            rows += [side.result() for side in sides]
            for side in sides:
                side.ingest.close(unlink=True)
    write_json(args.out / "journal.json", {"about": about, "rows": rows})
    write(args.out / "journal.md", markdown(about, rows))


if __name__ == "__main__":
    main()

"""Sides of a bench, measured in turns (A B C A B C ...), one at a time: each is a process of its own, all on the same cores.

What a side does is its script's business (``sac_sides.serve``); results are written after every round.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from _machine import RESULTS, ROOT, THREAD_VARIABLES, bound, child_env, command_line, describe, tail, write, write_json

START_LIMIT_S = 600.0
"""for imports and compilation of one side"""
MIN_ROUNDS = 3
PAUSE_S = 0.05
"""before a slice, for the threads of the side before to fall asleep"""


class Suite(NamedTuple):
    """What one bench measures, and how its page is made."""

    name: str
    """``bench/NAME.py``; results are ``NAME.md`` and ``NAME.json``"""
    script: str
    """the sides"""
    sides: tuple[str, ...]
    cases: Mapping[str, dict[str, Any]]
    """name -> what the results say of the case"""
    summary: Callable[[dict[str, Any]], dict[str, Any]]
    markdown: Callable[[dict[str, Any]], str]


class SideError(Exception):
    """A side did not start, died or hangs."""


class Side:
    """One process of a suite's script."""

    def __init__(self, name: str, command: tuple[Path, str], case: str, threads: int, rows: int, folder: Path, skip: int = 0) -> None:
        """``command``: the python, and the name of the script. ``skip``: cores that are left to others."""
        self.name, self.log = name, folder / f"{name.replace(' ', '-')}-{case}-{threads}-{skip}.log"
        xla = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
        env = child_env(
            **dict.fromkeys(THREAD_VARIABLES, str(threads)),
            XLA_FLAGS=xla,
            JAX_PLATFORMS="cpu",
            TORCHINDUCTOR_CACHE_DIR=str(folder / f"inductor-{case}-{threads}"),
        )
        python, script = str(command[0]), str(ROOT / "bench" / command[1])
        began = time.perf_counter()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*bound(threads, skip), python, "-P", script, name, case, "--threads", str(threads), "--rows", str(rows)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
            )
        try:
            self.about = self._answer(START_LIMIT_S)
        except BaseException:
            self.close()
            raise
        self.about["start_s"] = time.perf_counter() - began

    def measure(self, mode: str, slice_s: float) -> dict[str, float]:
        self.ask(mode, slice_s)
        return self.answer(slice_s)

    def ask(self, mode: str, slice_s: float) -> None:
        self.process.stdin.write((json.dumps({"mode": mode, "slice_s": slice_s}) + "\n").encode())

    def answer(self, slice_s: float) -> dict[str, float]:
        return self._answer(self.about.get("call_limit_s", 30.0) + 10 * slice_s)

    def _answer(self, limit_s: float) -> dict[str, Any]:
        if not select.select([self.process.stdout], [], [], limit_s)[0]:
            raise SideError(f"{self.name} gave no answer within {limit_s:.0f} s; its last words:\n{tail(self.log)}")
        line = self.process.stdout.readline()
        if not line:
            raise SideError(f"{self.name} ended with code {self.process.wait()}; its last words:\n{tail(self.log)}")
        return json.loads(line)

    def close(self) -> None:
        """It ends with its input; what does not is killed."""
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Bench:
    """The whole run: cases one after the other, every case within its share of the time that is left."""

    def __init__(
        self, suite: Suite, args: argparse.Namespace, pythons: Mapping[str, Path], folder: Path, missing: Mapping[str, str]
    ) -> None:
        """
        Args:
            pythons: what runs a side; this process's own python where it is not named.
            missing: sides that cannot be had here, and why.
        """
        self.suite, self.args, self.pythons, self.folder, self.missing = suite, args, pythons, folder, missing
        self.end = time.monotonic() + 60 * args.minutes
        settings = {"rounds": args.rounds, "slice_s": args.slice_s, "rows": args.rows}
        self.result: dict[str, Any] = {"about": {"command": command_line(suite.name), **describe(), **settings}, "cases": {}}

    def run(self) -> None:
        todo = [(case, threads) for case in self.args.cases for threads in self.args.threads]
        for i, (case, threads) in enumerate(todo):
            share = (self.end - time.monotonic()) / (len(todo) - i)
            print(f"{case}, {threads} thread(s): at most {share:.0f} s", flush=True)
            self.case(case, threads, time.monotonic() + share)

    def case(self, case: str, threads: int, deadline: float) -> None:
        sides: list[Side] = []
        failed: dict[str, str] = {}
        record: dict[str, Any] = {**self.suite.cases[case], "threads": threads, "sides": {}, "failed": failed}
        self.result["cases"][f"{case}, {threads} thread{'s' if threads > 1 else ''}"] = record
        try:
            for name in self.args.sides:
                self.start(name, case, threads, sides, record)
            for number in range(self.args.rounds):
                if number >= MIN_ROUNDS and time.monotonic() > deadline:
                    print(f"  time is up after {number} rounds", flush=True)
                    break
                self.round(sides, record)
                self.write()
        finally:
            for side in sides:
                side.close()
        for name, mode, row in self.suite.summary(record)["rows"]:
            print(f"  {name:28s} {mode:60s} {row['median_ms']:8.3f} ms", flush=True)

    def start(self, name: str, case: str, threads: int, sides: list[Side], record: dict) -> None:
        """A side that cannot be had is named in the results; the others are measured without it."""
        try:
            if name in self.missing:
                raise SideError(f"{name}: {self.missing[name]}")
            command = (self.pythons.get(name, Path(sys.executable)), self.suite.script)
            side = Side(name, command, case, threads, self.args.rows, self.folder)
        except SideError as error:
            record["failed"][name] = str(error)
            print(f"  FAILED: {error}", flush=True)
            return
        sides.append(side)
        modes = {mode: {"ms": [], "cpu": [], "others": []} for mode in side.about["modes"]}
        record["sides"][name] = {**side.about, "modes": modes}
        print(f"  {name}: ready after {side.about['start_s']:.1f} s", flush=True)

    def round(self, sides: list[Side], record: dict) -> None:
        """One slice for every mode of every side. A round counts whole or not at all, so that ratios within it can be taken."""
        measured = {}
        for side in list(sides):
            for mode in side.about["modes"]:
                time.sleep(PAUSE_S)
                try:
                    measured[side.name, mode] = side.measure(mode, self.args.slice_s)
                except (SideError, OSError) as error:
                    self.drop(side, sides, record, str(error))
                    break
        for (name, mode), answer in measured.items():
            if name in record["sides"]:
                kept = record["sides"][name]["modes"][mode]
                for figure, values in kept.items():
                    values.append(answer[figure])

    def drop(self, side: Side, sides: list[Side], record: dict, reason: str) -> None:
        print(f"  FAILED: {reason}", flush=True)
        record["failed"][side.name] = reason
        record["sides"].pop(side.name)
        sides.remove(side)
        side.process.kill()
        side.close()

    def write(self) -> None:
        self.result["about"]["load_after"] = os.getloadavg()[0]
        write_json(self.args.out / f"{self.suite.name}.json", self.result)
        write(self.args.out / f"{self.suite.name}.md", self.suite.markdown(self.result))


def arguments(suite: Suite, doc: str | None, *, slice_s: float, rows: int, minutes: float) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="each gives every mode of every side one slice of time")
    parser.add_argument("--slice-s", type=float, default=slice_s, help="seconds of one mode in one round")
    parser.add_argument("--rows", type=int, default=rows, help="transitions in every buffer")
    parser.add_argument("--cases", nargs="+", default=list(suite.cases), choices=list(suite.cases))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--sides", nargs="+", default=list(suite.sides), choices=list(suite.sides))
    parser.add_argument("--minutes", type=float, default=minutes, help="fewer rounds are made where this does not suffice")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    args = parser.parse_args()
    available = len(os.sched_getaffinity(0))
    if max(args.threads) > available:
        parser.error(f"--threads {max(args.threads)}: this process may use {available} cores")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the sides are ended, too
    return args


def run(
    suite: Suite, args: argparse.Namespace, pythons: Mapping[str, Path], missing: Mapping[str, str] | None = None, **about: str
) -> None:
    """``about`` goes into the results as it is."""
    with tempfile.TemporaryDirectory(prefix="manyhands-bench-") as folder:
        bench = Bench(suite, args, pythons, Path(folder), missing or {})
        bench.result["about"] |= about
        bench.run()
    print(f"results: {args.out / suite.name}.md", flush=True)

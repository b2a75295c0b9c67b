"""Seconds from starting a training to its first evaluation with 10 of 10 successes, reach-v3, against SB3: ``python bench/end_to_end.py``.

Both sides train with the settings of one RunConfig (``e2e_settings``), meet the same goals and are evaluated alike. Runs alternate; each
begins without any cache. Results are written after every run: bench/results/end_to_end.{md,json}; ``--resume`` goes on after a break.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, VENV, adopt_orphans, bound, busy_s, child_env, describe, reap_orphans, tail, write, write_json
from _peers import ensure
from e2e_outcome import ours_outcome, probe_outcome, sb3_outcome
from e2e_report import line, markdown
from e2e_settings import DIFFERENCES, MODES, not_carried, run_config, sb3_settings, train_arguments

PEERS = ["stable-baselines3==2.9.2", "gymnasium==1.4.0", "mujoco==3.3.0", "metaworld==3.1.1", "packaging"]
VECTORS = ("dummy", "fork")
"""DummyVecEnv, and SubprocVecEnv started by fork: its default way to start takes half a minute for 32 simulators on two cores"""
PROBE_STEPS, PROBE_WARM_UP, PROBE_LIMIT_S = 3000, 1000, 60.0
GRACE_S = 20.0
"""for a run that was told to stop"""
WARM_LIMIT_S = 90.0
DECISIVE = 3.5
"""SB3 is given at least so many times the seconds that manyhands took with that seed, so that the limit does not decide"""


class Child:
    """A training in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], log: Path, cores: int, **env: str) -> None:
        self.log, self.busy = log, busy_s()
        self.cpu, self.began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*bound(cores), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=child_env(**env),
                cwd=log.parent,
                start_new_session=True,
            )

    def wait(self, limit_s: float) -> dict[str, Any]:
        """Until it ends by itself or is ended. Returns how."""
        try:
            code: int | None = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            self.end()
        reap_orphans()
        seconds, after = time.time() - self.began, resource.getrusage(resource.RUSAGE_CHILDREN)
        own = after.ru_utime + after.ru_stime - self.cpu.ru_utime - self.cpu.ru_stime
        others = max(0.0, busy_s() - self.busy - own) / seconds
        return {"code": code, "wall_s": seconds, "cpu_s": own, "others": others}

    def end(self) -> None:
        """Asks, then kills the group that this object started."""
        for number, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            if self.process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)


class Bench:
    """The whole run."""

    def __init__(self, args: argparse.Namespace, python: Path, folder: Path) -> None:
        self.args, self.python, self.folder = args, python, folder
        self.end = time.monotonic() + 60 * args.minutes
        self.path = args.out / f"end_to_end{'_1step' if args.equal else '_shipped' if args.shipped else ''}.json"
        config = run_config(args.preset, "varied", 0, args.extra)
        derived = json.loads(json.dumps(sb3_settings(config, shipped=args.shipped)))
        self.key = {"preset": args.preset, "extra": args.extra, "sb3": derived, "cores": args.cores, "warm": args.warm}
        command = " ".join(["python bench/end_to_end.py", *sys.argv[1:]])
        about = {"command": command, **describe(), **self.key, "differences": [*DIFFERENCES, *not_carried(config)]}
        about |= {"limit_s": args.limit_s, "shipped": args.shipped}
        self.result: dict[str, Any] = {"about": about, "probe": [], "choice": None, "runs": []}
        if args.resume and self.path.exists():
            self.take_up(json.loads(self.path.read_text()))

    def take_up(self, before: dict[str, Any]) -> None:
        if {name: before["about"][name] for name in self.key} != self.key:
            raise SystemExit(f"{self.path} is of other settings; run without --resume to begin anew")
        self.result = before | {"runs": [run for run in before["runs"] if run["ended"] != "crash"]}
        print(f"going on after {len(self.result['runs'])} runs", flush=True)

    def run(self) -> None:
        if self.args.warm:
            print("filling the compiler's cache", flush=True)
            self.ours("varied", 0, WARM_LIMIT_S, stop_early=True)
        if self.args.sb3:
            kind, threads = self.args.sb3.split(",")
            self.result["choice"] = {"vector": kind, "threads": int(threads)}
        elif not self.result["choice"]:
            self.probe()
        for seed in self.args.seeds:
            for mode in self.args.modes:
                self.pair(mode, seed)

    def pair(self, mode: str, seed: int) -> None:
        for side in ("manyhands", "SB3"):
            known = {(run["side"], run["mode"], run["seed"]): run for run in self.result["runs"]}
            if (side, mode, seed) in known:
                continue
            ours, limit_s = known.get(("manyhands", mode, seed)), self.args.limit_s
            if side == "SB3" and ours and ours["reached"]:
                limit_s = max(limit_s, DECISIVE * ours["seconds"])
            left_s = self.end - time.monotonic()
            if left_s < limit_s + GRACE_S:
                print(f"{side} {mode} seed {seed}: not run, {left_s:.0f} s are left of --minutes", flush=True)
                continue
            print(f"{side} {mode} seed {seed}: begins, at most {limit_s:.0f} s, {left_s / 60:.0f} min left", flush=True)
            run = (self.ours if side == "manyhands" else self.sb3)(mode, seed, limit_s)
            self.result["runs"].append({"side": side, "mode": mode, "seed": seed, "limit_s": limit_s, **run})
            self.write()
            print(f"  {line(self.result['runs'][-1])}", flush=True)

    def ours(self, mode: str, seed: int, limit_s: float, *, stop_early: bool = False) -> dict[str, Any]:
        """The real command line. Its compiler finds an empty cache unless ``--warm``."""
        root = Path(tempfile.mkdtemp(prefix=f"ours-{mode}-{seed}-", dir=self.folder))
        arguments = train_arguments(self.args.preset, mode, seed, self.args.extra)
        if stop_early:
            steps = run_config(self.args.preset, mode, seed, self.args.extra).replay.min_size + 1000
            arguments += ["--total-steps", str(steps), "--learner.eager-first", "0"]  # so that it waits for the compiled graph
        more = {"TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor")} if self.args.warm else {}
        command = [sys.executable, "-P", "-m", "manyhands", "train", *arguments, "--runs", str(root / "runs")]
        child = Child(command, root / "log", self.args.cores, **more)
        try:
            ended = child.wait(limit_s)
        finally:
            child.end()
        return ours_outcome(root / "runs", child.began, ended, tail(root / "log"), limit_s)

    def sb3(self, mode: str, seed: int, limit_s: float) -> dict[str, Any]:
        settings = sb3_settings(run_config(self.args.preset, mode, seed, self.args.extra), shipped=self.args.shipped)
        return sb3_outcome(*self.train_sb3(settings, self.result["choice"], limit_s), limit_s)

    def train_sb3(self, settings: dict[str, Any], choice: dict[str, Any], limit_s: float) -> tuple[Path, float, dict[str, Any], str]:
        root = Path(tempfile.mkdtemp(prefix="sb3-", dir=self.folder))
        write_json(root / "settings.json", settings | choice)
        script = str(ROOT / "bench" / "e2e_sb3.py")
        command = [str(self.python), "-P", script, str(root / "settings.json"), str(root / "events.jsonl")]
        child = Child(command, root / "log", self.args.cores)
        try:
            ended = child.wait(limit_s)
        finally:
            child.end()
        return root / "events.jsonl", child.began, ended, tail(root / "log")

    def probe(self) -> None:
        """A short training by every kind of vector and number of threads; the one with the least expected seconds runs the bench."""
        every = self.result["about"]["sb3"]["evaluation"]["every_steps"]
        for vector in VECTORS:
            for threads in range(1, self.args.cores + 1):
                choice = {"vector": vector, "threads": threads}
                settings = sb3_settings(run_config(self.args.preset, "varied", 0, self.args.extra), shipped=self.args.shipped)
                settings |= {"learning_starts": PROBE_WARM_UP, "probe_steps": PROBE_STEPS}
                found = probe_outcome(*self.train_sb3(settings, choice, PROBE_LIMIT_S), PROBE_STEPS, every)
                self.result["probe"].append(choice | found)
                print(f"probe {choice}: {found}", flush=True)
                self.write()
        done = [p for p in self.result["probe"] if "expected_s" in p]
        if not done:
            raise SystemExit(f"no probe of SB3 came through: {self.result['probe']}")
        best = min(done, key=lambda p: p["expected_s"])
        self.result["choice"] = {name: best[name] for name in ("vector", "threads")}

    def write(self) -> None:
        self.result["about"]["load_after"] = os.getloadavg()[0]
        write_json(self.path, self.result)
        write(self.path.with_suffix(".md"), markdown(self.result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="reach-sac")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--limit-s", type=float, default=150.0, help="longest run; SB3's is longer where manyhands took long itself")
    parser.add_argument("--minutes", type=float, default=35.0, help="what does not fit is not run, and reported so")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--equal", action="store_true", help="1-step returns on both sides; results in end_to_end_1step.*")
    parser.add_argument("--shipped", action="store_true", help="SB3 by its defaults, same network and ratio: end_to_end_shipped.*")
    parser.add_argument("--warm", action="store_true", help="from its second run on manyhands finds its compiled graph in a cache")
    parser.add_argument("--sb3", default="", metavar="KIND,THREADS", help="no probe: e.g. dummy,1 or fork,2")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the results hold")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("extra", nargs="*", help="after --: further options of `manyhands train`, for both sides where SB3 has them")
    args = parser.parse_args()
    if args.sb3 and not re.fullmatch(rf"({'|'.join(VECTORS)}),\d+", args.sb3):
        parser.error(f"--sb3 is {args.sb3!r}; {' or '.join(VECTORS)}, a comma and a number of threads")
    args.extra += ["--algo.n-step", "1"] if args.equal else []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that children are ended, too
    adopt_orphans()
    print("peers: installing what is missing", flush=True)
    python = ensure(VENV, PEERS)
    with tempfile.TemporaryDirectory(prefix="manyhands-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(args, python, Path(folder))
        bench.run()
    bench.write()
    print(f"results: {bench.path.with_suffix('.md')}", flush=True)


if __name__ == "__main__":
    main()

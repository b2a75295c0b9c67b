"""Success of SAC on each task of MT10 by itself, against SB3's at the same env steps: ``python bench/single_task.py``.

Both sides train with the settings of one RunConfig (``e2e_settings``) on the same simulators, seeds and goals, and play the same evaluation
episodes. Two runs at a time, one core each. Results are written after every run: bench/results/single_task.{md,json}; ``--resume`` goes on.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, VENV, child_env, cores, describe, tail, write, write_json
from _peers import ensure
from e2e_settings import not_carried, sb3_settings
from end_to_end import PEERS
from single_outcome import SIDES, markdown, ours_curve, sb3_curve, summary

from manyhands.arguments import parse_train
from manyhands.config import RunConfig
from protocols.metaworld import MT10

PRESET = "reach-sac"
GOALS = 50
"""the whole frozen split, for training and evaluation alike"""
LEAD_STEPS = 400
"""far below the preset's: the final policy of either side has had (almost) all updates that its env steps entitle to"""
Job = tuple[str, str, int]
"""task, side, seed"""


def train_arguments(args: argparse.Namespace, task: str, seed: int) -> list[str]:
    """The command line of ``manyhands train`` but for the folder of the runs. What it does not name is the preset's."""
    return [
        *(PRESET, "--tasks", f"metaworld:{task}", "--seed", str(seed), "--simulator.goals", str(GOALS)),
        *(
            "--total-steps",
            str(steps_of(args, task)),
            "--replay.updates-per-step",
            str(args.ratio),
            "--replay.max-lead-steps",
            str(LEAD_STEPS),
        ),
        *("--algo.hidden", "256", "256", "--evaluation.every-steps", str(args.every), "--evaluation.episodes", str(args.episodes)),
        *("--evaluation.target-success", "0", "--checkpoint.every-s", "600"),
    ]


def steps_of(args: argparse.Namespace, task: str) -> int:
    return args.short_steps if task in args.short else args.steps


def run_config(args: argparse.Namespace, task: str, seed: int) -> RunConfig:
    return parse_train(train_arguments(args, task, seed)).config


def identity(run: dict[str, Any]) -> Job:
    return run["task"], run["side"], run["seed"]


class Bench:
    """The whole run: a queue of jobs, and a thread per core that takes them in turn."""

    def __init__(self, args: argparse.Namespace, python: Path, folder: Path) -> None:
        self.args, self.python, self.folder = args, python, folder
        self.end = time.monotonic() + 60 * args.minutes
        self.path = args.out / "single_task.json"
        self.lock = threading.Lock()
        config = run_config(args, MT10[0], 0)
        derived = json.loads(json.dumps(sb3_settings(config)))
        told = {name: derived[name] for name in ("algo", "train_freq", "gradient_steps", "buffer_size", "learning_starts")}
        ours = " ".join(["manyhands train", *train_arguments(args, "TASK", 0)]).replace("--seed 0", "--seed SEED")
        ours = ours.replace(f"--total-steps {args.steps}", "--total-steps STEPS")
        self.key = {"ours": ours, "sb3": told, "simulators": len(derived["simulators"])}
        command = " ".join(["python bench/single_task.py", *sys.argv[1:]])
        about = {"command": command, **describe(), "peers": PEERS, **self.key, "not_carried": not_carried(config)}
        about |= {"steps": args.steps, "every": args.every, "episodes": args.episodes, "goals": GOALS, "notes": []}
        self.result: dict[str, Any] = {"about": about, "runs": []}
        if args.resume and self.path.exists():
            self.take_up(json.loads(self.path.read_text()))

    def take_up(self, before: dict[str, Any]) -> None:
        if {name: before["about"][name] for name in self.key} != self.key:
            raise SystemExit(f"{self.path} is of other settings; run without --resume to begin anew")
        self.result["runs"] = [run for run in before["runs"] if not run["error"]]
        self.result["about"]["command"] = f"{before['about']['command']}`, then `{self.result['about']['command']}"
        self.result["about"]["notes"] = before["about"]["notes"]
        print(f"going on after {len(self.result['runs'])} runs", flush=True)

    def run(self) -> None:
        known = {identity(run) for run in self.result["runs"] if run["curve"][-1]["steps"] >= steps_of(self.args, run["task"])}
        jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in ((task, side, seed) for seed in self.args.seeds for task in self.args.tasks for side in SIDES):
            if job not in known:
                jobs.put(job)
        threads = [threading.Thread(target=self.work, args=(jobs, core)) for core in sorted(cores(len(SIDES)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def work(self, jobs: "queue.SimpleQueue[Job]", core: int) -> None:
        """Takes jobs until there are none left, or no time to begin one."""
        while True:
            try:
                task, side, seed = job = jobs.get_nowait()
            except queue.Empty:
                return
            if time.monotonic() > self.end:
                print(f"{job}: not run, --minutes are over", flush=True)
                continue
            run = (self.ours if side == SIDES[0] else self.sb3)(task, seed, core)
            with self.lock:
                self.result["runs"] = [old for old in self.result["runs"] if identity(old) != job or run["error"]]  # it was shorter
                self.result["runs"].append({"task": task, "side": side, "seed": seed, **run})
                self.write()
                print(f"{time.strftime('%H:%M:%S')} {summary(self.result['runs'][-1])}", flush=True)

    def ours(self, task: str, seed: int, core: int) -> dict[str, Any]:
        """The real command line; the compiler's cache is kept, for no time is judged here."""
        root = Path(tempfile.mkdtemp(prefix=f"ours-{task}-", dir=self.folder))
        arguments = [*train_arguments(self.args, task, seed), "--runs", str(root / "runs")]
        command = [sys.executable, "-P", "-m", "manyhands", "train", *arguments]
        env = child_env(TORCHINDUCTOR_CACHE_DIR=str(VENV / "inductor"))
        return self.child(task, command, root / "log", core, env, partial(ours_curve, root / "runs", self.args.every))

    def sb3(self, task: str, seed: int, core: int) -> dict[str, Any]:
        root = Path(tempfile.mkdtemp(prefix=f"sb3-{task}-", dir=self.folder))
        settings = sb3_settings(run_config(self.args, task, seed))
        settings |= {"vector": "dummy", "threads": 1, "total_steps": steps_of(self.args, task)}
        write_json(root / "settings.json", settings)
        script, events = ROOT / "bench" / "e2e_sb3.py", root / "events.jsonl"
        command = [str(self.python), "-P", str(script), str(root / "settings.json"), str(events)]
        return self.child(task, command, root / "log", core, child_env(), partial(sb3_curve, events))

    def child(self, task: str, command: list[str], log: Path, core: int, env: dict[str, str], read: Any) -> dict[str, Any]:
        """One training to its end on one core, politely. ``read`` finds its evaluations."""
        began = time.monotonic()
        with log.open("wb") as file:
            command = ["nice", "-n", "10", "taskset", "-c", str(core), *command]
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, cwd=log.parent, check=False
            ).returncode
        curve = read()
        whole = code == 0 and curve and curve[-1]["steps"] >= steps_of(self.args, task)
        error = "" if whole else f"code {code}: {tail(log)}"
        return {"wall_s": round(time.monotonic() - began, 1), "curve": curve, "error": error}

    def write(self) -> None:
        self.result["about"]["load_after"] = os.getloadavg()[0]
        write_json(self.path, self.result)
        write(self.path.with_suffix(".md"), markdown(self.result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(MT10), choices=list(MT10), metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=100_000, help="env steps of a run, a multiple of 32")
    parser.add_argument("--short", nargs="+", default=[], choices=list(MT10), metavar="TASK", help="these have --short-steps")
    parser.add_argument(
        "--short-steps", type=int, default=25_000, help="for when time is short; --resume without --short repeats them whole"
    )
    parser.add_argument("--every", type=int, default=25_000, help="env steps between evaluations")
    parser.add_argument("--episodes", type=int, default=20, help="per evaluation")
    parser.add_argument(
        "--ratio", type=float, default=1 / 8, help="updates per env step; times 32 a whole number, so that SB3 can do it evenly"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="no run begins later")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the results hold")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    print("peers: installing what is missing", flush=True)
    python = ensure(VENV, PEERS)
    with tempfile.TemporaryDirectory(prefix="manyhands-single-", ignore_cleanup_errors=True) as folder:
        bench = Bench(args, python, Path(folder))
        bench.run()
    bench.write()
    print(f"results: {bench.path.with_suffix('.md')}", flush=True)


if __name__ == "__main__":
    main()

"""C2F-ARM on real RLBench data without the simulator: learned from demonstrations 0 to 3 of each task, judged on demonstration 4.

Judged is the greedy action at the first observation and at each keyframe's, against the next keyframe: its place within one voxel of the
last depth (1.9 cm, the distance), its rotation within 15 degrees, its gripper. The baseline knows no image: the mean over the training
demonstrations of the place of the keyframe with the same number, and their most frequent rotation and gripper.

    python bench/rlbench_demos.py --data FOLDER                       each task by itself, 3 seeds
    python bench/rlbench_demos.py --data FOLDER --multi               one network for all tasks (MT-C2F-ARM)

Each (task, seed) is a process; what is done is kept in ``--work``, so that the command goes on where it was stopped. Writes
bench/results/rlbench_demos.{json,md}, or rlbench_demos_multi.{json,md}.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np

from bench._machine import RESULTS, command_line, describe, tail, write, write_json
from core.demos import Demo, chains

TASKS = ("reach_target", "push_button", "pick_up_cup", "pick_and_lift", "take_lid_off_saucepan", "phone_on_base", "put_rubbish_in_bin")
TASKS += ("lamp_on", "stack_wine", "open_door")
TRAINING, TEST = range(4), 4
NEAR_M, TURN_DEG = 0.3 / 16, 15.0


class Goal(NamedTuple):
    """One keyframe of the test demonstration."""

    at: int
    """which observation is acted on"""
    step: int
    """keyframes gone to before"""
    pose: np.ndarray
    opened: bool


def goals_of(demo: Demo) -> list[Goal]:
    """From the first observation and from each keyframe on."""
    whole = chains(demo)[0]
    return [Goal(int(whole.at[i]), i, whole.poses[i], bool(whole.opened[i] > 0.5)) for i in range(len(whole.reward))]


def angle_deg(one: np.ndarray, other: np.ndarray) -> float:
    """Between two rotations, quaternions (4,) of length 1."""
    return float(np.degrees(2 * np.arccos(np.clip(abs(np.dot(one, other)), 0, 1))))


def right(position: np.ndarray, quaternion: np.ndarray, opened: bool, goal: Goal) -> dict[str, bool]:
    """What of a next pose is right."""
    found = {
        "place": bool(np.linalg.norm(position - goal.pose[:3]) <= NEAR_M),
        "rotation": angle_deg(quaternion, goal.pose[3:] / np.linalg.norm(goal.pose[3:])) <= TURN_DEG,
        "gripper": opened == goal.opened,
    }
    return {**found, "all": all(found.values())}


def baseline(training: Sequence[Demo], test: Demo) -> list[dict[str, bool]]:
    """Of someone who looks at nothing."""
    known, told = [goals_of(demo) for demo in training], []
    for goal in goals_of(test):
        like = [goals[min(goal.step, len(goals) - 1)] for goals in known]
        turns = [one.pose[3:] for one in like]
        middle = min(turns, key=lambda turn: sum(angle_deg(turn, other) for other in turns))
        opened = sum(one.opened for one in like) * 2 > len(like)
        told.append(right(np.mean([one.pose[:3] for one in like], 0), middle, opened, goal))
    return told


def train(args: argparse.Namespace) -> None:
    """One process: one seed of one task, or of all."""
    import torch

    from algos import c2farm
    from core.rows import row_dtype
    from manyhands.demos import rlbench
    from replay.demos import demo_ring
    from replay.ring import Ring
    from replay.sampler import Sampler
    from replay.windows import rows_read

    torch.set_num_threads(args.threads)
    tasks = args.tasks
    demos = [[rlbench.read(args.data / f"{task}.{i}.npz") for i in (*TRAINING, TEST)] for task in tasks]
    spec = rlbench.spec(tasks[0], demos[0][0].observations["front_rgb"].shape[1])
    settings: dict[str, Any] = {"voxels": args.voxels, "reach": tuple(args.reach), "channels": args.channels, "room": 1024}
    settings |= {
        "batch_size": max(1, args.batch // len(tasks)),
        "shift": args.shift,
        "turn": args.turn,
        "lr": args.lr,
        "n_step": args.n_step,
    }
    algorithm = c2farm.make(c2farm.Config(**settings, demo_copies=args.copies, priority=0.0, demos=1.0), spec, len(tasks))
    rng = np.random.default_rng(args.seed)
    found = [[chain for demo in own[:-1] for chain in algorithm.encode_demo(demo, rng)] for own in demos]
    dtype, window = row_dtype(spec, algorithm.fields(), algorithm.encoded()), rows_read(row_dtype(spec), algorithm.plan)
    name = f"bench-rlbench-{args.out.stem}"
    shown = demo_ring(name, dtype, found, window=window)
    empty = Ring.create(name, dtype, tasks=len(tasks), capacity=window + 1, writers=1, window=window)
    try:
        sampler = Sampler(empty, range(len(tasks)), algorithm.plan, args.seed, demos=shown)
        state, curve, began = algorithm.init([args.seed]), [], time.monotonic()
        generator = torch.Generator().manual_seed(args.seed)
        for update in range(1, args.updates + 1):
            batch = sampler.draw()
            batch = type(batch)(*(_lead(part) for part in batch))
            algorithm.update(state, batch, algorithm.noise(state, [generator]))
            if update % args.every == 0 or update == args.updates:
                params = {key: leaf[0].numpy() for key, leaf in algorithm.policy(state).items()}
                judged = {task: judge(algorithm, params, own[-1]) for task, own in zip(tasks, demos, strict=True)}
                trained = {task: judge(algorithm, params, own[0]) for task, own in zip(tasks, demos, strict=True)}
                curve.append({"update": update, "seconds": time.monotonic() - began, "test": judged, "train": trained})
                print(update, {task: share(one, "all") for task, one in judged.items()}, flush=True)
    finally:
        for ring in (shown, empty):
            ring.unlink()
    known = {task: baseline(own[:-1], own[-1]) for task, own in zip(tasks, demos, strict=True)}
    write_json(args.out, {"tasks": tasks, "seed": args.seed, "curve": curve, "baseline": known})


def _lead(part: Any) -> Any:
    """With the axis of seeds in front."""
    if isinstance(part, dict):
        return {name: value[None] for name, value in part.items()}
    return part if isinstance(part, tuple) else part[None]


def judge(algorithm: Any, params: dict[str, np.ndarray], demo: Demo) -> list[dict[str, bool]]:
    """Of each keyframe what the greedy action has right."""
    from core.poses import target_of, time_left
    from core.seen import Watch

    goals, told = goals_of(demo), []
    for goal in goals:
        shown = {name: values[goal.at][None] for name, values in demo.observations.items()}
        shown["obs"] = shown["obs"].copy()
        shown["obs"][0, -1] = time_left(goal.step, algorithm.keeps.horizon)
        action, _, _ = algorithm.act(params, None, Watch([0], algorithm.action_dim).seen(shown), None)
        target = target_of(algorithm.keyframes, action[0])
        assert target.quaternion is not None  # the arm can turn its hand
        told.append(right(target.position, target.quaternion, target.open, goal))
    return told


def share(judged: Sequence[dict[str, bool]], what: str) -> float:
    return float(np.mean([one[what] for one in judged]))


def page(runs: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table: means over seeds, and what the baseline has."""
    tasks = [task for task in TASKS if any(task in run["tasks"] for run in runs)]
    head = "| task | keyframes | place | rotation | gripper | all (each seed) | baseline: place | all |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    totals: list[tuple[float, float]] = []
    for task in tasks:
        ends = [run["curve"][-1]["test"][task] for run in runs if task in run["tasks"]]
        known = next(run["baseline"][task] for run in runs if task in run["tasks"])
        cells = [f"{100 * np.mean([share(end, what) for end in ends]):.0f} %" for what in ("place", "rotation", "gripper")]
        each = ", ".join(f"{100 * share(end, 'all'):.0f}" for end in ends)
        whole = float(np.mean([share(end, "all") for end in ends]))
        totals.append((whole, share(known, "all")))
        cells += [f"**{100 * whole:.0f} %** ({each})", f"{100 * share(known, 'place'):.0f} %", f"{100 * share(known, 'all'):.0f} %"]
        lines.append(f"| {task} | {len(known)} | {' | '.join(cells)} |")
    ours, theirs = np.mean(totals, 0)
    lines.append(f"| mean over tasks | | | | | **{100 * ours:.0f} %** | | {100 * theirs:.0f} % |")
    marks = [point["update"] for point in runs[0]["curve"]]
    rows = [
        f"| {mark} | " + " | ".join(f"{100 * np.mean([_mean(run, i, side) for run in runs]):.0f} %" for side in ("test", "train")) + " |"
        for i, mark in enumerate(marks)
    ]
    curve = ["| updates | test demonstration | a training demonstration |", "|---|---|---|", *rows]
    intro = (__doc__ or "").split("\n\n")[1]
    facts = f"`{about['command']}`; {about['machine']}; {about['when']}"
    return "\n".join(
        [
            f"# {about['title']}",
            "",
            intro,
            "",
            facts,
            "",
            about["settings"],
            "",
            *lines,
            "",
            "All right, mean over tasks and seeds:",
            "",
            *curve,
            "",
        ]
    )


def _mean(run: dict[str, Any], point: int, side: str) -> float:
    return float(np.mean([share(judged, "all") for judged in run["curve"][point][side].values()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with TASK.NUMBER.npz")
    parser.add_argument("--multi", action="store_true")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/rlbench_demos"))
    for name, default in {
        "updates": 1000,
        "batch": 32,
        "voxels": 8,
        "channels": 32,
        "copies": 8,
        "n-step": 10,
        "threads": 1,
        "every": 200,
        "at-once": 2,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"shift": 0.25, "lr": 5e-4}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--turn", type=int, default=0)
    parser.add_argument("--reach", type=float, nargs="*", default=[0.15, 0.05])
    parser.add_argument("--seed", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.seed >= 0:
        train(args)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    groups = [args.tasks] if args.multi else [[task] for task in args.tasks]
    outs = run_all(args, [(group, seed) for seed in args.seeds for group in groups])
    runs = [json.loads(out.read_text()) for out in outs]
    title = "MT-C2F-ARM on ten RLBench tasks" if args.multi else "C2F-ARM on RLBench tasks, each by itself"
    settings = f"{args.updates} updates of {args.batch} rows, {1 + len(args.reach)} depths of {args.voxels} voxels (reach "
    settings += f"{', '.join(map(str, args.reach))} m), {args.channels} channels, {args.copies} copies of each chain, shift {args.shift}, "
    settings += f"turn {args.turn} degrees, step size {args.lr}, returns of {args.n_step} steps, no online data."
    about = {"title": title, "command": command_line("rlbench_demos"), "settings": settings, **describe()}
    stem = "rlbench_demos_multi" if args.multi else "rlbench_demos"
    write_json(RESULTS / f"{stem}.json", {"about": about, "runs": runs})
    write(RESULTS / f"{stem}.md", page(runs, about))


def run_all(args: argparse.Namespace, jobs: Sequence[tuple[list[str], int]]) -> list[Path]:
    """All processes, a few at once; what has a result already is left out."""
    kept = ("updates", "batch", "voxels", "channels", "copies", "n-step", "threads", "every", "shift", "lr", "turn")
    outs, left, going = [], [], dict[Path, subprocess.Popen]()
    for group, seed in jobs:
        out = args.work / f"{'all' if len(group) > 1 else group[0]}-{seed}.json"
        outs.append(out)
        if not out.exists():
            options = [word for name in kept for word in (f"--{name}", str(getattr(args, name.replace("-", "_"))))]
            options += ["--reach", *map(str, args.reach)]
            left.append((out, [*options, "--data", str(args.data), "--seed", str(seed), "--out", str(out), "--tasks", *group]))
    while left or going:
        while left and len(going) < args.at_once:
            out, words = left.pop(0)
            with out.with_suffix(".log").open("w") as log:
                going[out] = subprocess.Popen([sys.executable, __file__, *words], stdout=log, stderr=log)
        for out, process in list(going.items()):
            if process.poll() is None:
                continue
            del going[out]
            if process.returncode:
                raise SystemExit(f"{out.stem} failed:\n{tail(out.with_suffix('.log'))}")
            print(f"{out.stem} done, {len(left) + len(going)} to go", flush=True)
        time.sleep(1)
    return outs


if __name__ == "__main__":
    main()

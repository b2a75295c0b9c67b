"""A held-out task from 0, 1, 2 demonstrations, after pre-training on others or from nothing: Figure 2 of Mandi et al. 2022 for one split.

    python bench/held_out.py --pretrain mt=vision-faucet-open-mt reptile=vision-faucet-open-reptile --context \\
        pearl=vision-faucet-open-pearl --task metaworld_vision:faucet-open-v3 --held-out --name held_out_faucet_open
    python bench/held_out.py --pretrain mt=mt3-c2farm-small --task metaworld_vision:button-press-topdown-v3 --demos 0 1 \\
        --steps 0 50 100 200 --name held_out_small

The first is for a GPU. Each call goes on for ``--minutes`` at most where the last one was stopped, and writes bench/results/NAME.{md,json}
from what there is. Of every pre-trained run the task is learned by `manyhands finetune`, and by `--method scratch` without it; runs of
``--context`` only infer it, without a gradient (`manyhands adapt --method context`).
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np
from _machine import RESULTS, command_line, describe, write, write_json
from mt10_full import piece

from manyhands.registry import Registry

SCRATCH = "scratch"


class Job(NamedTuple):
    """One curve: a method, a number of demonstrations, a seed."""

    method: str
    preset: str
    """that was trained before, or from whose settings ``scratch`` begins"""
    demos: int
    seed: int
    context: bool

    @property
    def stem(self) -> str:
        return f"{self.method}-demos-{self.demos}-seed-{self.seed}"


def named(pairs: list[str]) -> dict[str, str]:
    """``mt=vision-faucet-open-mt`` -> name and preset."""
    if odd := [pair for pair in pairs if pair.count("=") != 1]:
        raise SystemExit(f"{odd[0]!r} is not NAME=PRESET, for example mt=mt3-c2farm-small")
    return dict(pair.split("=") for pair in pairs)


def jobs(args: argparse.Namespace) -> list[Job]:
    """Scratch begins from the settings of the first preset."""
    learned, inferred = named(args.pretrain), named(args.context)
    first = next(iter(learned.values()))
    curves = [Job(SCRATCH, first, d, s, False) for s in args.seeds for d in args.demos]
    curves += [Job(m, p, d, s, False) for s in args.seeds for m, p in learned.items() for d in args.demos]
    return curves + [Job(m, p, d, s, True) for s in args.seeds for m, p in inferred.items() for d in args.demos]


def trained(preset: str, seed: int, runs: Path, left_s: float) -> Any:
    """The pre-trained run, which is begun or goes on; None where the time did not suffice."""

    def found() -> Any:
        return next((row for row in Registry(runs).list() if row.preset == preset and row.seed == str(seed)), None)

    row = found()
    if row is None or row.status != "finished":
        command = ["train", preset, "--seed", str(seed)] if row is None else ["resume", row.id]
        piece([*command, "--runs", str(runs)], left_s / 60)
    row = found()
    return row if row is not None and row.status == "finished" else None


def played(job: Job, run: str, args: argparse.Namespace, out: Path, left_s: float) -> None:
    """The held-out task, learned or inferred; its episodes in ``out``, all or none."""
    temporary = out.with_suffix(".part")
    command = ["adapt" if job.context else "finetune", run, "--runs", str(args.runs), "--tasks", args.task, "--demos", str(job.demos)]
    if job.context:
        command += ["--method", "context", "--goals", str(args.episodes), "--seed", str(job.seed)]
    else:
        command += ["--method", SCRATCH if job.method == SCRATCH else "all", "--steps", *map(str, args.steps), "--seeds", str(job.seed)]
        command += ["--episodes", str(args.episodes)]
        if job.demos and args.head_start is not None:
            command += ["--head-start", str(args.head_start)]
    if args.held_out:
        command.append("--held-out")
    if piece([*command, "--out", str(temporary)], left_s / 60) == 0:
        temporary.replace(out)


def curve(job: Job, rows: list[dict[str, Any]]) -> dict[int, float]:
    """Success at any step over env steps of the task; of an inferred one over adaptation episodes."""
    at: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        if not job.context:
            at[row["settings"]["env_steps"]].append(row["success_any"])
        elif row["look"]:
            at[row["adapted_episodes"]].append(row["success_any"])
    return {point: float(np.mean(flags)) for point, flags in sorted(at.items())}


def page(found: dict[Job, dict[int, float]], args: argparse.Namespace, missing: int) -> str:
    """A line per method and number of demonstrations; each cell has the mean over seeds, and every seed."""
    lines = [f"# {args.task.partition(':')[2]} from few demonstrations, learned on other tasks before or not", ""]
    about = describe()
    lines += [f"`{command_line('held_out')}`; {about['machine']}; {about['when']}. {len(args.seeds)} seeds; {missing} curves missing.", ""]
    lines += [f"Success at any step of {args.episodes} episodes, on goals that were not trained on. Mean over seeds (each seed), in %.", ""]
    for context, what in ((False, "env steps of the task"), (True, "adaptation episodes")):
        mine = {job: points for job, points in found.items() if job.context == context}
        if not mine:
            continue
        marks = sorted({point for points in mine.values() for point in points})
        lines += [f"| method | demonstrations | {' | '.join(f'{mark:,}' for mark in marks)} |", "|---|---|" + "---|" * len(marks)]
        for method, demos in dict.fromkeys((job.method, job.demos) for job in mine):
            cells = []
            for mark in marks:
                each = [points[mark] for job, points in mine.items() if (job.method, job.demos) == (method, demos) and mark in points]
                cells.append(f"**{100 * np.mean(each):.0f}** ({', '.join(f'{100 * one:.0f}' for one in each)})" if each else "-")
            lines.append(f"| {method} | {demos} | {' | '.join(cells)} |")
        lines += ["", f"Columns are {what}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrain", nargs="+", required=True, metavar="NAME=PRESET", help="learned on, by gradients")
    parser.add_argument("--context", nargs="*", default=[], metavar="NAME=PRESET", help="only infer the task")
    parser.add_argument("--task", required=True, help="metaworld_vision:faucet-open-v3")
    parser.add_argument("--demos", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 100, 500, 2000])
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--head-start", type=int, default=None, help="updates on the demonstrations before the first env step")
    parser.add_argument("--held-out", action="store_true", help="judged on the simulator's frozen test goals")
    parser.add_argument("--minutes", type=float, default=600.0, help="of this call")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "held_out")
    parser.add_argument("--name", default="held_out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.runs, end = args.runs.absolute(), time.monotonic() + 60 * args.minutes
    folder, wanted = args.runs / args.name, jobs(args)
    folder.mkdir(parents=True, exist_ok=True)
    for job in wanted:
        out = folder / f"{job.stem}.jsonl"
        if out.exists() or time.monotonic() > end:
            continue
        row = trained(job.preset, job.seed, args.runs, end - time.monotonic())
        if row is not None and time.monotonic() < end:
            played(job, row.id, args, out, end - time.monotonic())
    files = {job: folder / f"{job.stem}.jsonl" for job in wanted}
    found = {job: curve(job, [json.loads(line) for line in file.read_text().splitlines()]) for job, file in files.items() if file.exists()}
    write_json(args.out / f"{args.name}.json", [{**job._asdict(), "curve": points} for job, points in found.items()])
    write(args.out / f"{args.name}.md", page(found, args, len(wanted) - len(found)))
    print(f"{len(found)} of {len(wanted)} curves; results: {args.out / args.name}.md")


if __name__ == "__main__":
    main()

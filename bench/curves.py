"""Learning curves of runs, seeds of one preset: ``python bench/curves.py RUN [RUN ...] --name mt10_small``.

Reads what the runs left (config.json, metrics.jsonl, result.json) and writes bench/results/NAME.{md,json,png}: success over env steps
with every seed, the per-task table, wall clock, settings. Nothing is trained here; the runs' own command is told in the result.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, describe, write, write_json

from protocols.statistics import wilson_interval


def read_run(folder: Path) -> dict[str, Any]:
    """What is needed of one run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines if "eval/success_any" in row]
    if not rows or not json.loads((folder / "config.json").read_text())["evaluation"]["every_steps"]:
        raise SystemExit(f"{folder} has no evaluations along the way, which are its curve")
    result = folder / "result.json"
    began, config = lines[0]["time"], json.loads((folder / "config.json").read_text())
    last = [row for row in lines if "time/elapsed_s" in row][-1]
    return {
        "run": folder.name,
        "seed": config["seed"],
        "config": config,
        "began": began,
        "elapsed_s": last["time/elapsed_s"],
        "steps": last["step"],
        "updates": last["learner/updates"],
        "curve": [{k: row[k] for k in row if k.startswith("eval/") or k in ("step", "time")} for row in rows],
        "result": json.loads(result.read_text()) if result.exists() else None,
    }


def at_grid(runs: list[dict[str, Any]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """(T,) env steps at which all runs were to be evaluated, and (S, T) values. A policy may be a few steps older than its mark; one that
    is evaluated at the run's end, between two marks, is left out."""
    every = runs[0]["config"]["evaluation"]["every_steps"]
    by_mark = [{row.get("eval/policy_step", row["step"]) // every * every: row[column] for row in reversed(run["curve"])} for run in runs]
    marks = sorted(set.intersection(*(set(one) for one in by_mark)))
    return np.array(marks), np.array([[one[mark] for mark in marks] for one in by_mark])


def task_columns(runs: list[dict[str, Any]]) -> list[str]:
    names = [name.split("/")[1] for name in runs[0]["curve"][0] if name.count("/") == 2 and name.endswith("/success_any")]
    return sorted(names)


def curve_lines(runs: list[dict[str, Any]]) -> list[str]:
    steps, any_ = at_grid(runs, "eval/success_any")
    _, last = at_grid(runs, "eval/success_last")
    seeds = [str(run["seed"]) for run in runs]
    lines = [
        "| env steps | " + " | ".join(f"any, seed {s}" for s in seeds) + " | any, mean | last, mean |",
        "|---:" * (len(runs) + 3) + "|",
    ]
    for t, step in enumerate(steps):
        cells = " | ".join(f"{v:.1%}" for v in any_[:, t])
        lines.append(f"| {step:,} | {cells} | {any_[:, t].mean():.1%} | {last[:, t].mean():.1%} |")
    return lines


def task_lines(runs: list[dict[str, Any]]) -> list[str]:
    """The last evaluation of every seed, episodes together."""
    done = [run["result"]["tasks"] for run in runs if run["result"]]
    if not done:
        return ["No run has finished."]
    lines = ["| task | episodes | any | 95 % | last | 95 % | return | any, each seed |", "|---|---:|---:|---:|---:|---:|---:|---|"]
    for task in done[0]:
        parts = [one[task] for one in done]
        cells = []
        for name in ("success_any", "success_last"):
            flat = [bool(v) for part in parts for v in part[name]]
            low, high = wilson_interval(sum(flat), len(flat))
            cells.append(f"{np.mean(flat):.0%} | {100 * low:.0f}-{100 * high:.0f}")
        returns = np.mean([v for part in parts for v in part["return"]])
        each = " ".join(f"{np.mean(part['success_any']):.0%}" for part in parts)
        lines.append(f"| {task.partition(':')[2]} | {len(flat)} | {cells[0]} | {cells[1]} | {returns:.0f} | {each} |")
    means = [[np.mean([np.mean(one[t][name]) for t in one]) for one in done] for name in ("success_any", "success_last")]
    lines.append(
        f"| **mean over tasks** | | **{np.mean(means[0]):.1%}** | | **{np.mean(means[1]):.1%}** | | | "
        + " ".join(f"{m:.0%}" for m in means[0])
        + " |"
    )
    return lines


def told_settings(runs: list[dict[str, Any]]) -> list[str]:
    """What was run, and for how long."""
    config = runs[0]["config"]
    walls = "; ".join(
        f"seed {r['seed']}: {r['steps']:,} env steps, {r['updates']:,.0f} updates, {r['elapsed_s'] / 60:.1f} min" for r in runs
    )
    return [
        f"{len(config['tasks'])} tasks, {config['total_steps']:,} env steps.",
        f"Algorithm {config['algorithm']}: {', '.join(f'{k} {v}' for k, v in config['algo'].items())}.",
        f"Simulator: {', '.join(f'{k} {v}' for k, v in config['simulator'].items())}.",
        f"Wall clock of training: {walls}.",
    ]


def markdown(name: str, runs: list[dict[str, Any]], about: dict[str, Any], note: str) -> str:
    return "\n".join(
        [
            f"# Learning curve: {runs[0]['config']['preset']}",
            "",
            f"`{about['trained_by']}`, drawn by `{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}.",
            *([note] if note else []),
            "",
            *told_settings(runs),
            "",
            "Deterministic policy. any: a success at some step of the episode; last: at its last step; means over tasks.",
            "",
            *curve_lines(runs),
            "",
            "## At the end, task by task",
            "",
            "95 %: Wilson's interval over the episodes of all seeds together, which does not cover the spread between seeds.",
            "",
            *task_lines(runs),
            "",
            f"![success over env steps]({name}.png)",
            "",
        ]
    )


def draw(path: Path, runs: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for column, color in (("eval/success_any", "tab:blue"), ("eval/success_last", "tab:orange")):
        steps, values = at_grid(runs, column)
        for one in values:
            left.plot(steps, one, color=color, alpha=0.3, linewidth=1)
        left.plot(steps, values.mean(0), color=color, label=column.removeprefix("eval/success_") + ", mean of seeds")
    for task in task_columns(runs):
        steps, values = at_grid(runs, f"eval/{task}/success_any")
        right.plot(steps, values.mean(0), label=task, linewidth=1)
    for axis, title in ((left, "success, mean over tasks"), (right, "success any, by task")):
        axis.set(title=title, xlabel="env steps", ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
    left.legend()
    if len(task_columns(runs)) <= 12:
        right.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(name: str, folders: list[Path], out: Path, trained_by: str, note: str) -> None:
    runs = sorted((read_run(folder) for folder in folders), key=lambda run: run["seed"])
    about = {
        "command": " ".join(["python bench/curves.py", *(f.name for f in folders), "--name", name]),
        "trained_by": trained_by,
        **describe(),
    }
    write(out / f"{name}.md", markdown(name, runs, about, note))
    write_json(out / f"{name}.json", {"about": about, "runs": runs})
    draw(out / f"{name}.png", runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--name", required=True)
    parser.add_argument("--trained-by", required=True, help="the command that trained them")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    report(args.name, args.runs, args.out, args.trained_by, args.note)
    print(f"results: {args.out / args.name}.md")


if __name__ == "__main__":
    main()

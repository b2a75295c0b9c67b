"""Curves of runs that adapt, seeds of one preset: ``python bench/adaptation_curves.py RUN [RUN ...] --name ml1_reach_maml_small``.

Reads what the runs left, and the newest ``evaluations/adapt-*-PROTOCOL-*.jsonl`` of each, which ``manyhands adapt RUN --protocol PROTOCOL``
writes. Writes bench/results/NAME.{md,json,png}: success before and after adaptation over env steps of training, on its goals; and success
over adaptation episodes at the end, on goals held out. Nothing is trained or played here.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, describe, write, write_json
from curves import at_grid, read_run, told_settings

from protocols.rows import Results
from protocols.statistics import wilson_interval

MEASURES = {"any": "success_any", "last": "success_last"}
COLUMNS = {
    "before": "eval/zero_shot_any",
    "after": "eval/success_any",
    "return before": "eval/zero_shot_return",
    "return after": "eval/return",
}


def held_out(folder: Path, protocol: str) -> Results:
    """The newest trials of a run's last policy on a protocol."""
    files = sorted((folder / "evaluations").glob(f"adapt-*-{protocol}-*.jsonl"), key=lambda path: path.stat().st_mtime)
    last = [one for one in map(Results.read, files) if one.settings[one.tasks[0]]["checkpoint"] == "last"]
    if not last:
        raise SystemExit(f"{folder} has no trials on {protocol}. Fix: manyhands adapt {folder.name} --protocol {protocol}")
    return last[-1]


def curve_lines(runs: list[dict[str, Any]]) -> list[str]:
    """Means over seeds, and each seed's success after adaptation."""
    marks, _ = at_grid(runs, COLUMNS["after"])
    columns = {name: at_grid(runs, column)[1] for name, column in COLUMNS.items()}
    lines = [f"| env steps | any before | any after | after, seeds {' '.join(str(run['seed']) for run in runs)} | return before | after |"]
    lines.append("|" + "---:|" * 6)
    for t, mark in enumerate(marks):
        each = " ".join(f"{value:.0%}" for value in columns["after"][:, t])
        before, after, low, high = (columns[name][:, t].mean() for name in COLUMNS)
        lines.append(f"| {mark:,} | {before:.0%} | {after:.0%} | {each} | {low:.0f} | {high:.0f} |")
    return lines


def shares(results: Results, measure: str) -> list[float]:
    """After each look, the mean over tasks."""
    return [float(np.mean(list(results.after(n).means(measure).values()))) for n in results.looks]


def trial_lines(runs: list[dict[str, Any]], found: list[Results]) -> list[str]:
    """A line per seed and measure, and of all seeds together with an interval over trials."""
    looks = found[0].looks
    lines = ["| seed | success | " + " | ".join(f"after {n}" for n in looks) + " | gain |", "|---|---|" + "---:|" * (len(looks) + 1)]
    for label, measure in MEASURES.items():
        each = [shares(results, measure) for results in found]
        for run, values in zip(runs, each, strict=True):
            lines.append(
                f"| {run['seed']} | {label} | " + " | ".join(f"{v:.0%}" for v in values) + f" | {100 * (values[-1] - values[0]):+.0f} |"
            )
        flags = [np.concatenate([results.after(n).column(measure) for results in found]) for n in looks]
        cells = []
        for one in flags:
            low, high = wilson_interval(int(one.sum()), len(one))
            cells.append(f"**{one.mean():.0%}** ({100 * low:.0f}-{100 * high:.0f})")
        lines.append(f"| all | {label} | " + " | ".join(cells) + f" | **{100 * (flags[-1].mean() - flags[0].mean()):+.0f}** |")
    returns = [np.mean([np.mean(results.after(n).column("episode_return")) for results in found]) for n in looks]
    lines.append("| all | return | " + " | ".join(f"{value:.0f}" for value in returns) + f" | {returns[-1] - returns[0]:+.0f} |")
    return lines


def markdown(name: str, protocol: str, runs: list[dict[str, Any]], found: list[Results], about: dict[str, Any], note: str) -> str:
    told = found[0].settings[found[0].tasks[0]]
    return "\n".join(
        [
            f"# Adaptation: {runs[0]['config']['preset']}",
            "",
            f"`{about['trained_by']}`, then `manyhands adapt RUN --protocol {protocol}`, drawn by `{about['command']}`, {about['when']}.",
            f"{about['machine']}; Python {about['python']}.",
            *([note] if note else []),
            "",
            *told_settings(runs),
            "",
            f"## At the end, on the held-out goals of {protocol}",
            "",
            f"{len(found[0].after(0).rows)} trials of each seed, one per goal, episodes of {told['horizon']} steps. Looks without",
            "exploration after so many adaptation episodes; the one after 0 is the zero-shot control. In brackets Wilson's 95 % interval",
            "over trials.",
            "",
            *trial_lines(runs, found),
            "",
            "## During training, on its goals",
            "",
            f"Before and after {runs[0]['config']['evaluation']['adaptation']} adaptation episodes, means over seeds.",
            "",
            *curve_lines(runs),
            "",
            f"![success before and after adaptation]({name}.png)",
            "",
        ]
    )


def draw(path: Path, protocol: str, runs: list[dict[str, Any]], found: list[Results]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, color in (("before", "tab:gray"), ("after", "tab:blue")):
        marks, values = at_grid(runs, COLUMNS[name])
        for one in values:
            left.plot(marks, one, color=color, alpha=0.3, linewidth=1)
        left.plot(marks, values.mean(0), color=color, label=f"{name} adaptation, mean of seeds")
    for label, color in (("any", "tab:blue"), ("last", "tab:orange")):
        each = np.array([shares(results, MEASURES[label]) for results in found])
        for one in each:
            right.plot(found[0].looks, one, color=color, alpha=0.3, linewidth=1)
        right.plot(found[0].looks, each.mean(0), color=color, marker="o", label=f"{label}, mean of seeds")
    left.set(title="goals of training", xlabel="env steps", ylabel="success any", ylim=(-0.02, 1.02))
    right.set(title=f"held-out goals of {protocol}", xlabel="adaptation episodes", ylabel="success", ylim=(-0.02, 1.02))
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--name", required=True)
    parser.add_argument("--protocol", required=True, help="ml1-reach-v3, ml10, ...")
    parser.add_argument("--trained-by", required=True, help="the command that trained them")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    runs = sorted((read_run(folder) | {"folder": folder} for folder in args.runs), key=lambda run: run["seed"])
    found = [held_out(run.pop("folder"), args.protocol) for run in runs]
    if len({(one.looks, len(one.rows)) for one in found}) > 1:
        raise SystemExit("the seeds' trials differ in looks or number. Fix: manyhands adapt with the same options for each")
    command = " ".join(
        ["python bench/adaptation_curves.py", *(f.name for f in args.runs), "--name", args.name, "--protocol", args.protocol]
    )
    about = {"command": command, "trained_by": args.trained_by, **describe()}
    trials = [
        {"seed": run["seed"], "looks": one.looks, **{m: shares(one, m) for m in MEASURES.values()}}
        for run, one in zip(runs, found, strict=True)
    ]
    write(args.out / f"{args.name}.md", markdown(args.name, args.protocol, runs, found, about, args.note))
    write_json(args.out / f"{args.name}.json", {"about": about, "runs": runs, "trials": trials})
    draw(args.out / f"{args.name}.png", args.protocol, runs, found)
    print(f"results: {args.out / args.name}.md")


if __name__ == "__main__":
    main()

"""What the meta-learners have to learn on small problems: ``python bench/gates.py``, three seeds of a preset each, a bound to be met.

Every case is an ordinary run by the command line, its curve that of its own evaluations: deterministic policy, goals that training did not
meet. Results of cases that are not run again are kept. No times are judged.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, child_env, describe, write, write_json


@dataclass(frozen=True)
class Case:
    """A gate: ``column`` of the last evaluation, mean over seeds, is at least ``bound``."""

    preset: str
    bound: float
    reference: str
    """what is known of the problem"""
    options: tuple[str, ...] = ()
    column: str = "eval/return"
    control: str = ""
    """a column to be shown beside it"""


ZERO_SHOT = "eval/zero_shot_return"
CASES = {
    "bandit, 10 pulls": Case("bandit-rl2", 6.45, "best possible 6.66, greedy by counts 6.64, random 5.0"),
    "bandit, 100 pulls": Case("bandit-rl2-100", 76.5, "Gittins about 78.3, greedy by counts 75.95, Thompson 74.9, random 50"),
    "navigation, MAML-PPO": Case("navigation-maml", -5.0, "straight to the goal -0.55, standing still -8.02", control=ZERO_SHOT),
    "navigation, MAML-TRPO": Case(
        "navigation-maml", -5.0, "the same", ("--algo.outer", "trpo", "--total-steps", "240000"), control=ZERO_SHOT
    ),
    "navigation, first-order MAML": Case("navigation-maml", -5.0, "the same", ("--algo.first-order",), control=ZERO_SHOT),
}


def run_case(case: Case, seeds: str, runs: Path) -> dict[str, Any]:
    """Trains the seeds, as many at once as there are cores. Returns their curves."""
    command = ["manyhands", "train", case.preset, *case.options, "--seeds", seeds]
    subprocess.run([sys.executable, "-m", *command], env=child_env(MANYHANDS_RUNS=str(runs)), check=True, cwd=runs)
    curves = {}
    for folder in sorted(runs.glob("*/metrics.jsonl")):
        rows = [json.loads(line) for line in folder.read_text().splitlines()]
        seed = json.loads((folder.parent / "config.json").read_text())["seed"]
        kept = {row["eval/policy_step"]: row for row in rows if case.column in row}
        elapsed = max(row["time/elapsed_s"] for row in rows if "time/elapsed_s" in row)
        columns = [name for name in (case.column, case.control) if name]
        curves[str(seed)] = {"elapsed_s": elapsed, "curve": [[step, *(row[name] for name in columns)] for step, row in kept.items()]}
    return {"command": " ".join(command), "bound": case.bound, "reference": case.reference, "seeds": curves, **describe()}


def section(name: str, found: dict[str, Any]) -> list[str]:
    seeds = found["seeds"]
    last = [one["curve"][-1] for one in seeds.values()]
    value, met = np.mean([row[1] for row in last]), np.mean([row[1] for row in last]) >= found["bound"]
    control = f" Without adaptation {np.mean([row[2] for row in last]):.2f}." if len(last[0]) > 2 else ""
    steps = [row[0] for row in next(iter(seeds.values()))["curve"]]
    met = "met" if met else "**not met**"
    spent = [one["elapsed_s"] for one in seeds.values()]
    each = ", ".join(f"{row[1]:.2f}" for row in last)
    lines = [
        f"## {name}",
        "",
        f"`{found['command']}`; {found['reference']}.",
        f"At the end **{value:.2f}** (seeds {each}); bound {found['bound']}: {met}.{control}",
        f"{min(spent):.0f} to {max(spent):.0f} s of training.",
        "",
        "| env steps | " + " | ".join(f"seed {seed}" for seed in seeds) + " |",
        "|---:|" + "---:|" * len(seeds),
    ]
    for i, step in enumerate(steps):
        cells = [f"{one['curve'][i][1]:.2f}" if i < len(one["curve"]) else "" for one in seeds.values()]
        lines.append(f"| {step:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    file = options.out / "gates.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for name in options.only:
        with tempfile.TemporaryDirectory() as runs:
            found[name] = run_case(CASES[name], options.seeds, Path(runs))
        write_json(file, found)
        text = [
            "# Learning gates of the meta-learners",
            "",
            "By `python bench/gates.py`; machine and versions of each case are in gates.json.",
            "",
        ]
        for case in CASES:
            text += section(case, found[case]) if case in found else []
        write(options.out / "gates.md", "\n".join(text))


if __name__ == "__main__":
    main()

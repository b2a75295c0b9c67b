"""Meta-World's scripted experts on all test goals of MT50, as a table. ``python bench/expert_table.py``; 4 minutes on two cores.

Runs ``manyhands eval --policy scripted mt50`` and turns its rows into bench/results/expert_table.md (and .jsonl.gz, every episode).
"""

import argparse
import gzip
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, describe, write

from protocols.rows import Results, Summary


def line(task: str, s: Summary) -> str:
    first = "never" if math.isnan(s.first_success) else f"{s.first_success:.0f}"
    shares = " | ".join(f"{share:.0%} | {low:.0%} to {high:.0%}" for share, (low, high) in _successes(s))
    return f"| {task.partition(':')[2]} | {s.n} | {shares} | {s.episode_return:.0f} | {first} |"


def _successes(s: Summary) -> list[tuple[float, tuple[float, float]]]:
    return [(s.success_any, s.any_interval), (s.success_last, s.last_interval)]


def markdown(about: dict, results: Results) -> str:
    any_, last = (sum(values) / len(values) for values in (list(results.means(m).values()) for m in ("success_any", "success_last")))
    told = results.settings[results.tasks[0]]
    lines = [
        "# Meta-World's scripted experts on MT50",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}.",
        f"The 50 frozen goals of every task, one episode each; horizon {told['horizon']}, reward {told['reward_version']}, goal visible.",
        "Any: success at some step. Last: at the last one; the experts go on after their success, and some undo it. Intervals:",
        "Wilson, 95 %, of the episodes. First: env steps until the first success, median.",
        "",
        f"Mean over tasks: any {any_:.1%}, last {last:.1%}.",
        "",
        "| task | episodes | any | 95 % | last | 95 % | return | first |",
        "|---|---:|---:|---|---:|---|---:|---:|",
        *(line(task, s) for task, s in results.summaries().items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    shown = ["manyhands", "eval", "--policy", "scripted", "mt50"]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        subprocess.run([sys.executable, "-m", *shown, "--processes", str(args.processes), "--out", str(rows)], check=True, cwd=ROOT)
        results = Results.read(rows)
        args.out.mkdir(parents=True, exist_ok=True)
        with rows.open("rb") as plain, gzip.open(args.out / "expert_table.jsonl.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
    write(args.out / "expert_table.md", markdown(describe() | {"command": " ".join(shown)}, results))


if __name__ == "__main__":
    main()

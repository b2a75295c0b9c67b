"""How fast demonstrations are collected, per core: ``python bench/demo_rate.py``, by default Meta-World vision's eleven tasks; minutes.

As `manyhands demos collect` does it, with one process on one core, and with as many as there are cores on all of them. The rate is
that of demonstrations beyond the first of each process, which had to make its simulator; what that took is beside it. Written as files
and checked, as always. Results: bench/results/demo_rate.{md,json}. ``bench/rlbench_step.py`` measures the same of RLBench.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, command_line, cores, describe, write, write_json

from core.errors import DemoError
from manyhands.demos.collect import Plan, State, collect

COUNT = 20
TIMEOUT_S = 180.0


@contextlib.contextmanager
def bound(count: int) -> Iterator[None]:
    """Processes that are started meanwhile have so many cores together."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores(count))
    os.environ["LP_NUM_THREADS"] = "0"  # Mesa draws in the thread that asks: else a core would not be a core
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate(task: str, count: int, processes: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of one task, collected by so many processes on as many cores. Demonstrations that fail in all variations are counted, too."""
    began, done = time.monotonic(), [0.0]

    def seen(state: State) -> None:
        done.extend([time.monotonic() - began] * (state.done + 1 - len(done)))

    with tempfile.TemporaryDirectory() as folder, bound(processes):
        plan = Plan((task,), count, Path(folder), dict(options), processes=processes, timeout_s=TIMEOUT_S)
        try:
            state, problem = collect(plan, seen), ""
            made, retries = state.done, state.retries
        except DemoError as error:
            made, retries, problem = len(done) - 1, -1, str(error)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.demo"))
    first = done[min(processes, made)]
    steady = (made - processes) / (done[made] - first) if made > processes and done[made] > first else 0.0
    return {
        "task": task,
        "processes": processes,
        "asked": count,
        "made": made,
        "retries": retries,
        "first_s": first,
        "total_s": done[made],
        "per_s": steady,
        "per_core_s": steady / processes,
        "mb": size / 1e6 / max(1, made),
        "problem": problem,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each task: one process on one core, beside it all cores."""
    most = max(row["processes"] for row in rows)
    lines = [
        f"| task | made of | tries failed | first, s | per minute, one core | {most} cores, per minute and core | MB each |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    of: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["task"], {})[row["processes"]] = row
    for task, by in of.items():
        one, many = by.get(1), by.get(most)
        shown = one or many
        assert shown is not None
        failed = "-" if shown["retries"] < 0 else str(shown["retries"])
        rates = " | ".join(f"{60 * each['per_core_s']:.1f}" if each and each["per_core_s"] else "-" for each in (one, many))
        lines.append(
            f"| {task.partition(':')[2]} | {shown['made']} of {shown['asked']} | {failed} | {shown['first_s']:.1f} | {rates} "
            f"| {shown['mb']:.2f} |"
        )
    return lines


def measured(tasks: Sequence[str], count: int, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each task with one core, then with all."""
    for task in tasks:
        for processes in sorted({1, len(os.sched_getaffinity(0))}):
            row = rate(task, count, processes, options)
            print(task, f"{processes} processes: {60 * row['per_core_s']:.1f} per minute and core", row["problem"], flush=True)
            yield row


def markdown(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "# Collecting demonstrations",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}.",
        f"Load before: {about['load_before']:.2f}, after: {about['load_after']:.2f}.",
        f"{about['count']} of each task, written and checked as `manyhands demos collect` does. First: until each process had made its",
        "simulator and one demonstration. Rates are of those behind.",
        "",
    ]
    return "\n".join([*lines, *table(rows), ""])


def main() -> None:
    from manyhands.demos.arguments import parsed
    from protocols.vision import META_WORLD

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(META_WORLD.tasks))
    parser.add_argument("--count", type=int, default=COUNT, help="demonstrations of each")
    parser.add_argument("--options", nargs="*", default=[], help="of the simulator, NAME=VALUE")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    about = describe() | {"command": command_line("demo_rate"), "count": args.count}
    rows = []
    for row in measured(args.tasks, args.count, parsed(tuple(args.options))):
        rows.append(row)
        about["load_after"] = os.getloadavg()[0]
        write_json(args.out / "demo_rate.json", {"about": about, "rows": rows})
        write(args.out / "demo_rate.md", markdown(about, rows))


if __name__ == "__main__":
    main()

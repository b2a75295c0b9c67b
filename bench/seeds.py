"""N seeds in one process against N processes, seed-updates per second: ``python bench/seeds.py`` (CPU) or ``--device cuda`` (one GPU).

On a CPU: SAC, 256 x 256, batch 256, one task, sampling included. One process with S seeds, on one core or on several, against processes
of one seed, each bound to a core of its own. Layouts are measured in turns; bench/results/seeds_cpu.{md,json}. On a GPU see ``seeds_gpu``.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, command_line, describe, write, write_json
from _sides_page import ALONE
from _turns import PAUSE_S, Side, SideError
from seeds_sides import BATCH, HIDDEN, IN_TURN, LEARNER, UPDATE

SEPARATE = "processes of 1 seed, a core each"


class Layout(NamedTuple):
    """How S seeds share cores."""

    kind: str
    seeds: int
    cores: int

    def start(self, rows: int, folder: Path) -> list[Side]:
        processes, threads, S = (self.seeds, 1, 1) if self.kind == SEPARATE else (1, self.cores, self.seeds)
        kind = LEARNER if self.kind == SEPARATE else self.kind
        sides: list[Side] = []
        try:
            command = (Path(sys.executable), "seeds_sides.py")
            sides.extend(Side(f"{kind}={S}", command, "cpu", threads, rows, folder, skip=i) for i in range(processes))
        except BaseException:
            stop(sides)
            raise
        return sides


def stop(sides: list[Side]) -> None:
    for side in sides:
        side.close()


def layouts(seeds: list[int], available: int) -> list[Layout]:
    counts = sorted({1, available})
    separate = [Layout(SEPARATE, n, n) for n in counts]
    learners = [Layout(LEARNER, S, n) for n in counts for S in seeds]
    return separate + [layout for layout in learners if layout != Layout(LEARNER, 1, 1)] + [Layout(IN_TURN, S, 1) for S in seeds if S > 1]


def measure(sides: list[Side], slice_s: float) -> dict[str, float]:
    """Seed-updates per second of all processes at once."""
    for side in sides:
        side.ask(UPDATE, slice_s)
    answers = [side.answer(slice_s) for side in sides]
    own = sum(a["cpu"] for a in answers)
    busy = max(a["cpu"] + a["others"] for a in answers)  # of the whole machine: each counts its neighbours among the others
    return {"rate": sum(1e3 / a["ms"] for a in answers), "cpu": own, "others": max(0.0, busy - own)}


def on_cpu(args: argparse.Namespace) -> None:
    about = {**describe(), "command": command_line("seeds"), "rounds": args.rounds, "slice_s": args.slice_s}
    result: dict[str, Any] = {"about": about, "layouts": [], "failed": {}}
    running: dict[Layout, list[Side]] = {}
    kept: dict[Layout, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="manyhands-bench-") as folder:
        try:
            for layout in layouts(args.seeds, len(os.sched_getaffinity(0))):
                try:
                    running[layout] = layout.start(args.rows, Path(folder))
                    kept[layout] = {"rate": [], "cpu": [], "others": []}
                    print(f"{layout}: ready", flush=True)
                except SideError as error:
                    result["failed"][str(tuple(layout))] = str(error).splitlines()[-1]
                    print(f"{layout}: FAILED: {error}", flush=True)
            for _ in range(args.rounds):
                for layout, sides in running.items():
                    time.sleep(PAUSE_S)
                    for figure, value in measure(sides, args.slice_s).items():
                        kept[layout][figure].append(value)
                result["layouts"] = [{**layout._asdict(), **figures} for layout, figures in kept.items()]
                about["load_after"] = os.getloadavg()[0]
                write_json(args.out / "seeds_cpu.json", result)
                write(args.out / "seeds_cpu.md", page(result))
        finally:
            for sides in running.values():
                stop(sides)
    print(json.dumps({"results": str(args.out / "seeds_cpu.md")}), flush=True)


def page(result: dict[str, Any]) -> str:
    about, rows = result["about"], result["layouts"]
    base = next((row for row in rows if (row["kind"], row["seeds"]) == (SEPARATE, 1)), rows[0])
    lines = [
        "# Seeds in one process against processes, CPU",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}.",
        f"SAC, {' x '.join(map(str, HIDDEN))}, batch {BATCH}, one task; sampling included. Up to {about['rounds']} rounds of",
        f"{about['slice_s']} s, layouts in turns; ratios are medians of ratios within a round.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after.",
        "",
        "| | seeds | cores | seed-updates/s, median | lowest | x one process of one seed on one core | CPU s per s | others' |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        times = median(r / b for r, b in zip(row["rate"], base["rate"], strict=True))
        figures = (
            f"{median(row['rate']):.1f} | {min(row['rate']):.1f} | {times:.2f} | {median(row['cpu']):.2f} | {median(row['others']):.2f}"
        )
        lines.append(f"| {row['kind']} | {row['seeds']} | {row['cores']} | {figures} |")
    lines += ["", *[f"- FAILED: {layout}: {reason}" for layout, reason in result["failed"].items()], ""]
    if any(median(row["others"]) > ALONE for row in rows):
        lines += [f"**Not alone:** other processes used more than {ALONE} CPU seconds per second; measure again.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seeds", nargs="+", type=int, help="S; 1 2 4 8 on a CPU, 1 5 10 32 on a GPU")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--slice-s", type=float, default=1.0, help="seconds of one layout in one round")
    parser.add_argument("--rows", type=int, default=50_000, help="transitions in the ring of every seed (CPU)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.device == "cuda":
        from seeds_gpu import on_gpu

        on_gpu(args.seeds or [1, 5, 10, 32], args)
        return
    args.seeds = args.seeds or [1, 2, 4, 8]
    on_cpu(args)


if __name__ == "__main__":
    main()

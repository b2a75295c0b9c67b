"""Real demonstrations of RLBench against keyframe discovery and the file format. ``python bench/demos.py FOLDER``; half a minute.

FOLDER holds TASK.NUMBER.npz as ``docs/demos.md`` lists their arrays. Writes bench/results/demos.md and .json: whether the keyframes that
are found are those that were stored, whether every bit comes back, bytes and milliseconds. Beside it, the light simulator ``blocks``.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np
from _machine import RESULTS, command_line, describe, write, write_json

import simulators
from core import demofile
from core.demos import Demo, chains
from manyhands.demos import rlbench


def arrays(demo: Demo) -> list[np.ndarray]:
    return [demo.frames, demo.keyframes, *demo.motion.values(), *demo.observations.values()]


def measure(path: Path, folder: Path) -> dict:
    """One demonstration, there and back."""
    with np.load(path) as file:
        stored = file["keyframes"].tolist()
    demo, target = rlbench.read(path), folder / "x.demo"  # raises where the keyframes differ
    begin = time.perf_counter()
    demofile.write(target, demo)
    written = time.perf_counter()
    back = demofile.read(target)
    read = time.perf_counter()
    equal = all((a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in zip(arrays(demo), arrays(back), strict=True))
    return {
        "file": path.name,
        "task": demo.task,
        "frames": len(demo.motion["gripper_pose"]),
        "keyframes": len(stored),
        "keyframes_equal": stored == demo.keyframes.tolist(),
        "bits_equal": equal,
        "transitions": sum(len(chain.poses) for chain in chains(demo)),
        "npz_bytes": path.stat().st_size,
        "demo_bytes": target.stat().st_size,
        "memory_bytes": sum(values.nbytes for values in arrays(demo)),
        "write_ms": 1e3 * (written - begin),
        "read_ms": 1e3 * (read - written),
    }


def observation_ms(size: int, cameras: int) -> float:
    """Median of an env step of ``blocks:lift``, all of which is its observation."""
    simulator = simulators.make("blocks:lift", 0, size=size, cameras=cameras)
    action, times = simulator.demonstrate(0).actions[0], []
    for _ in range(200):
        simulator.reset(0)
        begin = time.perf_counter()
        simulator.step(action)
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def markdown(about: dict, rows: list[dict], blocks: list[dict]) -> str:
    by_task: dict[str, list[dict]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    mb = {name: sum(row[f"{name}_bytes"] for row in rows) / 1e6 for name in ("npz", "demo", "memory")}
    lines = [
        "# Demonstrations of RLBench",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}, load before: {about['load_before']:.2f}.",
        f"{len(rows)} demonstrations. Keyframes found where they were stored: {sum(row['keyframes_equal'] for row in rows)};",
        f"every bit came back: {sum(row['bits_equal'] for row in rows)}. In all {mb['demo']:.1f} MB as .demo, {mb['npz']:.1f} MB as",
        f".npz, {mb['memory']:.1f} MB in memory. Transitions: of all chains, one from each 10th frame. Times: median per demonstration.",
        "",
        "| task | demos | frames | keyframes | transitions | npz kB | demo kB | write ms | read ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for task, of in by_task.items():
        mean = {
            name: statistics.mean(row[name] for row in of) for name in ("frames", "keyframes", "transitions", "npz_bytes", "demo_bytes")
        }
        median = {name: statistics.median(row[name] for row in of) for name in ("write_ms", "read_ms")}
        numbers = f"{mean['frames']:.0f} | {mean['keyframes']:.1f} | {mean['transitions']:.1f} | {mean['npz_bytes'] / 1e3:.0f}"
        times = f"{mean['demo_bytes'] / 1e3:.0f} | {median['write_ms']:.1f} | {median['read_ms']:.1f}"
        lines.append(f"| {task.partition(':')[2]} | {len(of)} | {numbers} | {times} |")
    lines += ["", "An env step of `blocks:lift` with its observation, median:", "", "| pixels | cameras | ms |", "|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {each['size']} | {each['cameras']} | {each['ms']:.2f} |" for each in blocks), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds TASK.NUMBER.npz")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    about = describe() | {"command": command_line("demos")}
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(path, Path(folder)) for path in sorted(args.folder.glob("*.npz"))]
    blocks = [{"size": size, "cameras": n, "ms": observation_ms(size, n)} for size, n in ((128, 1), (128, 3), (32, 1))]
    write_json(args.out / "demos.json", {"about": about, "demonstrations": rows, "blocks": blocks})
    write(args.out / "demos.md", markdown(about, rows, blocks))


if __name__ == "__main__":
    main()

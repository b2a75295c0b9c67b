"""One core, all tasks of Meta-World: stock, our step, the physics alone; and resets. ``python bench/metaworld_step.py``.

CPU time of one thread, so that a second process disturbs little. All sides live in one process and take turns on the same episodes: the
scripted policy's actions, recorded once, so that the contacts of a real episode are there. Results: bench/results/metaworld_step.{md,json}.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np
from _machine import describe, write, write_json

LIMIT_GOAL, RESET_GOAL = 0.9, 20
"""of the physics limit; times stock's reset"""


class Case:
    """One task: the sides and the episode that they step."""

    def __init__(self, task: str, steps: int, in_block: int) -> None:
        import mujoco

        from core.contracts import BlockArrays
        from simulators.metaworld import stock
        from simulators.metaworld.experts import expert
        from simulators.metaworld.fast import FastBlock, FastStep
        from simulators.metaworld.goals import vectors

        self.mujoco, self.stock, self.steps = mujoco, stock, steps
        self.vectors = vectors(task, "train")
        self.env = stock.environment(task, "v2", hide_goal=False)
        self.fast = [FastStep(task, stock.Stepping()) for _ in range(in_block)]
        self.plain = FastStep(task, stock.Stepping())
        self.arrays = BlockArrays(
            np.zeros((in_block, 4), np.float32),
            {"obs": np.zeros((in_block, 39), np.float32)},
            {"obs": np.zeros((in_block, 39), np.float32)},
            np.zeros(in_block, np.float32),
            *(np.zeros(in_block, bool) for _ in range(3)),
            np.zeros(8),
            0,
        )
        self.block = FastBlock(self.fast, 2, self.arrays)
        self.actions, self.controls = np.zeros((steps, 4), np.float32), []
        act, obs = expert(task), self.plain.begin(self.vectors[0])
        for t in range(steps):
            self.actions[t] = act(obs)
            obs = self.plain.step(self.actions[t])[0]
            self.controls.append((self.plain.data.mocap_pos.copy(), self.plain.data.ctrl.copy()))

    def stock_step(self) -> None:
        for action in self.actions:
            self.env.step(action)

    def our_step(self) -> None:
        for action in self.actions:
            self.arrays.action[:] = action
            self.block.step()

    def physics(self) -> None:
        """Five mj_step and one mj_forward with the recorded hand and fingers; the assignments are the least that must be done."""
        model, data, mujoco = self.plain.origin.model, self.plain.data, self.mujoco
        for mocap, ctrl in self.controls:
            data.mocap_pos[:], data.ctrl[:] = mocap, ctrl
            mujoco.mj_step(model, data, 5)
            mujoco.mj_forward(model, data)

    def begin(self) -> None:
        self.stock.begin(self.env, self.vectors[0])
        for step in (*self.fast, self.plain):
            step.begin(self.vectors[0])
        # The physics reads the one model of the task: with this episode's bodies in it.
        snapshot, model = self.plain.snapshot, self.plain.origin.model
        model.body_pos[:], model.site_pos[:] = snapshot.body_pos, snapshot.site_pos

    def resets(self) -> tuple[float, float]:
        """Seconds per reset: stock's, and ours from the cache."""
        goals = self.vectors[:5]
        for goal in goals:
            self.plain.begin(goal)
        ours = _cpu(lambda: [self.plain.begin(goal) for goal in goals for _ in range(20)]) / 100
        return _cpu(lambda: [self.stock.begin(self.env, goal) for goal in goals]) / 5, ours


def _cpu(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def measure(task: str, steps: int, rounds: int, in_block: int) -> dict[str, float]:
    case = Case(task, steps, in_block)
    seconds: dict[str, list[float]] = {"stock": [], "ours": [], "physics": []}
    of_limit = []
    for _ in range(rounds):
        case.begin()
        taken = {"physics": _cpu(case.physics), "ours": _cpu(case.our_step) / in_block, "stock": _cpu(case.stock_step)}
        for name, value in taken.items():
            seconds[name].append(value / steps)
        of_limit.append(taken["physics"] / taken["ours"])
    stock_reset, our_reset = case.resets()
    result = {f"{name}_per_s": 1 / median(values) for name, values in seconds.items()}
    return {**result, "of_limit": median(of_limit), "stock_reset_ms": 1e3 * stock_reset, "our_reset_ms": 1e3 * our_reset}


def markdown(about: dict, rows: dict[str, dict[str, float]]) -> str:
    limits = [row["of_limit"] for row in rows.values()]
    gains = [row["ours_per_s"] / row["stock_per_s"] for row in rows.values()]
    resets = [row["stock_reset_ms"] / row["our_reset_ms"] for row in rows.values()]
    lines = [
        "# Meta-World on one core: stock, ours, the physics alone",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {about['versions']}.",
        f"Env steps per second of CPU time of one thread, medians of {about['rounds']} rounds of {about['steps']} steps of a scripted",
        f"episode, the sides in turn. Ours: a block of {about['in_block']} simulators, as a pool's worker steps them; observation, reward",
        "and success are written. The limit: five `mj_step` and one `mj_forward` per env step from Python, with the same hand and fingers",
        "and nothing else.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after; this bench alone makes about 1.",
        "",
        f"- of the physics limit: median {median(limits):.1%}, least {min(limits):.1%}.",
        f"  Goal {LIMIT_GOAL:.0%} on every task: {sum(x >= LIMIT_GOAL for x in limits)} of {len(limits)} tasks.",
        f"- against stock: {min(gains):.1f} to {max(gains):.1f} times, median {median(gains):.1f}.",
        f"- reset against stock's: {min(resets):,.0f} to {max(resets):,.0f} times, median {median(resets):,.0f}. Goal {RESET_GOAL}.",
        "  The first reset to a goal in a process costs what stock's does; then it is copied.",
        "",
        "| task | stock | ours | limit | ours / limit | ours / stock | stock reset, ms | our reset, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for task, r in rows.items():
        speeds = " | ".join(f"{r[f'{side}_per_s']:,.0f}" for side in ("stock", "ours", "physics"))
        ratios = f"{r['of_limit']:.1%} | {r['ours_per_s'] / r['stock_per_s']:.1f}"
        lines.append(f"| {task} | {speeds} | {ratios} | {r['stock_reset_ms']:.2f} | {r['our_reset_ms']:.4f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    from importlib.metadata import version

    from simulators.metaworld.tasks import TASKS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--steps", type=int, default=250, help="env steps per round and side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--in-block", type=int, default=4, help="simulators of our block")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    about = describe() | {"command": f"python bench/metaworld_step.py {' '.join(sys.argv[1:])}".strip()}
    about |= {"steps": args.steps, "rounds": args.rounds, "in_block": args.in_block}
    about["versions"] = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "numpy"))
    rows = {}
    for task in args.tasks:
        rows[task] = measure(task, args.steps, args.rounds, args.in_block)
        print(f"{task:32} {rows[task]['of_limit']:.1%} of the limit", flush=True)
    about["load_after"] = os.getloadavg()[0]
    write_json(args.out / "metaworld_step.json", {"about": about, "tasks": rows})
    write(args.out / "metaworld_step.md", markdown(about, rows))


if __name__ == "__main__":
    main()

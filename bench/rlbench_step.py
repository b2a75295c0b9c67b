"""What RLBench costs where it is installed: launch, reset, keyframe step, picture, demonstration, per task; and demonstrations per core.

``python bench/rlbench_step.py [TASK ...]``, by default the paper's eleven, with one front camera; half an hour. Each task is a process
of its own on one core, which plays its demonstrations' keyframes again. Results: bench/results/rlbench_step.{md,json}. Say
``--cameras 5`` for all cameras, and ``--name rlbench_step_5`` for results of their own.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, bound, child_env, command_line, describe, write, write_json
from demo_rate import measured, table

DEADLINE_S = 900.0
"""of one task"""
KINDS = ("launch_ms", "reset_ms", "step_ms", "picture_ms", "demo_s", "frames", "keyframes", "mb")


def refused(double: bool) -> str:
    """Why nothing can be measured here, in one line; empty where it can."""
    from simulators import hooks

    if lacking := hooks.missing("rlbench"):
        return lacking
    if importlib.util.find_spec("rlbench_double") is not None and not double:
        return "what is installed here is the tests' double of RLBench, whose times mean nothing. Fix: take tests/doubles off PYTHONPATH"
    return ""


def timed(work: Callable[[], Any], into: list[float]) -> Any:
    """Wall milliseconds: CoppeliaSim has threads of its own."""
    began = time.perf_counter()
    made = work()
    into.append(1e3 * (time.perf_counter() - began))
    return made


def one_task(task: str, options: Mapping[str, Any], episodes: int) -> dict[str, Any]:
    """In this process, which has one simulator and then ends."""
    import psutil

    import simulators
    from core.errors import ManyhandsError, SimulatorError
    from core.poses import action_of

    times: dict[str, list[float]] = {name: [] for name in KINDS}
    try:
        made = timed(lambda: simulators.make(f"rlbench:{task}", 0, **options), times["launch_ms"])
    except ManyhandsError as error:
        return {"task": task, "problem": str(error)}
    solved, problem = 0, ""
    for episode in range(episodes):
        try:
            timed(lambda e=episode: made.reset(e), times["reset_ms"])
            for _ in range(5):
                timed(made._simulator._backend._task.get_observation, times["picture_ms"])
            demo = timed(lambda e=episode: made.demonstrate(e), times["demo_s"])
            made.reset(episode)
        except SimulatorError as error:
            problem = str(error)
            continue
        times["frames"].append(len(demo.motion["gripper_pose"]))
        times["keyframes"].append(len(demo.keyframes))
        for at in demo.keyframes:
            action = action_of(made.spec.keyframes, demo.motion["gripper_pose"][at], demo.motion["gripper_open"][at])
            step = timed(lambda a=action: made.step(a), times["step_ms"])
            if step.terminated or step.truncated:
                solved += int(step.success)
                break
    times["mb"].append(psutil.Process().memory_info().rss / 2**20)
    times["demo_s"] = [ms / 1e3 for ms in times["demo_s"][: len(times["frames"])]]
    made.close()
    told = {name: median(values) if values else None for name, values in times.items()}
    return {"task": task, "episodes": episodes, "shown": len(times["frames"]), "solved": solved, "problem": problem, **told}


def asked(task: str, options: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The same from another process, bound to a core, that is ended where it takes too long."""
    from simulators.hooks import surroundings

    env = child_env(**surroundings([f"rlbench:{task}"]).env, LP_NUM_THREADS="0")
    if args.double:
        env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], os.environ["PYTHONPATH"]])
    told = json.dumps([task, dict(options), args.episodes])
    command = [*bound(1), sys.executable, "-P", __file__, "--one", told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return {"task": task, "problem": f"took longer than {DEADLINE_S:g} s"}
    if process.returncode:
        return {"task": task, "problem": f"its process ended with {process.returncode}"}
    return json.loads(out.strip().splitlines()[-1])


def markdown(about: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], rates: Sequence[Mapping[str, Any]]) -> str:
    versions = ", ".join(f"{name} {version[:10]}" for name, version in about["versions"].items())
    lines = [
        "# RLBench",
        "",
        *(["**On the tests' double: these are no measurements.**", ""] if about["double"] else []),
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {versions}; display {about['display']}.",
        f"Cameras: {about['options']['cameras']}, {about['options']['size']} pixels. Wall milliseconds of a process bound to one core,",
        f"medians over {about['episodes']} episodes per task; load before: {about['load_before']:.2f}. A step is a keyframe of a",
        "demonstration, played again; solved: it succeeded by these. A picture is a whole observation.",
        "",
        "| task | launch, ms | reset, ms | keyframe step, ms | picture, ms | demonstration, s | frames | keyframes | MB | shown | solved |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in tasks:
        if row.get("launch_ms") is None:
            lines.append(f"| {row['task']} | {row['problem']} |" + " |" * 9)
            continue
        digits = {"picture_ms": 1, "demo_s": 2}
        numbers = " | ".join("-" if row[name] is None else f"{row[name]:.{digits.get(name, 0)}f}" for name in KINDS)
        lines.append(f"| {row['task']} | {numbers} | {row['shown']} of {row['episodes']} | {row['solved']} |")
    if rates:
        lines += [
            "",
            "Collected as `manyhands demos collect` does, each process on a core of its own; the first ones of each aside:",
            "",
            *table(rates),
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    from outpost.rlbench_versions import versions
    from protocols.vision import RLBENCH
    from simulators.hooks import surroundings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[name.partition(":")[2] for name in RLBENCH.tasks])
    parser.add_argument("--cameras", default="front", help="names with commas in between, or how many")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--episodes", type=int, default=5, help="of each task")
    parser.add_argument("--count", type=int, default=6, help="demonstrations of each task whose rate is measured; 0: none")
    parser.add_argument("--name", default="rlbench_step", help="of the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--double", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_task(*json.loads(args.one))))
        return
    if why := refused(args.double):
        sys.exit(f"error: {why}")
    options = {"cameras": args.cameras, "size": args.size}
    os.environ.update({name: value for name, value in surroundings(["rlbench:reach_target"]).env.items() if name == "COPPELIASIM_ROOT"})
    about = describe() | {"command": command_line("rlbench_step"), "options": options, "episodes": args.episodes, "versions": versions()}
    about |= {"double": args.double, "display": os.environ.get("DISPLAY") or "an Xvfb of its own"}
    tasks: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []

    def keep() -> None:
        write_json(args.out / f"{args.name}.json", {"about": about, "tasks": tasks, "rates": rates})
        write(args.out / f"{args.name}.md", markdown(about, tasks, rates))

    for task in args.tasks:
        tasks.append(asked(task, options, args))
        print(task, tasks[-1], flush=True)
        keep()
    names = [f"rlbench:{row['task']}" for row in tasks if row.get("shown")]
    for row in measured(names, args.count, options) if args.count else ():
        rates.append(row)
        keep()


if __name__ == "__main__":
    main()

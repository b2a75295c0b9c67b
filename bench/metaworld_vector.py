"""MT10 and MT50 stepped at once: gymnasium's vectors of Meta-World against our pool. ``python bench/metaworld_vector.py``.

Wall-clock env steps per second, every side in a process of its own, bound to the same cores, in turn over the rounds; also the
scaling over cores and the memory. Needs a quiet machine. Results: bench/results/metaworld_vector.{md,json}.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import bound, child_env, describe, write, write_json

SIDES = {
    "SyncVectorEnv": "gymnasium, Meta-World's own wrappers, one process",
    "AsyncVectorEnv": "the same, one process per simulator",
    "pool, stock step": "our worker processes around the stock environment",
    "pool": "our worker processes, fast step, lockstep",
    "pool, free": "the same, each worker goes on without waiting for the others",
}
GOAL = 6.0
"""times AsyncVectorEnv on MT10"""


def side(name: str, protocol: str, workers: int, steps: int, seed: int) -> dict[str, float]:
    """One run of one side, in this process and its children."""
    run = _gymnasium if name.endswith("VectorEnv") else _pool
    return run(name, protocol, workers, steps, seed)


def _gymnasium(name: str, protocol: str, workers: int, steps: int, seed: int) -> dict[str, float]:
    import gymnasium
    import metaworld  # noqa: F401 - registers the environments
    import numpy as np

    began = time.perf_counter()
    envs = gymnasium.make_vec(f"Meta-World/{protocol.upper()}", vector_strategy=name.removesuffix("VectorEnv").lower(), seed=seed)
    made = time.perf_counter() - began
    envs.reset()
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, envs.num_envs, 4)).astype(np.float32)
    for action in actions[:20]:
        envs.step(action)
    began = time.perf_counter()
    for action in actions[20:]:
        envs.step(action)
    taken = time.perf_counter() - began
    memory = _memory_mb()
    envs.close()
    return {"steps_per_s": (steps - 20) * actions.shape[1] / taken, "made_s": made, **memory}


def _pool(name: str, protocol: str, workers: int, steps: int, seed: int) -> dict[str, float]:
    import numpy as np

    from protocols.metaworld import find
    from simulators.pool import SimulatorPool
    from simulators.process import cores

    tasks = find(protocol).train_tasks
    options = {"step": "stock" if "stock" in name else "fast"}
    began = time.perf_counter()
    with SimulatorPool(tasks, range(len(tasks)), options, workers=workers, cores=cores(0, workers)) as pool:
        made = time.perf_counter() - began
        pool.reset([seed] * len(tasks))
        actions = np.random.default_rng(seed).uniform(-1, 1, (steps, len(tasks), 4)).astype(np.float32)
        for action in actions[:20]:
            pool.step(action)
        began = time.perf_counter()
        if "free" in name:
            _free(pool, actions[20:])
        else:
            for action in actions[20:]:
                pool.step(action)
        taken = time.perf_counter() - began
        return {"steps_per_s": (steps - 20) * len(tasks) / taken, "made_s": made, **_memory_mb()}


def _free(pool, actions) -> None:
    """Every worker takes all the steps, each at its own pace."""
    t = [0] * len(pool.shares)
    pool.send(actions[0])
    while min(t) < len(actions):
        for w in pool.recv_any()[0]:
            t[w] += 1
            if t[w] < len(actions):
                pool.send(actions[t[w]], workers=[w])


def _memory_mb() -> dict[str, float]:
    """Proportional set size: shared pages are counted once, divided over those that share them."""
    import psutil

    children = [process.memory_full_info().pss / 2**20 for process in psutil.Process().children(recursive=True)]
    return {"workers_mb": sum(children), "processes": len(children), "own_mb": psutil.Process().memory_full_info().pss / 2**20}


def _run(name: str, protocol: str, cores: int, steps: int, seed: int) -> dict[str, float]:
    command = [sys.executable, "-P", __file__, "--side", name, "--protocols", protocol, "--cores", str(cores), "--steps", str(steps)]
    done = subprocess.run([*bound(cores), *command, "--seed", str(seed)], env=child_env(), capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"{name} on {protocol} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def markdown(about: dict, cases: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    lines = [
        "# MT10 and MT50 stepped at once",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {about['versions']}.",
        f"Env steps per second, wall clock; medians of {about['rounds']} rounds, the sides in turn, each bound to the cores named.",
        f"{about['steps'] - 20} steps with random actions and no reset among them; simulators are made and warmed up before.",
        "Not like for like in one thing: gymnasium's sides carry Meta-World's wrappers and info dictionaries, which its users cannot",
        "leave out. *pool, stock step* is the clean isolation of the step: the same processes and memory around the stock environment.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after; this bench itself makes some.",
        "",
        *(f"- **{name}**: {what}" for name, what in SIDES.items()),
    ]
    for case, rows in cases.items():
        base = median(r["steps_per_s"] for r in rows["AsyncVectorEnv"]) if rows.get("AsyncVectorEnv") else None
        lines += ["", f"## {case}", "", "| | env steps/s | | times Async | made in, s | workers' memory, MB | processes |"]
        lines.append("|---|---:|---|---:|---:|---:|---:|")
        for name, runs in rows.items():
            rates = [r["steps_per_s"] for r in runs]
            ratio = f"{median(rates) / base:.1f}" if base else "-"
            made, memory = median(r["made_s"] for r in runs), median(r["workers_mb"] for r in runs)
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
            count = runs[0]["processes"]
            lines.append(f"| {name} | {median(rates):,.0f} | {spread} | {ratio} | {made:.1f} | {memory:,.0f} | {count:.0f} |")
    return "\n".join([*lines, "", *_verdicts(cases), ""])


def _verdicts(cases: dict) -> list[str]:
    """What the issue asks, answered from the figures."""

    def rate(case: str, name: str) -> float | None:
        return median(r["steps_per_s"] for r in cases[case][name]) if name in cases.get(case, {}) else None

    said = []
    for protocol in ("mt10", "mt50"):
        counts = sorted(int(case.split()[1]) for case in cases if case.startswith(protocol))
        for count in counts:
            ours, theirs = rate(f"{protocol} {count} cores", "pool"), rate(f"{protocol} {count} cores", "AsyncVectorEnv")
            if ours and theirs:
                goal = f" Goal {GOAL:.0f}: {'met' if ours / theirs >= GOAL else 'NOT met'}." if protocol == "mt10" else ""
                said.append(f"- {protocol}, {count} cores: {ours / theirs:.1f} times AsyncVectorEnv.{goal}")
        per_core = {count: rate(f"{protocol} {count} cores", "pool") / count for count in counts}
        if len(per_core) > 1:
            flat = min(per_core.values()) / max(per_core.values())
            shown = ", ".join(f"{count}: {value:,.0f}" for count, value in per_core.items())
            said.append(f"- {protocol}, per core ({shown}): within {1 - flat:.0%}. Goal 10%: {'met' if flat >= 0.9 else 'NOT met'}.")
    return said


def main() -> None:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", nargs="*", default=["mt10", "mt50"])
    parser.add_argument("--cores", nargs="*", type=int, default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--steps", type=int, default=450, help="at most 499: no reset falls into the time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", nargs="*", default=list(SIDES))
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(side(args.side, args.protocols[0], args.cores[0], args.steps, args.seed)))
        return
    about = describe() | {"command": f"python bench/metaworld_vector.py {' '.join(sys.argv[1:])}".strip()}
    about |= {"steps": args.steps, "rounds": args.rounds}
    about["versions"] = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "gymnasium", "numpy"))
    cases: dict = {f"{protocol} {count} cores": {name: [] for name in args.sides} for protocol in args.protocols for count in args.cores}
    for seed in range(args.rounds):
        for case, rows in cases.items():
            for name, runs in rows.items():
                runs.append(_run(name, case.split()[0], int(case.split()[1]), args.steps, seed))
                print(f"round {seed} {case} {name}: {runs[-1]['steps_per_s']:,.0f}", flush=True)
        about["load_after"] = os.getloadavg()[0]
        write_json(args.out / "metaworld_vector.json", {"about": about, "cases": cases})
        write(args.out / "metaworld_vector.md", markdown(about, cases))


if __name__ == "__main__":
    main()

"""What came of the runs of ``bench/single_task.py``: evaluations from what each side wrote, a verdict per task, a Markdown page."""

from pathlib import Path
from typing import Any

from e2e_outcome import interpolate, read_events

from core.metrics import read_metrics
from protocols.statistics import wilson_interval

SIDES = ("manyhands", "SB3")
Curve = list[dict[str, Any]]


def ours_curve(root: Path, every: int) -> Curve:
    """From metrics.jsonl. An evaluation plays beside training: its row is of the step at which it ended, its policy of up to ``every``
    steps before. The i-th is asked for at i * every; the last is of the policy at the end.
    """
    found = sorted(root.glob("*/metrics.jsonl"))
    rows = read_metrics(found[0]) if found else []
    updates = [(row["time"], row["learner/updates"]) for row in rows if "learner/updates" in row]
    total = max((row["step"] for row in rows), default=0)
    curve = []
    for index, row in enumerate([row for row in rows if "eval/success_any" in row], 1):
        steps = min(index * every, total)
        figures = scores(row, "eval/success_any", "eval/success_last", "eval/return")
        curve.append({"steps": steps, "logged_at": row["step"], "updates": round(interpolate(updates, row["time"])), **figures})
    return curve


def sb3_curve(events: Path) -> Curve:
    found = [event for event in read_events(events) if event["event"] == "evaluation"]
    return [{"steps": e["steps"], "updates": e["updates"], **scores(e, "success", "success_last", "return")} for e in found]


def scores(row: dict[str, Any], any_: str, last: str, mean_return: str) -> dict[str, float]:
    return {"success_any": row[any_], "success_last": row[last], "return": round(row[mean_return], 1)}


def summary(run: dict[str, Any]) -> str:
    """One run in words."""
    who = f"{run['task']} seed {run['seed']} {run['side']}"
    if run["error"]:
        return f"{who}: FAILED, {run['error']}"
    points = ", ".join(f"{p['steps'] / 1000:.0f}k any {p['success_any']:.2f} last {p['success_last']:.2f}" for p in run["curve"])
    return f"{who}: {points}; {run['curve'][-1]['updates']:,} updates, {run['wall_s']:.0f} s"


def common_steps(result: dict[str, Any], task: str, seeds: set[int]) -> int:
    """The most env steps at which every run of both sides was evaluated; SB3's come in whole steps of all simulators."""
    every = result["about"]["every"]
    reached = [run["curve"][-1]["steps"] for side in SIDES for run in done(result, task, side) if run["seed"] in seeds]
    return min(reached, default=0) // every * every


def pooled(result: dict[str, Any], task: str, side: str, seeds: set[int], what: str) -> tuple[int, int]:
    """Successes and episodes of the last evaluations that both sides have, over seeds."""
    episodes, steps = result["about"]["episodes"], common_steps(result, task, seeds)
    runs = [run for run in done(result, task, side) if run["seed"] in seeds]
    points = [[p for p in run["curve"] if steps <= p["steps"] < steps + result["about"]["every"]][-1] for run in runs]
    return round(sum(point[what] * episodes for point in points)), episodes * len(runs)


def done(result: dict[str, Any], task: str, side: str) -> list[dict[str, Any]]:
    return [run for run in result["runs"] if (run["task"], run["side"]) == (task, side) and not run["error"]]


def verdict(ours: int, peer: int, episodes: int) -> str:
    """Behind: fewer successes, and neither share lies in the other's 95 % Wilson interval."""
    if not ours and not peer:
        return "no success on either side"
    if ours >= peer:
        return "met"
    apart = ours / episodes < wilson_interval(peer, episodes)[0] and peer / episodes > wilson_interval(ours, episodes)[1]
    return "**behind**" if apart else "within the interval"


def both_seeds(result: dict[str, Any], task: str) -> set[int]:
    ours, peer = ({run["seed"] for run in done(result, task, side)} for side in SIDES)
    return ours & peer


def judged(result: dict[str, Any]) -> list[str]:
    lines = [
        "| task | env steps | seeds | any: manyhands | SB3 | 95 % of SB3's | verdict | last: manyhands | SB3 | 95 % of SB3's | verdict |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---|",
    ]
    count: dict[str, int] = {}
    for task in tasks(result):
        seeds = both_seeds(result, task)
        if not seeds:
            lines.append(f"| {task} | | 0 | | | | not run to the end | | | | |")
            continue
        cells = []
        for what in ("success_any", "success_last"):
            (ours, n), (peer, _) = (pooled(result, task, side, seeds, what) for side in SIDES)
            low, high = wilson_interval(peer, n)
            said = verdict(ours, peer, n)
            cells += [f"{ours}/{n}", f"{peer}/{n}", f"{100 * low:.0f}-{100 * high:.0f}", said]
            if what == "success_any":
                count[said] = count.get(said, 0) + 1
        lines.append(f"| {task} | {common_steps(result, task, seeds):,} | {len(seeds)} | {' | '.join(cells)} |")
    counted = ", ".join(f"{said} {number}" for said, number in count.items())
    return [*lines, "", f"Success at some step, tasks by verdict: {counted or 'none yet'}.", ""]


def tasks(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(run["task"] for run in result["runs"]))


def every_run(result: dict[str, Any]) -> list[str]:
    lines = [
        "| task | seed | side | success any, by env steps | last | return | env steps | updates | wall s |",
        "|---|---:|---|---|---|---|---:|---:|---:|",
    ]
    order = {task: place for place, task in enumerate(tasks(result))}
    for run in sorted(result["runs"], key=lambda run: (run["seed"], order[run["task"]], run["side"] != SIDES[0])):
        who = f"| {run['task']} | {run['seed']} | {run['side']} |"
        if run["error"]:
            lines.append(f"{who} FAILED | | | | | {run['wall_s']:.0f} |")
            continue
        curve, last = run["curve"], run["curve"][-1]
        any_ = ", ".join(f"{p['steps'] / 1000:.0f}k {p['success_any']:.2f}" for p in curve)
        lasts, returns = (", ".join(f"{p[what]:{form}}" for p in curve) for what, form in (("success_last", ".2f"), ("return", ".0f")))
        lines.append(f"{who} {any_} | {lasts} | {returns} | {last['steps']:,} | {last['updates']:,} | {run['wall_s']:.0f} |")
    return [*lines, ""]


def markdown(result: dict[str, Any]) -> str:
    about = result["about"]
    sb3 = about["sb3"]
    algo = ", ".join(f"{name} {value}" for name, value in sb3["algo"].items())
    lines = [
        f"# SAC on each task of MT10 by itself, at most {about['steps']:,} env steps, against SB3",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {', '.join(about['peers'])}.",
        "",
        f"manyhands: `{about['ours']}`.",
        f"SB3: SAC as shipped, told the same: {algo}; {sb3['gradient_steps']} updates per {sb3['train_freq']} step(s) of all",
        f"{about['simulators']} simulators, learning_starts {sb3['learning_starts']:,}, buffer {sb3['buffer_size']:,},",
        "VecNormalize(norm_reward=False), DummyVecEnv.",
        f"Both sides meet the same simulators with the same seeds and goals ({about['goals']} of Meta-World v3's training goals), and are",
        f"judged by {about['episodes']} deterministic episodes of 500 steps on the same goals, in the last evaluation that both sides have",
        "('env steps' of the table), not in the best. **met**: manyhands has at least as many successes as SB3. **within the interval**:",
        "fewer, but one side's share lies in the 95 % Wilson interval of the other's. **behind**: fewer, and further apart. The intervals",
        "are over the episodes of the seeds that ran and do not hold the spread between seeds, which with few seeds is the larger one.",
        "The hyper-parameters are those of the preset for reach (discount 0.9) on every task: this compares two implementations and does",
        "not say how well SAC can do on a task. Returns are means of the evaluation's undiscounted returns, at most 5,000.",
        "No setting depends on the number of steps, so a shorter run is the beginning of a longer one.",
        "**Wall times are no claim:** every run had one core at low priority, and other work may have run on the machine.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about.get('load_after', 0.0):.1f} after.",
        "",
        *(f"- {note}" for note in about["notes"]),
        *([""] if about["notes"] else []),
        *judged(result),
        "## Every run",
        "",
        *every_run(result),
    ]
    return "\n".join(lines)

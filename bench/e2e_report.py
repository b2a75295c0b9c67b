"""Turns the runs of ``bench/end_to_end.py`` into medians, ratios and a Markdown page."""

from statistics import median
from typing import Any

GOAL = 3.0
"""SB3's median seconds / ours"""
ALONE = 0.1
SIDES = ("manyhands", "SB3")
VECTORS = {"dummy": "DummyVecEnv", "fork": "SubprocVecEnv(start_method='fork')", "": "vector not chosen yet"}


def line(run: dict[str, Any]) -> str:
    """One run in words."""
    if run["ended"] == "crash":
        return f"CRASHED with code {run['code']}: {run['error'].splitlines()[-1]}"
    what = f"{run['seconds']:.1f} s" if run["reached"] else f"> {run['limit_s']:.0f} s"
    parts = f"{run['start_s']:.1f} s before the first update; {run['steps']:,} env steps, {run['updates']:,} updates"
    return f"{what} ({parts}); CPU s per s {run['cpu_s'] / run['wall_s']:.2f}, others' {run['others']:.2f}"


def middle(runs: list[dict[str, Any]], figure: str) -> tuple[float, bool]:
    """Median, and whether it is only a lower bound: a run that was cut off counts as at least its limit."""
    ordered = sorted((run[figure], not run["reached"]) for run in runs)
    half = len(ordered) // 2
    deciding = ordered[half : half + 1] if len(ordered) % 2 else ordered[half - 1 : half + 1]
    return median(value for value, _ in ordered), any(cut for _, cut in deciding)


def runs_of(result: dict[str, Any], mode: str, side: str) -> list[dict[str, Any]]:
    return [run for run in result["runs"] if (run["mode"], run["side"]) == (mode, side) and run["ended"] != "crash"]


def verdict(ratio: float, ours_cut: bool, peer_cut: bool) -> str:
    if ours_cut:
        return "NOT met: manyhands itself did not finish in the median run"
    if ratio >= GOAL:
        return f"met{' (a lower bound: SB3 was cut off)' if peer_cut else ''}"
    return "undecided: SB3 was cut off before; give it a longer --limit-s" if peer_cut else "NOT met"


def mode_page(result: dict[str, Any], mode: str) -> list[str]:
    title = {"varied": "Varied goals: a fresh one in every episode", "fixed": "One fixed goal"}[mode]
    lines = [
        f"## {title}",
        "",
        "| seed | side | seconds | of these before the first update | env steps | updates | CPU s per s | others' |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for run in [run for run in result["runs"] if run["mode"] == mode]:
        seconds = "CRASHED" if run["ended"] == "crash" else f"{run['seconds']:.1f}" if run["reached"] else f"> {run['limit_s']:.0f}"
        figures = f"{run['start_s']:.1f} | {run['steps']:,} | {run['updates']:,} | {run['cpu_s'] / run['wall_s']:.2f} | {run['others']:.2f}"
        lines.append(f"| {run['seed']} | {run['side']} | {seconds} | {figures} |")
    lines += ["", *comparison(result, mode), "", "Successes of 10 by env steps:", ""]
    for run in [run for run in result["runs"] if run["mode"] == mode]:
        points = ", ".join(f"{steps / 1000:.0f}k {share * 10:.0f}" for _, steps, _, share in run["curve"])
        lines.append(f"- seed {run['seed']}, {run['side']}: {points or 'no evaluation'}")
    return [*lines, ""]


def comparison(result: dict[str, Any], mode: str) -> list[str]:
    """Medians and the goal."""
    ours, peer = (runs_of(result, mode, side) for side in SIDES)
    if not ours or not peer:
        return ["Nothing to compare yet."]
    lines = []
    names = {"seconds": "from the start of the process", "training_s": "from the first update"}
    for figure, name in names.items():
        (mine, ours_cut), (theirs, peer_cut) = middle(ours, figure), middle(peer, figure)
        ratio, at_least = theirs / max(mine, 1e-9), "at least " if peer_cut else ""
        medians = f"manyhands {'> ' if ours_cut else ''}{mine:.1f} s, SB3 {'> ' if peer_cut else ''}{theirs:.1f} s"
        text = f"- median {name}: {medians}: **{at_least}{ratio:.2f}x**"
        judged = figure == "seconds" and not result["about"].get("shipped")  # the goal is one of equal settings
        lines.append(text + (f"; goal {GOAL:.0f}x **{verdict(ratio, ours_cut, peer_cut)}**" if judged else ""))
    for side, runs in zip(SIDES, (ours, peer), strict=True):
        reached = [run for run in runs if run["reached"]]
        steps = f"median {median(run['steps'] for run in reached):,.0f} env steps" if reached else "-"
        lines.append(f"- {side}: {len(reached)} of {len(runs)} runs succeeded within their limit; {steps}")
    if any(run["others"] > ALONE for run in ours + peer):
        lines.append(f"- **Not alone:** other processes used more than {ALONE} CPU seconds per second during a run; measure again.")
    return lines


def markdown(result: dict[str, Any]) -> str:
    about, choice = result["about"], result["choice"] or {"vector": "", "threads": "-"}
    algo = ", ".join(f"{name} {value}" for name, value in about["sb3"]["algo"].items())
    sb3, vector, cache = about["sb3"], VECTORS[choice["vector"]], "kept over the runs" if about["warm"] else "empty in every run"
    told = "with its own defaults but for the network, batch, updates per step and simulators, so not equal settings and no goal"
    told = told if about.get("shipped") else "as shipped, told the same"
    lines = [
        "# End to end: seconds to 10 of 10 successes on reach-v3",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}, {about['cores']} used; Python {about['python']}.",
        "",
        "Wall clock from the start of the training process (imports, simulators and compilation included, installation excluded) to the",
        "end of the first deterministic evaluation, on goals of its own, in which all 10 episodes have a success at some step.",
        f"manyhands: `manyhands train {' '.join([about['preset'], *about['extra']])}`; compiler cache: {cache}.",
        f"SB3: SAC {told}: {algo}; {len(sb3['simulators'])} simulators, {sb3['gradient_steps']} updates per",
        f"{sb3['train_freq']} step(s) of all of them, learning_starts {sb3['learning_starts']:,}, an evaluation every",
        f"{sb3['evaluation']['every_steps']:,} env steps, VecNormalize(norm_reward=False) where normalize_obs; {vector},",
        f"{choice['threads']} torch thread(s). A run is cut off after {about['limit_s']:.0f} s, one of SB3 after 3.5 times what",
        "manyhands took with that seed where this is longer. Medians over seeds; what was cut off counts as at least its limit.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after.",
        "",
    ]
    for mode in dict.fromkeys(run["mode"] for run in result["runs"]):
        lines += mode_page(result, mode)
    lines += ["## What differs", "", *[f"- {text}" for text in about["differences"]], ""]
    if result["probe"]:
        lines += ["## Probe of SB3", "", *[f"- {probe}" for probe in result["probe"]], ""]
    return "\n".join(lines)

"""What pages about sides that did the same work have in common: ``sac_report``, ``mt_report``, ``meta_report`` and ``pearl_report``."""

from collections.abc import Iterable
from statistics import median
from typing import Any

OURS = "manyhands"
ALONE = 0.1
"""CPU seconds per second of other processes below which the machine counts as quiet"""


def ratio(peer: list[float], ours: list[float]) -> float:
    """Median over rounds of peer / ours, both of the same round: noise of the machine hits both."""
    return median(p / o for p, o in zip(peer, ours, strict=True))


def times(record: dict[str, Any]) -> dict[tuple[str, str], list[float]]:
    """(side, mode) -> ms of each round, of one case, where there were any."""
    return {(side, mode): values["ms"] for side, said in record["sides"].items() for mode, values in said["modes"].items() if values["ms"]}


def figures(values: dict[str, Any]) -> dict[str, Any]:
    """What every row begins with, of the rounds of one mode."""
    ms = values["ms"]
    return {"median_ms": median(ms), "min_ms": min(ms), "cpu": median(values["cpu"]), "others": median(values["others"])}


def judged(goal: str, at_least: float, reached: float) -> dict[str, Any]:
    return {"goal": goal, "at_least": at_least, "measured": reached, "met": reached >= at_least}


def rounds(record: dict[str, Any]) -> int:
    return max((len(values["ms"]) for side in record["sides"].values() for values in side["modes"].values()), default=0)


def remarks(record: dict[str, Any], found: dict[str, Any], notes: Iterable[str], *, first_calls: bool = False) -> list[str]:
    """Below a case's table: goals, notes, failures, and what is not in the figures, perhaps with the modes' first calls."""
    lines = []
    for goal in found["goals"]:
        verdict = "met" if goal["met"] else "NOT met"
        lines.append(f"- goal {goal['at_least']:.1f}x of {goal['goal']}: **{goal['measured']:.2f}x, {verdict}**")
    lines += [f"- {note}" for note in notes]
    lines += [f"- FAILED: {' ... '.join(dict.fromkeys((w[0], w[-1])))}" for w in map(str.splitlines, record["failed"].values())]
    if any(row["others"] > ALONE for _, _, row in found["rows"]):
        lines.append(f"- **Not alone:** in median slices other processes used more than {ALONE} CPU seconds per second; measure again.")
    waits = []
    for side, said in record["sides"].items():
        seconds = ", ".join(f"{each:.1f}" for each in said["first_call_s"].values()) if first_calls else ""
        waits.append(f"{side} {said['start_s']:.1f} s" + (f" (first calls {seconds} s)" if seconds else ""))
    return [*lines, f"- excluded: start, imports, data, compilation, warm-up: {'; '.join(waits)}"]


def heading(title: str, result: dict[str, Any], peer: str) -> list[str]:
    about, sides = result["about"], [side for record in result["cases"].values() for side in record["sides"].items()]
    versions = {f"{package} {version} ({name})" for name, side in sides for package, version in side["versions"].items()}
    return [
        f"# {title}",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {peer}: {about['peer']}.",
        f"Versions: {', '.join(sorted(versions))}.",
        "",
    ]


def body(timed: str, pages: Iterable[list[str]], differences: str) -> list[str]:
    """What comes after the introduction: what is timed, a page per case, what the sides differ in."""
    parts = [line for page in pages for line in page]
    return [
        "",
        "What is timed:",
        *timed.strip().splitlines(),
        "",
        *parts,
        "## What the sides differ in",
        "",
        *differences.strip().splitlines(),
        "",
    ]


def load(about: dict[str, Any]) -> str:
    return f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after; this bench makes 1 to 2 itself."

"""Turns the figures of ``bench/sac_update.py`` into ratios, goals and a Markdown page."""

from statistics import median
from typing import Any, NamedTuple

from _sides_page import OURS, figures, judged, load, ratio, remarks, rounds


class Goal(NamedTuple):
    peer: str
    at_least: float
    """peer's time / ours"""
    best: bool
    """each side's best mode, instead of one update per call"""
    text: str


GOALS = (
    Goal("SB3", 2.5, False, "SB3 as shipped, one update per call"),
    Goal("SB3 medium", 1.8, False, "SB3 with `set_float32_matmul_precision('medium')`, one update per call"),
    Goal("SBX", 1.0, True, "SBX, each in its best mode"),
)


def sampling(modes: dict[str, Any]) -> list[str]:
    """The modes that do the whole work, with at least one round behind them."""
    return [name for name, values in modes.items() if "no sampling" not in name and values["ms"]]


def pick(modes: dict[str, Any], best: bool) -> list[float]:
    """Rounds of one mode: that of one update per call, or the one with the lowest median."""
    names = sampling(modes)
    chosen = min(names, key=lambda n: median(modes[n]["ms"])) if best else names[0]
    return modes[chosen]["ms"]


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Rows (side, mode, figures) and goals of one case."""
    sides = {name: side["modes"] for name, side in record["sides"].items() if sampling(side["modes"])}
    ours = sides.get(OURS)
    rows = []
    for name, modes in sides.items():
        for mode, values in modes.items():
            if values["ms"]:
                row = {
                    **figures(values),
                    "of_ours": ratio(values["ms"], pick(ours, False)) if ours else None,
                    "of_ours_best": ratio(values["ms"], pick(ours, True)) if ours else None,
                }
                rows.append((name, mode, row))
    goals = []
    for goal in GOALS:
        if ours and goal.peer in sides:
            reached = ratio(pick(sides[goal.peer], goal.best), pick(ours, goal.best))
            goals.append(judged(goal.text, goal.at_least, reached))
    return {"rows": rows, "goals": goals}


def case_page(name: str, record: dict[str, Any]) -> list[str]:
    found = summary(record)
    lines = [
        f"## {name}",
        "",
        f"Hidden layers {' x '.join(map(str, record['hidden']))}, batch {record['batch']}; {rounds(record)} rounds.",
        "",
        "| | per call | ms/update, median | lowest round | updates/s | x manyhands, 1 per call | x its best | CPU s per s | others' |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for side, mode, row in found["rows"]:
        ratios = [f"{value:.2f}" if value else "-" for value in (row["of_ours"], row["of_ours_best"])]
        shown = [f"{row['median_ms']:.3f}", f"{row['min_ms']:.3f}", f"{1e3 / row['median_ms']:,.0f}", *ratios]
        shown += [f"{row['cpu']:.2f}", f"{row['others']:.2f}"]
        lines.append(f"| {side} | {mode} | " + " | ".join(shown) + " |")
    notes = [record["sides"][OURS]["note"]] if OURS in record["sides"] else []
    return [*lines, "", *remarks(record, found, notes, first_calls=True), ""]


def markdown(result: dict[str, Any]) -> str:
    about = result["about"]
    versions: dict[str, str] = {}
    notes: dict[str, str] = {}
    for record in result["cases"].values():
        for name, side in record["sides"].items():
            owner = OURS if name == OURS else "peers"
            versions |= {f"{package} {v} ({owner})": "" for package, v in side["versions"].items()}
            if name != OURS:
                notes[name] = side["note"]
    lines = [
        "# One SAC update: manyhands against peers",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}.",
        f"Versions: {', '.join(sorted(versions))}.",
        "",
        "One update is one gradient step of both critics, of the policy and of the temperature, and one move of the target, on a batch",
        f"drawn from {about['rows']:,} transitions (39-D observation, 4-D action), the same for all; sampling is included unless it says",
        "otherwise. No observation normalisation, 1-step returns. Every side is a process bound to the same cores, with as many threads as",
        f"the case says; up to {about['rounds']} interleaved rounds of {about['slice_s']} s per mode. Ratios are medians of the ratios",
        "within a round; below 1.2 they are a tie on a shared machine. The last columns: CPU seconds per second of that process, and of",
        "all others on the machine together.",
        load(about),
        "",
    ]
    for name, record in result["cases"].items():
        lines += case_page(name, record)
    lines += ["## Notes of the peers", "", *[f"- {name}: {note}" for name, note in notes.items()], ""]
    return "\n".join(lines)

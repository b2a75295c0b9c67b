"""Turns the figures of ``bench/mt_update.py`` into ratios, goals and a Markdown page."""

from typing import Any, NamedTuple

from _sides_page import OURS, figures, heading, judged, load, ratio, remarks, rounds, times
from mt_sides import BATCH, DRAWN, HIDDEN, MAX_GRAD_NORM, READY

DIFFERENCES = """
- metaworld-algorithms and plain torch push every input through every head and pick afterwards, and multiply the one-hot with the first
  layer; manyhands is task-major: no sample meets another task's head, and the one-hot's product is the one row that it selects. This is why
  their operations are more: that is theirs (and the idiom), not the task's.
- metaworld-algorithms takes the mean over both critics where the others add two means: half the critic loss before clipping, equal work.
- metaworld-algorithms also computes the norms of gradients and parameters for its log, as in every update of its training; manyhands
  computes five metrics; plain torch none.
- metaworld-algorithms' replay draws the same time steps for all tasks; manyhands draws each task's own.
- manyhands clamps log_alpha and draws its noise outside of the graph; both are part of its time.
- Batches of metaworld-algorithms are NumPy arrays, as its training hands them over; those of plain torch are tensors, and ready only: it
  has no replay of its own.
"""


class Goal(NamedTuple):
    peer: str
    mode: str
    """the same on both sides"""
    at_least: float
    """peer's time / ours"""


GOALS = (Goal("metaworld-algorithms", READY, 1.2), Goal("metaworld-algorithms", DRAWN, 1.2))


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Rows (side, mode, figures) and goals of one case."""
    ms = times(record)
    rows, goals = [], []
    for side, mode in ms:
        of_ours = {m: ratio(ms[side, mode], ms[OURS, m]) for m in (DRAWN, READY) if (OURS, m) in ms}
        rows.append((side, mode, {**figures(record["sides"][side]["modes"][mode]), "of_ours": of_ours}))
    for goal in GOALS:
        if {(goal.peer, goal.mode), (OURS, goal.mode)} <= set(ms):
            reached = ratio(ms[goal.peer, goal.mode], ms[OURS, goal.mode])
            goals.append(judged(f"{goal.peer}, on both sides {goal.mode}", goal.at_least, reached))
    return {"rows": rows, "goals": goals}


def case_page(name: str, record: dict[str, Any]) -> list[str]:
    found = summary(record)
    lines = [
        f"## {name}",
        "",
        f"{record['tasks']} tasks, batch {record['batch']}; {rounds(record)} rounds.",
        "",
        "| | batch | ms/update, median | lowest round | updates/s | x manyhands, drawing | x manyhands, ready | CPU s per s | others' |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for side, mode, row in found["rows"]:
        ratios = [f"{row['of_ours'][m]:.2f}" if m in row["of_ours"] else "-" for m in (DRAWN, READY)]
        shown = [f"{row['median_ms']:.2f}", f"{row['min_ms']:.2f}", f"{1e3 / row['median_ms']:,.2f}", *ratios]
        shown += [f"{row['cpu']:.2f}", f"{row['others']:.2f}"]
        lines.append(f"| {side} | {mode} | " + " | ".join(shown) + " |")
    notes = [record["sides"][OURS]["note"]] if OURS in record["sides"] else []
    return [*lines, "", *remarks(record, found, notes), "", *equal_work(record["sides"]), ""]


def equal_work(sides: dict[str, Any]) -> list[str]:
    """The table of what one update was counted to be, and whether that is the same for all."""
    if not sides:
        return []
    counted = {side: said["work"] for side, said in sides.items()}
    kinds = {(w["policy_parameters"], w["critic_parameters"], w["temperatures"], *sorted(w["steps"].items())) for w in counted.values()}
    verdict = "the same parameters and steps on all sides" if len(kinds) == 1 else "**NOT the same work on all sides**"
    lines = [
        f"What one update was counted to be: {verdict}.",
        "",
        "| | parameters of the policy | of both critics | temperatures | steps: critics, policy, temperatures, target | GFLOP |",
        "|---|---:|---:|---:|---|---:|",
    ]
    for side, w in counted.items():
        steps = ", ".join(str(w["steps"][name]) for name in ("critic", "policy", "temperature", "target"))
        sizes = f"{w['policy_parameters']:,} | {w['critic_parameters']:,} | {w['temperatures']}"
        lines.append(f"| {side} | {sizes} | {steps} | {w['gflop']:.2f} |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    about = result["about"]
    notes = {name: side["note"] for record in result["cases"].values() for name, side in record["sides"].items() if name != OURS}
    lines = [
        *heading("One multi-task multi-head SAC update: manyhands against peers", result, "metaworld-algorithms"),
        "One update is one gradient step of both critics, of the policy and of the temperatures (one per task), and one move of the",
        f"target. Hidden layers {' x '.join(map(str, HIDDEN))}, one output head per task for policy and critics, {BATCH} transitions per",
        "task, 39-D observation and task one-hot, 4-D action; Adam (3e-4, eps 1e-5); on all sides the gradients of the policy and of both",
        f"critics are clipped to the global norm {MAX_GRAD_NORM}. The same {about['rows']:,} transitions for all. Every side is a process",
        f"bound to the same cores, with the threads of the case; up to {about['rounds']} rounds, in turns, of {about['slice_s']} s",
        "(at least 2 updates) per mode. Ratios are medians of the ratios within a round; below 1.2 they are a tie on a shared machine.",
        "The last columns: CPU seconds per second of that process, and of all others on the machine together. GFLOP: torch counts matrix",
        "multiplications, XLA elementwise operations as well.",
        load(about),
        "",
    ]
    for name, record in result["cases"].items():
        lines += case_page(name, record)
    lines += ["## What the sides differ in", "", *DIFFERENCES.strip().splitlines(), ""]
    lines += ["## Notes of the peers", "", *[f"- {name}: {note}" for name, note in notes.items()], ""]
    return "\n".join(lines)

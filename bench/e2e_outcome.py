"""What came of one training of ``bench/end_to_end.py``, from what it wrote while it ran."""

import json
from pathlib import Path
from typing import Any

from core.metrics import read_metrics

Point = tuple[float, float]


def ours_outcome(root: Path, began: float, ended: dict[str, Any], words: str, limit_s: float) -> dict[str, Any]:
    """From metrics.jsonl. Rows come every two seconds, so the moment of the first update is reckoned back from the first that has any."""
    found = sorted(root.glob("*/metrics.jsonl"))
    rows = read_metrics(found[0]) if found else []
    updates = [(row["time"], row["learner/updates"]) for row in rows if "learner/updates" in row]
    evaluations = [(row["time"], row["step"], row["eval/success_any"]) for row in rows if "eval/success_any" in row]
    curve = [(at - began, steps, interpolate(updates, at), share) for at, steps, share in evaluations]
    return outcome(curve, first_update(updates), began, ended, words, limit_s)


def first_update(updates: list[Point]) -> float | None:
    """Time of day at which updates began."""
    some = [point for point in updates if point[1] > 0]
    if not some:
        return None
    (time, count), (later, more) = some[0], some[min(3, len(some) - 1)]
    rate = (more - count) / (later - time) if later > time else 0.0
    latest_without = max((t for t, n in updates if n == 0), default=0.0)
    return max(time - count / rate if rate else time, latest_without)


def interpolate(points: list[Point], time: float) -> float:
    before = [p for p in points if p[0] <= time]
    after = [p for p in points if p[0] > time]
    if not before or not after:
        return (before or after or [(0.0, 0.0)])[-1 if before else 0][1]
    (t0, n0), (t1, n1) = before[-1], after[0]
    return n0 + (n1 - n0) * (time - t0) / (t1 - t0)


def sb3_outcome(events: Path, began: float, ended: dict[str, Any], words: str, limit_s: float) -> dict[str, Any]:
    happened = read_events(events)
    curve = [(e["time"] - began, e["steps"], e["updates"], e["success"]) for e in happened if e["event"] == "evaluation"]
    return outcome(curve, moment(happened, "training"), began, ended, words, limit_s)


def outcome(
    curve: list[tuple[float, float, float, float]], training: float | None, began: float, ended: dict[str, Any], words: str, limit_s: float
) -> dict[str, Any]:
    """A run that reached its goal is a success whatever came after; one that did not is censored at the limit."""
    full = next((point for point in curve if point[3] >= 1.0 and point[0] <= limit_s), None)
    crashed = full is None and ended["code"] is not None
    start_s = training - began if training is not None else limit_s
    seconds = full[0] if full else limit_s
    return {
        "reached": full is not None,
        "ended": "success" if full else "crash" if crashed else "limit",
        "seconds": seconds,
        "start_s": start_s,
        "training_s": seconds - start_s,
        "steps": full[1] if full else (curve[-1][1] if curve else 0),
        "updates": round(full[2] if full else (curve[-1][2] if curve else 0)),
        "curve": [[round(s, 2), int(steps), round(updates), share] for s, steps, updates, share in curve],
        **ended,
        **({"error": words} if crashed else {}),
    }


def probe_outcome(events: Path, began: float, ended: dict[str, Any], words: str, steps: int, every: int) -> dict[str, Any]:
    """Rates, and the seconds that three evaluations' worth of training would take."""
    happened = read_events(events)
    training, evaluation = moment(happened, "training"), next((e for e in happened if e["event"] == "evaluation"), None)
    if training is None or evaluation is None:
        return {"failed": words if ended["code"] is not None else "too slow for the probe", "others": ended["others"]}
    ready_s, rate = moment(happened, "ready") - began, steps / (evaluation["began"] - training)
    evaluation_s = evaluation["time"] - evaluation["began"]
    expected_s = ready_s + 3 * (every / rate + evaluation_s)
    numbers = {"ready_s": ready_s, "steps_per_s": rate, "evaluation_s": evaluation_s, "expected_s": expected_s, "others": ended["others"]}
    return {name: round(value, 2) for name, value in numbers.items()}


def read_events(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def moment(events: list[dict[str, Any]], name: str) -> float | None:
    return next((e["time"] for e in events if e["event"] == name), None)

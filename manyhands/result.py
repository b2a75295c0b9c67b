"""What a run's evaluations came to: the last one, the best one, whether every task met the target; ``result.json`` beside the metrics."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.types import Weights
from protocols.evaluator import Evaluation

FILE = "result.json"


def task_names(tasks: Sequence[str], *, short: bool = True) -> list[str]:
    """(K,) of each task a name of its own: ``reach-v3``, with its simulator if not ``short``. What occurs twice is numbered."""
    names = [task.partition(":")[2] if short else task for task in tasks]
    often = Counter(names)
    return [f"{name}.{k}" if often[name] > 1 else name for k, name in enumerate(names)]


class Outcomes:
    """The evaluations of one run, reduced to what a person or a checkpoint needs.

    Args:
        tasks: (K,) names.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.names, self.short = task_names(tasks, short=False), task_names(tasks)
        self.last: dict[str, Any] | None = None
        """``version``, ``steps``, ``updates``, ``success_any`` and ``success_last`` (means over tasks), ``success_any_min``, ``episodes``,
        ``tasks``: name -> lists over its episodes"""
        self.best: dict[str, Any] | None = None
        """the same of the best by (mean any, mean last), the later of two equal ones, and its ``params``"""
        self.reached = 0.0
        """the largest ``success_any_min`` so far: so much was met in every task"""

    def take(self, evaluation: Evaluation, weights: Weights, steps: int, updates: int) -> dict[str, float]:
        """Takes in an evaluation of ``weights``; returns its metrics."""
        any_ = [float(outcome.success_any.mean()) for outcome in evaluation.tasks]
        last = [float(outcome.success_last.mean()) for outcome in evaluation.tasks]
        returns = [float(outcome.episode_return.mean()) for outcome in evaluation.tasks]
        found = {"success_any": _mean(any_), "success_last": _mean(last), "success_any_min": min(any_)}
        self.last = {
            "version": evaluation.version,
            "steps": steps,
            "updates": updates,
            **found,
            "episodes": sum(len(outcome.success_any) for outcome in evaluation.tasks),
            "tasks": {name: _lists(outcome) for name, outcome in zip(self.names, evaluation.tasks, strict=True)},
        }
        self.reached = max(self.reached, min(any_))
        best = self.best
        if best is None or (found["success_any"], found["success_last"]) >= (best["success_any"], best["success_last"]):
            self.best = {**self.last, "params": weights.params}
        row = {f"eval/{name}": value for name, value in found.items()} | {"eval/return": _mean(returns), "eval/version": evaluation.version}
        row |= self._adaptation(evaluation, found["success_any"], _mean(returns))
        if len(self.names) > 1:
            for k, name in enumerate(self.short):
                row |= {f"eval/{name}/success_any": any_[k], f"eval/{name}/success_last": last[k], f"eval/{name}/return": returns[k]}
        return row

    def _adaptation(self, evaluation: Evaluation, success_any: float, returned: float) -> dict[str, float]:
        """Metrics of the zero-shot control, and what adaptation gained over it; nothing without adaptation."""
        if not evaluation.zero_shot:
            return {}
        any_ = [float(outcome.success_any.mean()) for outcome in evaluation.zero_shot]
        returns = [float(outcome.episode_return.mean()) for outcome in evaluation.zero_shot]
        row = {"eval/zero_shot_any": _mean(any_), "eval/gain_any": success_any - _mean(any_)}
        row |= {"eval/zero_shot_return": _mean(returns), "eval/gain_return": returned - _mean(returns)}
        row["eval/exploration_return"] = _mean([float(outcome.episode_return.mean()) for outcome in evaluation.exploration])
        return row | ({f"eval/{name}/zero_shot_any": any_[k] for k, name in enumerate(self.short)} if len(self.short) > 1 else {})

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """``result.json``: ``facts`` of the run, the last evaluation's version, steps and episodes task by task, the best one's likewise.
        The file is there whole or not at all."""
        last = self.last or {"version": None, "steps": None, "tasks": {}}
        best = self.best and {key: self.best[key] for key in ("version", "steps", "updates", "tasks") if key in self.best}
        result = {**facts, "version": last["version"], "evaluated_at_step": last["steps"], "tasks": last["tasks"], "best": best or None}
        unfinished = folder / f"{FILE}.part"
        with unfinished.open("w") as file:
            json.dump(result, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, folder / FILE)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last": self.last, "reached": self.reached}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.last, self.reached = state["best"], state["last"], state["reached"]


def read(folder: Path) -> dict[str, Any] | None:
    """A run's ``result.json``; None before its first end."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else None


def _lists(outcome: Any) -> dict[str, list]:
    return {
        "success_any": outcome.success_any.tolist(),
        "success_last": outcome.success_last.tolist(),
        "return": outcome.episode_return.tolist(),
        "first_success": outcome.first_success.tolist(),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))

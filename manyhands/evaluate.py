"""``manyhands eval``: a saved policy on goals it has never met."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.types import Weights
from manyhands import build
from manyhands import config as configs
from manyhands.registry import Registry
from protocols.evaluator import Evaluation

PARALLEL = 20
"""simulators at most"""


def evaluate_run(name: str, root: Path, *, episodes: int, which: str, seed: int, step: int | None) -> int:
    """Prints success and return per task. Returns the exit code."""
    if episodes < 1 or seed < 0:
        raise ConfigError(f"--episodes is {episodes} and --seed {seed}; at least 1 and 0")
    row = Registry(root).get(name)
    config = configs.load(row.path / "config.json")
    weights = _weights(Checkpoints(row.path / "checkpoints", config.checkpoint.keep), which, step)
    config = replace(config, evaluation=replace(config.evaluation, episodes=episodes))
    spec = build.task_spec(config)
    results = []
    for task in range(len(config.tasks)):
        evaluator = build.evaluator(config, spec, task, row.path / "logs", simulators=min(PARALLEL, episodes), seed_name=f"fresh-{seed}")
        try:
            results.append(evaluator.evaluate(weights))
        finally:
            evaluator.close()
    Console().print(_table(row.id, weights.version, results, dict(spec.labels), config.evaluation_options["horizon"]))
    return 0


def _weights(checkpoints: Checkpoints, which: str, step: int | None) -> Weights:
    parts = checkpoints.load(step).components
    if which == "best" and (best := parts["driver"]["best"]) is not None:
        return Weights(best["version"], best["params"])
    published = parts["published"]
    return Weights(published["version"], published["params"])


def interval(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, p = 1.96, successes / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def _table(run: str, version: int, results: list[Evaluation], labels: dict[str, str], horizon: int) -> Table:
    shown = ", ".join(f"{k} {v}" for k, v in labels.items() if k != "horizon")
    table = Table(title=f"{run}, weights version {version}, deterministic, horizon {horizon}\n{shown}", title_style="")
    for column in ("task", "episodes", "success any [95 %]", "success last [95 %]", "return", "first success (env steps, median)"):
        table.add_column(column)
    for e in results:
        n, found = len(e.success_any), e.first_success[e.first_success >= 0]
        shares = []
        for flags in (e.success_any, e.success_last):
            low, high = interval(int(flags.sum()), n)
            shares.append(f"{flags.mean():.0%} [{low:.0%}, {high:.0%}]")
        table.add_row(e.task, str(n), *shares, f"{e.episode_return.mean():.0f}", f"{np.median(found):.0f}" if len(found) else "never")
    return table

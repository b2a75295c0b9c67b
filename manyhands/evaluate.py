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
    """One column per task: it fits a terminal however long the names are."""
    shown = ", ".join(f"{k} {v}" for k, v in labels.items() if k != "horizon")
    title = f"{run}, weights version {version}, deterministic, horizon {horizon}\n{shown}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for e in results:
        table.add_column(e.task)
    rows = {"episodes": [str(len(e.success_any)) for e in results]}
    for name in ("success_any", "success_last"):
        rows[f"{name.replace('_', ' ')} [95 %]"] = [_share(getattr(e, name)) for e in results]
    rows["return"] = [f"{e.episode_return.mean():.0f}" for e in results]
    found = [e.first_success[e.first_success >= 0] for e in results]
    rows["first success, env steps, median"] = [f"{np.median(f):.0f}" if len(f) else "never" for f in found]
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _share(flags: np.ndarray) -> str:
    low, high = interval(int(flags.sum()), len(flags))
    return f"{flags.mean():.0%} [{low:.0%}, {high:.0%}]"

"""``manyhands eval``: a saved policy on goals it has never met; a table to read, and every episode in ``RUN/evaluations``."""

import math
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.types import Weights
from manyhands import build
from manyhands import config as configs
from manyhands.registry import Registry
from protocols.rows import Results

PARALLEL = 20
"""simulators at most"""


def evaluate_run(name: str, root: Path, *, episodes: int, which: str, seed: int, step: int | None) -> int:
    """Prints success and return per task, and writes the episodes below the run. Returns the exit code."""
    if episodes < 1 or seed < 0:
        raise ConfigError(f"--episodes is {episodes} and --seed {seed}; at least 1 and 0")
    row = Registry(root).get(name)
    config = configs.load(row.path / "config.json")
    weights = _weights(Checkpoints(row.path / "checkpoints", config.checkpoint.keep), which, step)
    config = replace(config, evaluation=replace(config.evaluation, episodes=episodes))
    spec = build.task_spec(config)
    told = {
        "run": row.id,
        "seed": config.seed,
        "checkpoint": which if step is None else f"{which} of step {step}",
        "evaluation_seed": seed,
    }
    results = []
    for task in range(len(config.tasks)):
        evaluator = build.evaluator(config, spec, task, row.path / "logs", simulators=min(PARALLEL, episodes), seed_name=f"fresh-{seed}")
        try:
            results.append(evaluator.results(weights, told))
        finally:
            evaluator.close()
        results[-1].write(row.path / "evaluations" / f"version-{weights.version}-seed-{seed}-task-{task}.jsonl")
    Console().print(_table(row.id, weights.version, results, dict(spec.labels), config.evaluation_options["horizon"]))
    return 0


def _weights(checkpoints: Checkpoints, which: str, step: int | None) -> Weights:
    parts = checkpoints.load(step).components
    if which == "best" and (best := parts["driver"]["best"]) is not None:
        return Weights(best["version"], best["params"])
    published = parts["published"]
    return Weights(published["version"], published["params"])


def _table(run: str, version: int, results: list[Results], labels: dict[str, str], horizon: int) -> Table:
    """One column per task: it fits a terminal however long the names are."""
    shown = ", ".join(f"{k} {v}" for k, v in labels.items() if k != "horizon")
    title = f"{run}, weights version {version}, deterministic, horizon {horizon}\n{shown}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    found = []
    for one in results:
        ((task, summary),) = one.summaries().items()
        table.add_column(task)
        found.append(summary)
    rows = {
        "episodes": [str(s.n) for s in found],
        "success any [95 %]": [_share(s.success_any, s.any_interval) for s in found],
        "success last [95 %]": [_share(s.success_last, s.last_interval) for s in found],
        "return": [f"{s.episode_return:.0f}" for s in found],
        "first success, env steps, median": ["never" if math.isnan(s.first_success) else f"{s.first_success:.0f}" for s in found],
    }
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{share:.0%} [{interval[0]:.0%}, {interval[1]:.0%}]"

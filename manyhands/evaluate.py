"""``manyhands eval``: a saved policy on goals it has never met, or on a protocol; a table, and every episode in the run's folder."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.types import Weights
from manyhands import build
from manyhands import config as configs
from manyhands.arguments import EvalArguments
from manyhands.outcome import outcome_table, together
from manyhands.registry import Registry
from protocols import metaworld
from protocols.evaluator import Evaluator
from protocols.plan import per_goal
from protocols.players import AlgorithmPlayer
from protocols.rows import Results
from simulators.pool import SimulatorPool

PARALLEL = 20
"""simulators per task at most"""


def evaluate_run(options: EvalArguments) -> int:
    """Prints success and return per task, and writes the episodes below the run. Returns the exit code."""
    if options.episodes < 1 or options.seed < 0:
        raise ConfigError(f"--episodes is {options.episodes} and --seed {options.seed}; at least 1 and 0")
    row = Registry(options.runs).get(options.run)
    config = configs.load(row.path / "config.json")
    checked = _protocol(options, config) if options.protocol else None
    weights = _weights(Checkpoints(row.path / "checkpoints", config.checkpoint.keep), options.which, options.step)
    told = {
        "run": row.id,
        "seed": config.seed,
        "checkpoint": options.which if options.step is None else f"{options.which} of step {options.step}",
        "evaluation_seed": options.seed,
    }
    rng = np.random.default_rng(options.seed) if options.sampled else None
    if checked is None:
        where, results = f"fresh-{options.seed}", _on_fresh_goals(options, config, weights, told, rng, row.path / "logs")
    else:
        where = f"{checked.name}-{checked.setting}"
        told |= {"protocol": checked.name, "setting": checked.setting}
        results = _on_protocol(checked, config, weights, told, rng, row.path / "logs")
    kind = "-sampled" if options.sampled else ""
    results.write(row.path / "evaluations" / f"version-{weights.version}-{where}{kind}.jsonl")
    Console().print(outcome_table(f"{row.id} on {where}, weights version {weights.version}", results))
    return 0


def _on_fresh_goals(
    options: EvalArguments, config: configs.RunConfig, weights: Weights, told: dict, rng: np.random.Generator | None, logs: Path
) -> Results:
    """Simulators as in training, with seeds of their own."""
    config = replace(config, evaluation=replace(config.evaluation, episodes=options.episodes))
    spec, parts = build.task_spec(config), []
    for task in range(len(config.tasks)):
        simulators = min(PARALLEL, options.episodes)
        evaluator = build.evaluator(config, spec, task, logs, simulators=simulators, seed_name=f"fresh-{options.seed}")
        try:
            parts.append(evaluator.results(weights, told, rng))
        finally:
            evaluator.close()
    return together(parts)


def _protocol(options: EvalArguments, config: configs.RunConfig) -> metaworld.Protocol:
    """The protocol, if the run can play it."""
    protocol = metaworld.find(options.protocol, options.setting)
    strange = [task for task in protocol.test_tasks if task not in config.tasks]
    if strange:
        known = ", ".join(config.tasks)
        raise ConfigError(f"{protocol.name} has {strange[0]}, which the run was not trained on. Allowed: protocols of {known}")
    if config.simulator_options["hide_goal"] != protocol.hide_goal:
        shown = "hides" if protocol.hide_goal else "shows"
        raise ConfigError(f"{protocol.name} {shown} the goal, the run was trained otherwise: its policy cannot be judged by it")
    return protocol


def _on_protocol(
    protocol: metaworld.Protocol, config: configs.RunConfig, weights: Weights, told: dict, rng: np.random.Generator | None, logs: Path
) -> Results:
    """Every goal of every task, without adaptation, on all cores."""
    slots = min(PARALLEL, protocol.test_goals)
    names = [task for task in protocol.test_tasks for _ in range(slots)]
    episodes = protocol.evaluation_episodes
    simulator = protocol.options("test") | {"repeat": episodes, "frames": config.simulator_options["frames"]}
    workers = min(len(os.sched_getaffinity(0)), len(names))
    pool = SimulatorPool(names, [0] * len(names), simulator, workers=workers, log_dir=logs / "evaluator")
    evaluator = Evaluator(pool, per_goal(names, protocol.test_goals, evaluation=episodes), [0] * len(names))
    try:
        spec = pool.spec
        tasks = [config.tasks.index(name) for name in names]
        player = AlgorithmPlayer(build.algorithm(config, spec), weights, tasks, rng, action_dim=spec.action_dim)
        return evaluator.evaluate(player, told)
    finally:
        evaluator.close()


def _weights(checkpoints: Checkpoints, which: str, step: int | None) -> Weights:
    parts = checkpoints.load(step).components
    if which == "best" and (best := parts["driver"]["best"]) is not None:
        return Weights(best["version"], best["params"])
    published = parts["published"]
    return Weights(published["version"], published["params"])

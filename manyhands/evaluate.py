"""``manyhands eval``: a saved policy on fresh goals, on the frozen ones of its training, or on a protocol; a table, and every episode."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.types import Weights
from manyhands import build, config_file
from manyhands import config as configs
from manyhands.arguments import EvalArguments
from manyhands.judge import goals_of
from manyhands.outcome import outcome_table, together
from manyhands.registry import Registry
from protocols import metaworld
from protocols.evaluator import Evaluator
from protocols.plan import per_goal
from protocols.players import AlgorithmPlayer
from protocols.rows import Results
from protocols.schedule import Schedule
from simulators import hooks
from simulators.pool import SimulatorPool

Rng = np.random.Generator | None
PARALLEL = 20
"""simulators per task at most"""
EPISODES = 50
"""per task"""


def evaluate_run(options: EvalArguments) -> int:
    """Prints success and return per task, and writes the episodes below the run. Returns the exit code."""
    row = Registry(options.runs).get(options.name)
    config = config_file.load(row.path / "config.json")
    hooks.require(config.tasks)
    checked = _protocol(options, config) if options.protocol else None
    weights = weights_of(Checkpoints(row.path / "checkpoints", config.checkpoint.keep), options.which, options.step)
    told = {
        "run": row.id,
        "seed": config.seed,
        "checkpoint": options.which if options.step is None else f"{options.which} of step {options.step}",
        "evaluation_seed": options.seed,
    }
    rng = np.random.default_rng(options.seed) if options.sampled else None
    if checked is None:
        where, results = config.own_goals(options.seed), _as_in_training(options, config, weights, told, rng, row.path / "logs")
    else:
        where, goals = f"{checked.name}-{checked.setting}", goals_of(checked, options.goals)
        told |= {"protocol": checked.name, "setting": checked.setting}
        results = on_protocol(checked, goals, options.processes, config, weights, told, rng, row.path / "logs")
    kind = (f"-seed-{options.seed}" if where == "training-goals" else "") + ("-sampled" if options.sampled else "")
    results.write(row.path / "evaluations" / f"version-{weights.version}-{where}{kind}.jsonl")
    if options.out is not None:
        results.write(options.out)
    how = ", zero-shot: `manyhands adapt` lets it adapt" if checked is not None and checked.adaptation_episodes else ""
    if results.looks[-1]:
        how = f", after {results.looks[-1]} adaptation episodes"
    Console().print(outcome_table(f"{row.id} on {where}, weights version {weights.version}{how}", results.adapted()))
    return 0


def _as_in_training(options: EvalArguments, config: configs.RunConfig, weights: Weights, told: dict, rng: Rng, logs: Path) -> Results:
    """Simulators as in training, with seeds of their own: fresh goals, or each of so many frozen ones once."""
    episodes, frozen = options.episodes or EPISODES, config.simulator_options.get("goals", 0)
    episodes = min(episodes, frozen or episodes)
    several = max(options.processes, config.evaluation.workers())
    evaluation = replace(config.evaluation, episodes=episodes, simulators=0, processes=several, in_turn=bool(frozen))
    config = replace(config, evaluation=evaluation)
    spec, parts = build.task_spec(config), []
    for task in range(len(config.tasks)):
        simulators = min(PARALLEL, episodes)
        evaluator = build.evaluator(config, spec, logs, tasks=[task], simulators=simulators, seed_name=f"fresh-{options.seed}")
        try:
            parts.append(evaluator.results(weights, told, rng))
        finally:
            evaluator.close()
    return together(parts)


def _protocol(options: EvalArguments, config: configs.RunConfig) -> metaworld.Protocol:
    """The protocol, if the run can play it."""
    protocol = metaworld.find(options.protocol, options.setting or "v3")
    strange = [task for task in protocol.test_tasks if task not in config.tasks]
    if strange:
        known = ", ".join(config.tasks)
        raise ConfigError(f"{protocol.name} has {strange[0]}, which the run was not trained on. Allowed: protocols of {known}")
    check_goals_seen(protocol, config)
    return protocol


def check_goals_seen(protocol: metaworld.Protocol, config: configs.RunConfig) -> None:
    """Raises ConfigError where a policy would see its goal, or not see it, for the first time."""
    if config.simulator_options["hide_goal"] != protocol.hide_goal:
        shown = "hides" if protocol.hide_goal else "shows"
        raise ConfigError(f"{protocol.name} {shown} the goal, the run was trained otherwise: its policy cannot be judged by it")


def on_protocol(
    protocol: metaworld.Protocol, goals: int, processes: int, config: configs.RunConfig, weights: Weights, told: dict, rng: Rng, logs: Path
) -> Results:
    """The first ``goals`` goals of every task, without adaptation."""
    episodes = protocol.evaluation_episodes
    names, pool = protocol_pool(protocol, goals, episodes, processes, config, logs)
    evaluator = Evaluator(pool, per_goal(names, goals, Schedule(evaluation=episodes)), [0] * len(names))
    try:
        tasks = [config.tasks.index(name) for name in names]
        player = AlgorithmPlayer(build.algorithm(config, pool.spec), weights, tasks, rng, action_dim=pool.spec.action_dim)
        return evaluator.evaluate(player, told)
    finally:
        evaluator.close()


def protocol_pool(
    protocol: metaworld.Protocol, goals: int, repeat: int, processes: int, config: configs.RunConfig, logs: Path
) -> tuple[list[str], SimulatorPool]:
    """Simulators of every test task, and the task of each; ``repeat`` episodes in a row have one of the first ``goals`` goals."""
    names = [task for task in protocol.test_tasks for _ in range(min(PARALLEL, goals))]
    simulator = protocol.options("test") | {"goals": goals, "repeat": repeat, "frames": config.simulator_options["frames"]}
    told = {"workers": min(processes, len(names)), "log_dir": logs / "evaluator", **config.actors.limits()}
    return names, SimulatorPool(names, [0] * len(names), simulator, **told)


def weights_of(checkpoints: Checkpoints, which: str, step: int | None) -> Weights:
    """The policy of the best evaluation (the newest, where there was none), or the last one, as a checkpoint has it."""
    parts = checkpoints.load(step).components
    if which == "best" and (best := parts["driver"]["best"]) is not None:
        return Weights(best["version"], best["params"])
    published = parts["published"]
    return Weights(published["version"], published["params"])

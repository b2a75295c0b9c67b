"""``manyhands adapt``: a saved policy adapts to goals and is looked at on the way; a table, and every episode."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from core.abilities import Adapting, Encoding
from core.checkpoint import Checkpoints
from core.contracts import Algorithm
from core.errors import ConfigError
from core.seeding import SeedTree
from core.types import Seen, Stream, TaskSpec, Weights
from manyhands import build, config_file
from manyhands import config as configs
from manyhands.adapt_arguments import EPISODES, AdaptArguments
from manyhands.evaluate import check_goals_seen, protocol_pool, weights_of
from manyhands.judge import goals_of
from manyhands.outcome import adaptation_table
from manyhands.registry import Registry
from protocols import metaworld
from protocols.evaluator import PolicyEvaluator
from protocols.plan import per_goal
from protocols.rows import Results
from protocols.schedule import Schedule
from simulators import hooks, named_goals

GOALS = 20
"""of each of the run's own tasks, unless it is of one goal"""
REWARDS = ("reward", "reward_version")
"""options that a policy which adapts by rewards must find as in training"""
FORGETFUL = "This policy neither remembers nor learns within a trial: all looks at one goal are alike."


def adapt_run(options: AdaptArguments) -> int:
    """Prints success and return after 0, 1, 2, 5, 10 episodes per task, and writes all episodes below the run. Returns the exit code."""
    row = Registry(options.runs).get(options.run)
    config = config_file.load(row.path / "config.json")
    hooks.require(config.tasks)
    if options.tasks:
        from manyhands.adapt_tasks import adapt_to_tasks

        return adapt_to_tasks(options, config, row)
    episodes = options.episodes or EPISODES
    schedule = Schedule.looked_at(episodes, options.look_episodes)
    protocol = _protocol(options, config) if options.protocol else None
    if protocol is None:
        config.options_of_trials(schedule)  # raises before anything starts
    goals = None if protocol is None else goals_of(protocol, options.goals)
    weights = weights_of(Checkpoints(row.path / "checkpoints", config.checkpoint.keep), options.which, options.step)
    if protocol is None or goals is None:
        where, evaluator = _own_tasks(options, config, schedule, row.path / "logs")
    else:
        where = f"{protocol.name}-{protocol.setting}"
        evaluator = protocol_evaluator(protocol, goals, options.processes, config, schedule, row.path / "logs")
    told = about(options, config, row.id)
    told |= {} if protocol is None else {"protocol": protocol.name, "setting": protocol.setting}
    try:
        results = _played(evaluator, weights, told, config.tasks, options.seed, options.held_out)
    finally:
        evaluator.close()
    drawn = f"-seed-{options.seed}" if where == "training-goals" else ""  # what explores, and perhaps draws the goals
    results.write(row.path / "evaluations" / f"adapt-{episodes}-version-{weights.version}-{where}{drawn}.jsonl")
    if options.out is not None:
        results.write(options.out)
    notes = [FORGETFUL] if results.settings[results.tasks[0]]["adapts_by"] == "nothing" else []
    Console().print(adaptation_table(f"{row.id} adapts on {where}, weights version {weights.version}", results, notes))
    return 0


def about(options: AdaptArguments, config: configs.RunConfig, run: str) -> dict[str, Any]:
    """What every row tells of the run and its policy."""
    checkpoint = options.which if options.step is None else f"{options.which} of step {options.step}"
    return {"run": run, "seed": config.seed, "evaluation_seed": options.seed, "checkpoint": checkpoint}


def _played(
    evaluator: PolicyEvaluator, weights: Weights, told: Mapping[str, Any], known: Sequence[str], seed: int, held_out: bool = False
) -> Results:
    """All trials, if the policy can play their tasks.

    Args:
        known: tasks of the training.
        held_out: none of the goals is one of them, also where they have the same number.

    Raises:
        ConfigError: the policy is told which task it is in, and was never told of one of these.
    """
    simulators = evaluator.evaluator.simulators
    simulators.ready()
    means, is_told = look_into(evaluator.algorithm, weights, simulators.spec, len(known))
    strange = [spec.task for spec in getattr(simulators, "specs", [simulators.spec]) if held_out or spec.task not in known]
    if strange and is_told:
        raise ConfigError(
            f"the run's policy is told which of its {len(known)} tasks it is in, and {strange[0]} is none of them. "
            "Allowed: protocols of tasks it was trained on, or runs whose policy finds out by itself"
        )
    return evaluator.results(weights, {**told, "adapts_by": means}, SeedTree(seed).child("adaptation").numpy())


def look_into(algorithm: Algorithm, weights: Weights, spec: TaskSpec, tasks: int) -> tuple[str, bool]:
    """How the policy adapts, ``gradients``, ``memory`` or ``nothing``; and whether it acts by being told its task.

    Both are found by trying, with made-up observations: as if of each task, and as if after a step of the same trial.
    """
    if isinstance(algorithm, Encoding):  # what it sees cannot be made up, and is all that it is told of its task
        return "memory" if isinstance(algorithm.plan, Stream) and algorithm.plan.context else "nothing", False
    obs = np.random.default_rng(0).standard_normal((4, spec.obs_dim)).astype(np.float32)
    lanes, yes, zeros = np.zeros(4, np.int64), np.ones(4, bool), np.zeros((4, spec.action_dim), np.float32)
    fresh, carry = [], None
    for task in range(tasks):
        seen = Seen(obs, np.full(4, task), lanes, yes, yes, zeros, zeros[:, 0])
        action, carry, _ = algorithm.act(weights.params, None, seen, None)
        fresh.append(action)
    is_told = not all(_alike(fresh[0], action) for action in fresh)
    if isinstance(algorithm, Adapting):
        return "gradients", is_told
    seen = Seen(obs, np.full(4, tasks - 1), lanes, ~yes, yes, zeros + 1, zeros[:, 0] + 1)
    later, _, _ = algorithm.act(weights.params, carry, seen, None)
    return "nothing" if _alike(fresh[-1], later) else "memory", is_told


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """But for the last bits."""
    return np.allclose(one, other, rtol=0, atol=1e-6)


def _own_tasks(options: AdaptArguments, config: configs.RunConfig, schedule: Schedule, logs: Path) -> tuple[str, PolicyEvaluator]:
    """Simulators as in training with seeds of their own: fresh goals, or the frozen or named ones of the training, or those held out."""
    if options.held_out:
        config = held_out(config)
        evaluation = replace(config.evaluation, episodes=options.goals or 1, simulators=0, processes=options.processes)
        config, name = replace(config, evaluation=evaluation), f"held-out-{options.seed}"
        return name, build.evaluator(config, build.task_spec(config), logs, seed_name=name, schedule=schedule)
    frozen = config.simulator_options.get("goals", 0)
    goals = options.goals or (1 if config.named_goals else GOALS)
    in_turn = bool(frozen) and not config.named_goals
    if in_turn:
        goals = min(goals, frozen)
    evaluation = replace(config.evaluation, episodes=goals, simulators=0, in_turn=in_turn, processes=options.processes)
    config = replace(config, evaluation=evaluation)
    evaluator = build.evaluator(config, build.task_spec(config), logs, seed_name=f"fresh-{options.seed}", schedule=schedule)
    return config.own_goals(options.seed), evaluator


def held_out(config: configs.RunConfig) -> configs.RunConfig:
    """The run, of the goals that its simulator keeps apart for tests: every one of them by its name.

    Raises:
        ConfigError: its simulator keeps none apart, or they were trained on.
    """
    classes, options = dict.fromkeys(task.partition("@")[0] for task in config.tasks), config.simulator_options | {"split": "test"}
    apart = config.simulator_options.get("split") == "train"
    tasks = [f"{name}@{goal}" for name in classes if apart for goal in range(named_goals(name, options))]
    if not tasks:
        allowed = "Allowed: simulators that name their goals and were trained on with split=train, such as semicircle"
        raise ConfigError(f"--held-out is asked for, but no goals of {config.tasks[0]} were kept apart. {allowed}")
    simulator = replace(config.simulator, split="test")  # type: ignore[type-var] - every Options is a dataclass
    return replace(config, simulator=simulator, tasks=tuple(tasks))


def _protocol(options: AdaptArguments, config: configs.RunConfig) -> metaworld.Protocol:
    """The protocol, if the run's policy can be asked to adapt in it."""
    protocol = metaworld.find(options.protocol, options.setting or "v3")
    if not protocol.adaptation_episodes:
        allowed = "ml10, ml45, ml1-TASK. Fix: manyhands eval RUN --protocol " + protocol.name
        raise ConfigError(f"{protocol.name} is judged without adaptation. Allowed: {allowed}")
    foreign = [task for task in config.tasks if not task.startswith("metaworld:")]
    if foreign:
        raise ConfigError(f"{protocol.name} is of Meta-World, the run was trained on {foreign[0]}. Fix: leave --protocol out")
    check_goals_seen(protocol, config)
    check_rewards(protocol, config, "the --setting (v3 or 2019) that has them")
    return protocol


def check_rewards(protocol: metaworld.Protocol, config: configs.RunConfig, allowed: str) -> None:
    """Raises ConfigError where a policy that adapts by rewards would find other ones than in training."""
    plays, knows = protocol.options("test"), config.simulator_options
    for name in REWARDS:
        if plays[name] != knows[name]:
            differ = f"{name} is {plays[name]} in {protocol.name} {protocol.setting}, and was {knows[name]} in training"
            raise ConfigError(f"{differ}: a policy adapts by the rewards it knows. Allowed: {allowed}")


def protocol_evaluator(
    protocol: metaworld.Protocol, goals: int, processes: int, config: configs.RunConfig, schedule: Schedule, logs: Path
) -> PolicyEvaluator:
    """A trial with each of the first ``goals`` goals of every test task; without adaptation, so many episodes with each."""
    names, pool = protocol_pool(protocol, goals, schedule.repeat, processes, config, logs)
    indices = [config.tasks.index(name) if name in config.tasks else 0 for name in names]
    return PolicyEvaluator(build.algorithm(config, pool.spec), pool, per_goal(names, goals, schedule), indices, [0] * len(names))

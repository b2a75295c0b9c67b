"""``manyhands finetune``: what a run has learned, carried on to tasks it has not seen; success after 0, 5,000, ... env steps on each.

Every task (and seed) is an ordinary run of its own, which begins with the other run's networks and is trained in stages, one per entry of
``--steps``. Between stages its newest policy is judged: on the test goals of a protocol, or as the run itself would evaluate; one that
adapts, before and after adaptation.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import ConfigError
from manyhands import config_file
from manyhands.finetune_arguments import FinetuneArguments
from manyhands.finetune_plan import Stages, derived, judged_apart, kind_of, schedule_of
from manyhands.finetune_table import Judged, curve_tables
from manyhands.task_names import full_names

if TYPE_CHECKING:
    from core.types import TaskSpec, Weights
    from manyhands.config import RunConfig
    from manyhands.registry import Run as Row
    from protocols.evaluator import PolicyEvaluator
    from protocols.metaworld import Protocol
    from protocols.rows import Results
    from protocols.schedule import Schedule

SLOTS = 20
"""simulators of a judgement without a protocol, at most, but one for each goal"""


class Job(NamedTuple):
    """What all runs of one command have in common."""

    options: FinetuneArguments
    protocol: "Protocol | None"
    schedule: "Schedule"
    """of a trial in a judgement"""
    adapts_by: str


def finetune(options: FinetuneArguments) -> int:
    """Trains and judges, prints the tables, writes the episodes. Returns the exit code; 130 where someone stopped it."""
    from rich.console import Console

    from manyhands import session
    from manyhands.registry import Registry
    from simulators import hooks

    options.check()
    row = Registry(options.runs).get(options.run)
    source = config_file.load(row.path / "config.json")
    hooks.require(source.tasks)
    _, kind = kind_of(source, row.id, options)
    protocol = _protocol(options, source, adapts=kind.adapts)
    if protocol is None:
        options = replace(options, tasks=full_names(options.tasks, source.tasks[0].partition(":")[0]))
    job = Job(options, protocol, schedule_of(source, kind, options, protocol), kind.adapts_by)
    plan = [(task, seed) for task in _tasks(options, protocol) for seed in options.seeds]
    wanted = [derived(source, row.id, task, seed, options, protocol) for task, seed in plan]
    console, found, code = Console(), list[Judged](), 0
    if protocol is None:  # raises before anything starts
        (judged_apart(wanted[0], options.episodes) if options.held_out else wanted[0]).options_of_trials(job.schedule)
    specs = [session.check(config, options.runs, console) for config in wanted[:: len(options.seeds)]]  # all, before the first begins
    for note in Stages.of(wanted[0], plan[0][0], specs[0]).notes(wanted[0], options):
        console.print(f"[dim]{note}[/dim]", highlight=False)
    for i, config in enumerate(wanted):
        code = _one(config, specs[i // len(options.seeds)], plan[i][0], job, found)
        if code:
            break
    if found:
        for table in curve_tables(f"{row.id}, method {options.method}", found, options.steps):
            console.print(table)
    if options.out is not None:
        _write(options.out, found)
    return code


def _protocol(options: FinetuneArguments, source: "RunConfig", *, adapts: bool) -> "Protocol | None":
    from manyhands.adapt import check_rewards
    from manyhands.judge import goals_of
    from protocols import metaworld

    if not options.protocol:
        return None
    protocol = metaworld.find(options.protocol)
    goals_of(protocol, options.goals)
    if source.simulator_options.get("hide_goal") != protocol.hide_goal:
        shown = "hides" if protocol.hide_goal else "shows"
        raise ConfigError(f"{protocol.name} {shown} the goal, the run was trained otherwise: it cannot begin there")
    if adapts:
        check_rewards(protocol, source, f"runs of the setting {protocol.setting}")
    return protocol


def _tasks(options: FinetuneArguments, protocol: "Protocol | None") -> tuple[str, ...]:
    if protocol is None:
        return options.tasks
    strange = [task for task in options.tasks if task not in protocol.test_tasks]
    if strange:
        raise ConfigError(f"--tasks has {strange[0]}. Allowed: {', '.join(protocol.test_tasks)}, the test tasks of {protocol.name}")
    return options.tasks or protocol.test_tasks


def _one(config: "RunConfig", spec: "TaskSpec", task: str, job: Job, found: list[Judged]) -> int:
    """One run through all its stages. Returns the exit code of the first stage that did not end well."""
    from core.checkpoint import Checkpoints
    from manyhands import session
    from manyhands.evaluate import weights_of

    options, stages = job.options, Stages.of(config, task, spec)
    row = session.enter(config, options.runs)
    checkpoints, taken = Checkpoints(row.path / "checkpoints", config.checkpoint.keep), 0
    for asked in options.steps:
        if asked == 0:
            weights = first_weights(config, spec, row.path)
        else:
            total = stages.total(asked)
            if taken < total:  # two stages may be the same whole rounds
                config_file.save(replace(config, total_steps=total), row.path / "config.json")
                code = session.resume(row.id, options.runs, None)
                if code:
                    return code
                taken = checkpoints.steps()[-1]
            weights = weights_of(checkpoints, "last", None)
        steps = stages.of_task(taken)
        told = {"run": row.id, "seed": config.seed, "checkpoint": "last", "method": options.method, "env_steps": steps}
        results = _judged(config, spec, task, weights, told, job, row)
        results.write(row.path / "evaluations" / f"steps-{asked}.jsonl")
        found.append(Judged(task, config.seed, asked, steps, results))
    return 0


def first_weights(config: "RunConfig", spec: Any, folder: Path) -> "Weights":
    """The policy that a run begins with, before its first step."""
    from core.tree import index_tree, named_leaves
    from core.types import Weights
    from manyhands import build, warm_start

    algorithm = build.algorithm(config, spec)
    state = algorithm.init([build.seeds(config).child("learner").child("init").integer()])
    leaves, initial = dict(named_leaves(state)), warm_start.tensors_of(config, spec, folder) or {}
    for name, leaf in initial.items():
        leaves[name].copy_(leaf)
    policy = index_tree(algorithm.policy(state), 0)
    return Weights(0, {name: leaf.numpy().copy() for name, leaf in policy.items()})


def _judged(
    config: "RunConfig", spec: "TaskSpec", task: str, weights: "Weights", told: Mapping[str, Any], job: Job, row: "Row"
) -> "Results":
    """The fine-tuned task alone. Exploration in adaptation episodes has the same random numbers at all points of a curve."""
    from core.seeding import SeedTree

    evaluator, told, rng = _evaluator(config, spec, task, job, row.path / "logs"), dict(told), None
    try:
        if job.protocol is not None:
            told |= {"protocol": job.protocol.name, "setting": job.protocol.setting}
        if job.schedule.adaptation:
            told |= {"adapts_by": job.adapts_by}
            rng = SeedTree(config.seed).child("adaptation").numpy()
        return evaluator.results(weights, told, rng)
    finally:
        evaluator.close()


def _evaluator(config: "RunConfig", spec: "TaskSpec", task: str, job: Job, logs: Path) -> "PolicyEvaluator":
    """The test goals of a protocol; or as many trials as were asked for, of each of the task's goals where it has names for them."""
    from manyhands import build
    from manyhands.adapt import protocol_evaluator
    from manyhands.judge import goals_of

    options, protocol = job.options, job.protocol
    if protocol is not None:
        one, goals = replace(protocol, test_tasks=(task,)), goals_of(protocol, options.goals)
        return protocol_evaluator(one, goals, options.processes, config, job.schedule, logs)
    played = range(min(Stages.of(config, task, spec).own, options.episodes))  # the run's first tasks are its own
    several = max(options.processes, config.evaluation.workers())
    settings = replace(config.evaluation, episodes=options.episodes // len(played), simulators=0, processes=several)
    simulators = max(1, min(settings.episodes, SLOTS // len(played)))
    config = judged_apart(config, settings.episodes) if options.held_out else replace(config, evaluation=settings)
    return build.evaluator(config, spec, logs, tasks=played, simulators=simulators, schedule=job.schedule)


def _write(path: Path, found: list[Judged]) -> None:
    """All rows in one file: those of different steps have different settings, and cannot be averaged by mistake."""
    import json

    rows = [row._asdict() | {"settings": dict(one.results.settings[row.task])} for one in found for row in one.results.rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

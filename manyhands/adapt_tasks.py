"""``manyhands adapt RUN --tasks``: to tasks that a run has not seen it adapts by learning on, or by what its policy infers of them."""

from dataclasses import replace

from rich.console import Console

import simulators
from core import demos as demonstrations
from core.checkpoint import Checkpoints
from core.demofile import read
from core.demos import Demo
from core.errors import ConfigError
from core.seeding import SeedTree
from core.types import TaskSpec
from manyhands import build
from manyhands.adapt import GOALS, about
from manyhands.adapt_arguments import EPISODES, JUDGED, STEPS, AdaptArguments
from manyhands.config import RunConfig
from manyhands.demos import of_run
from manyhands.evaluate import weights_of
from manyhands.finetune import finetune
from manyhands.finetune_arguments import FinetuneArguments
from manyhands.finetune_plan import judged_apart
from manyhands.outcome import adaptation_table
from manyhands.registry import Run as Row
from manyhands.task_names import full_names
from protocols.schedule import Schedule

SCENES = "scenes are drawn anew in every episode of a trial: the gain compares different ones"


def adapt_to_tasks(options: AdaptArguments, config: RunConfig, row: Row) -> int:
    """Prints the tables and writes all episodes. Returns the exit code.

    Raises:
        ConfigError: the run cannot adapt by this method, or there is no such task.
    """
    names = full_names(options.tasks, config.tasks[0].partition(":")[0])
    if options.method == "context":
        return _by_context(options, replace(config, tasks=names, demos=replace(config.demos, counts=())), config, row)
    if options.method == "reptile" and config.algorithm != "reptile":
        raise ConfigError(f"--method is reptile, but {row.id} has learned by {config.algorithm}. Allowed: finetune, or runs of reptile")
    return finetune(learning_on(options, names))


def learning_on(options: AdaptArguments, tasks: tuple[str, ...]) -> FinetuneArguments:
    """The same, as ``manyhands finetune`` is asked for it."""
    return FinetuneArguments(
        options.run,
        options.runs,
        method="mixed" if options.jointly else "all",
        tasks=tasks,
        demos=options.demos,
        steps=STEPS if options.steps is None else options.steps,
        episodes=options.episodes or JUDGED,
        seeds=(options.seed,),
        held_out=options.held_out,
        processes=options.processes,
        out=options.out,
    )


def _by_context(options: AdaptArguments, new: RunConfig, trained: RunConfig, row: Row) -> int:
    """No network changes.

    Args:
        new: the run's settings, of the new tasks.
    """
    _check_infers(trained, row.id, options.demos)
    schedule = Schedule.looked_at(options.episodes or EPISODES, options.look_episodes, options.demos)
    judged = {"episodes": options.goals or GOALS, "simulators": 0, "in_turn": False, "processes": options.processes}
    new = replace(new, evaluation=replace(new.evaluation, **judged))
    if options.held_out:
        new = judged_apart(new, new.evaluation.episodes)
    for task in new.tasks:  # raises before anything starts
        simulators.check(task, new.options_of_trials(schedule))
    spec = build.task_spec(new)
    weights = weights_of(Checkpoints(row.path / "checkpoints", trained.checkpoint.keep), options.which, options.step)
    demos, console = _demos(options, replace(trained, tasks=new.tasks), spec), Console()
    goals = "held-out" if options.held_out else "fresh"
    where = "-".join(name.partition(":")[2] for name in new.tasks) + f"-demos-{options.demos}-{goals}-{options.seed}"
    evaluator = build.evaluator(new, spec, row.path / "logs", seed_name=f"fresh-{options.seed}", schedule=schedule)
    try:
        told = {**about(options, trained, row.id), "method": "context", "adapts_by": "memory"}
        results = evaluator.results(weights, told, SeedTree(options.seed).child("adaptation").numpy(), demos)
    finally:
        evaluator.close()
    results.write(row.path / "evaluations" / f"adapt-{schedule.adaptation}-version-{weights.version}-{where}.jsonl")
    if options.out is not None:
        results.write(options.out)
    notes = [] if "repeat" in new.simulator_options else [SCENES]
    console.print(adaptation_table(f"{row.id} adapts by its context to new tasks, weights version {weights.version}", results, notes))
    return 0


def _check_infers(trained: RunConfig, run: str, demos: int) -> None:
    """Raises ConfigError where a run's policy infers nothing of its task, or not from demonstrations."""
    if trained.algorithm != "pearl" and not (trained.algorithm == "c2farm" and trained.adapts_to_tasks):
        allowed = "runs of c2farm with algo.inferred.latent above 0, or of pearl; or --method finetune"
        raise ConfigError(f"--method is context, but the policy of {run}, of {trained.algorithm}, infers no task. Allowed: {allowed}")
    if demos and trained.algorithm == "pearl":
        raise ConfigError(f"--demos is {demos}, but {run} has learned by pearl, which recalls none. Allowed: 0")


def _demos(options: AdaptArguments, new: RunConfig, spec: TaskSpec) -> list[list[Demo]]:
    """Of each task as many as were asked for."""
    if not options.demos:
        return []
    found = [[read(path) for path in of_run.of_task(new, task, options.demos, options.runs, Console())] for task in new.tasks]
    for demo in (demo for shown in found for demo in shown):
        demonstrations.check(demo, spec)
    return found

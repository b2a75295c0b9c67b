"""Makes each component from the run's configuration, in whatever process it will live: the factories that backends start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import algos
from actors.policy import Policy
from actors.recorder import Recorder
from actors.worker import ActorWorker
from core.contracts import Algorithm, ChunkSink
from core.errors import ConfigError
from core.rows import row_dtype
from core.seeding import SeedTree
from core.types import TaskSpec
from learner.worker import LearnerWorker
from manyhands.config import RunConfig
from protocols.evaluator import PolicyEvaluator
from protocols.plan import each_from_zero, per_goal
from replay.ingest import Ingest
from replay.ring import Ring
from replay.sampler import Sampler
from simulators.pool import SimulatorPool
from simulators.process import cores


def task_spec(config: RunConfig) -> TaskSpec:
    """What the tasks of this run look like; asked of a real simulator in a process of its own, which then ends.

    Raises:
        ConfigError: the tasks differ in observation or action.
    """
    specs = [pool_spec(task, config.simulator_options) for task in config.tasks]
    for task, spec in zip(config.tasks, specs, strict=True):
        if (spec.observation, spec.action_dim) != (specs[0].observation, specs[0].action_dim):
            raise ConfigError(f"tasks {config.tasks[0]} and {task} differ in observation or action; one run needs equal ones")
    return specs[0]


def pool_spec(task: str, options: dict[str, Any]) -> TaskSpec:
    with SimulatorPool(task, [0], options) as pool:
        return pool.spec


def seeds(config: RunConfig) -> SeedTree:
    return SeedTree(config.seed)


def algorithm(config: RunConfig, spec: TaskSpec) -> Algorithm:
    return algos.find(config.algorithm).make(config.algo, spec, len(config.tasks))


def rows(config: RunConfig, spec: TaskSpec) -> np.dtype:
    return row_dtype(spec, algorithm(config, spec).fields())


def ingest(config: RunConfig, spec: TaskSpec, run_id: str) -> Ingest:
    plan = algorithm(config, spec).plan
    return Ingest(
        run_id,
        rows(config, spec),
        tasks=len(config.tasks),
        capacity=config.replay.capacity,
        writers=config.actors.actors,
        window=plan.n_step + 1,
    )


def learner(config: RunConfig, spec: TaskSpec, ring: str) -> LearnerWorker:
    """Attaches to the ring read-only and begins to compile."""
    made, tree = algorithm(config, spec), seeds(config).child("learner")
    source = Sampler(Ring.attach(ring), range(len(config.tasks)), made.plan, tree.child("sampler").integer())
    worker = LearnerWorker(made, [source], [tree], config.learner)
    worker.compile()
    return worker


def actor(config: RunConfig, spec: TaskSpec, sink: ChunkSink, index: int, incarnation: int, logs: Path) -> ActorWorker:
    """Actor ``index`` steps task ``index % K``; its simulators' seeds depend on the task and on its place among the task's actors."""
    settings, task = config.actors, index % len(config.tasks)
    tree = seeds(config).child("task", task).child("actor", index // len(config.tasks))
    pool = SimulatorPool(
        config.tasks[task],
        [tree.child("simulator", i).integer() for i in range(settings.simulators)],
        config.simulator_options,
        workers=settings.processes,
        cores=cores(index, settings.processes) if settings.pin else None,
        step_timeout_s=settings.step_timeout_s,
        reset_timeout_s=settings.reset_timeout_s,
        log_dir=logs / f"actor-{index}",
        wait=False,
    )
    policy = Policy(
        algorithm(config, spec),
        tree.child("exploration", incarnation).numpy(),
        action_dim=spec.action_dim,
        random_steps=settings.random_steps // settings.actors if incarnation == 0 else 0,
        tasks=np.full(settings.simulators, task),
    )
    recorder = Recorder(
        rows(config, spec),
        slots=settings.simulators,
        chunk=settings.chunk,
        horizon=spec.horizon,
        writer=index,
        incarnation=incarnation,
        task=task,
    )
    return ActorWorker(spec, policy, pool, sink, recorder)


def evaluator(
    config: RunConfig, spec: TaskSpec, logs: Path, *, tasks: Sequence[int] | None = None, simulators: int = 0, seed_name: str = "evaluation"
) -> PolicyEvaluator:
    """Simulators of all tasks (or of ``tasks``) in one pool, with seeds of their own: evaluation meets goals that training did not."""
    settings, chosen = config.evaluation, range(len(config.tasks)) if tasks is None else tasks
    count = simulators or settings.simulators_per_task(len(chosen))
    slots = [task for task in chosen for _ in range(count)]
    trees = {task: seeds(config).child("task", task).child(seed_name) for task in chosen}
    own = [trees[task].child("simulator", i).integer() for task in chosen for i in range(count)]
    pool = SimulatorPool(
        [config.tasks[task] for task in slots],
        own,
        config.evaluation_options,
        workers=min(settings.processes, len(slots)),
        step_timeout_s=config.actors.step_timeout_s,
        reset_timeout_s=config.actors.reset_timeout_s,
        log_dir=logs / "evaluator",
        wait=False,
    )
    plan = per_goal(slots, settings.episodes) if settings.in_turn else each_from_zero(slots, settings.episodes)
    return PolicyEvaluator(algorithm(config, spec), pool, plan, slots, own)

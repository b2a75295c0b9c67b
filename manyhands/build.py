"""Makes each component from the run's configuration, in whatever process it will live: the factories that backends start."""

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
from replay.ingest import Ingest
from replay.ring import Ring
from replay.sampler import Sampler
from replay.windows import rows_read
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
    dtype = rows(config, spec)
    return Ingest(
        run_id,
        dtype,
        tasks=len(config.tasks),
        capacity=config.replay.capacity,
        writers=config.actors.actors,
        window=rows_read(dtype, algorithm(config, spec).plan),
    )


def learner(config: RunConfig, spec: TaskSpec, ring: str) -> LearnerWorker:
    """Attaches to the ring read-only and begins to compile."""
    made, tree = algorithm(config, spec), seeds(config).child("learner")
    source = Sampler(Ring.attach(ring), range(len(config.tasks)), made.plan, tree.child("sampler").integer())
    worker = LearnerWorker(made, [source], [tree], config.learner)
    worker.compile()
    return worker


def actor(config: RunConfig, spec: TaskSpec, sink: ChunkSink, index: int, incarnation: int, logs: Path) -> ActorWorker:
    """Simulators' seeds depend on the task and on the actor's place among those of the task, not on what else the actor steps."""
    settings, own = config.actors, config.actors.tasks_of(index, len(config.tasks))
    trees = [seeds(config).child("task", task).child("actor", index // len(config.tasks)) for task in own]
    tasks = np.repeat(np.array(own), settings.simulators)
    pool = SimulatorPool(
        [config.tasks[task] for task in tasks],
        [tree.child("simulator", i).integer() for tree in trees for i in range(settings.simulators)],
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
        trees[0].child("exploration", incarnation).numpy(),
        action_dim=spec.action_dim,
        random_steps=settings.random_steps // settings.actors if incarnation == 0 else 0,
        tasks=tasks,
    )
    recorder = Recorder(
        rows(config, spec),
        slots=len(tasks),
        chunk=settings.chunk,
        horizon=spec.horizon,
        writer=index,
        incarnation=incarnation,
        tasks=tasks,
    )
    return ActorWorker(spec, policy, pool, sink, recorder)


def evaluator(
    config: RunConfig, spec: TaskSpec, task: int, logs: Path, *, simulators: int = 0, seed_name: str = "evaluation"
) -> PolicyEvaluator:
    """Simulators with seeds of their own: evaluation meets goals that training did not."""
    settings = config.evaluation
    count = simulators or settings.episodes
    tree = seeds(config).child("task", task).child(seed_name)
    own = [tree.child("simulator", i).integer() for i in range(count)]
    pool = SimulatorPool(
        config.tasks[task],
        own,
        config.evaluation_options,
        workers=min(settings.processes, count),
        step_timeout_s=config.actors.step_timeout_s,
        reset_timeout_s=config.actors.reset_timeout_s,
        log_dir=logs / f"evaluator-{task}",
        wait=False,
    )
    return PolicyEvaluator(algorithm(config, spec), pool, settings.episodes, task, own)

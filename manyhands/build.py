"""Makes each component from the run's configuration, in whatever process it will live: the factories that backends start."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import algos
from actors.policy import Policy
from actors.recorder import Recorder
from actors.rounds import RoundWorker
from actors.worker import ActorWorker
from core import types
from core.abilities import Encoding
from core.contracts import Algorithm, ChunkSink, Reduce, alone
from core.demos import Demo
from core.rows import opening_rows, row_dtype
from core.seeding import SeedTree
from core.seen import Watch
from core.types import Rounds, Stream, TaskSpec
from learner.ranks import RankedLearner, part
from learner.rounds import RoundLearner
from learner.worker import LearnerWorker
from manyhands.config import RunConfig
from protocols.evaluator import PolicyEvaluator
from protocols.plan import Plan, each_from_zero, per_goal
from protocols.schedule import Schedule
from replay.demos import demo_ring, demos_beside
from replay.ingest import Ingest
from replay.journal import Wanted
from replay.ring import Ring
from replay.rounds import RoundSource, rows_of_round
from replay.sampler import Sampler
from replay.settings import Level
from replay.windows import rows_read
from simulators import hooks
from simulators.memory import check_alike
from simulators.pool import SimulatorPool
from simulators.process import cores


def task_spec(config: RunConfig) -> TaskSpec:
    """What the tasks of this run look like, with their longest horizon; asked of real simulators, in processes that then end, unless
    their module can tell.

    Raises:
        ConfigError: the tasks differ in observation or action.
    """
    names = list(dict.fromkeys(config.tasks))
    specs = [spec for name in names if (spec := hooks.spec(name, config.simulator_options))]
    if len(specs) < len(names):
        workers = min(len(names), len(os.sched_getaffinity(0)))
        with SimulatorPool(names, [0] * len(names), config.simulator_options, workers=workers, **config.actors.limits()) as pool:
            specs = pool.specs
    check_alike(specs)
    return replace(specs[0], horizon=max(spec.horizon for spec in specs))


def seeds(config: RunConfig) -> SeedTree:
    return SeedTree(config.seed)


def algorithm(config: RunConfig, spec: TaskSpec) -> Algorithm:
    return algos.find(config.algorithm).make(config.algo, spec, len(config.tasks), config.actors.simulators_of_task(len(config.tasks)))


def rows(config: RunConfig, spec: TaskSpec) -> np.dtype:
    return row_type(algorithm(config, spec), spec)


def row_type(made: Algorithm, spec: TaskSpec) -> np.dtype:
    """Of the rows that this algorithm learns from."""
    return row_dtype(spec, made.fields(), made.encoded() if isinstance(made, Encoding) else None)


class RingSize(NamedTuple):
    """What a run's ring is made with."""

    dtype: np.dtype
    tasks: int
    capacity: int
    """rows per task: those of one round on-policy, else as the settings say"""
    writers: int
    window: int


def ring_size(config: RunConfig, spec: TaskSpec) -> RingSize:
    made = algorithm(config, spec)
    dtype, K, plan = row_type(made, spec), len(config.tasks), made.plan
    if isinstance(plan, Rounds):
        capacity, window = rows_of_round(dtype, plan, config.actors.simulators_of_task(K), spec.horizon), 1 + opening_rows(dtype)
    else:
        capacity, window = config.replay.capacity, rows_read(dtype, plan)
    return RingSize(dtype, K, capacity, config.actors.actors + config.gateway.clients, window)


def journal_level(config: RunConfig, plan: types.Plan) -> Level:
    """What the rows of this run outlive. What a run that goes on bit by bit has lost since its checkpoint it makes again, the same; a round
    that was not learned from is played again, and one that was is needed no more."""
    return "off" if config.exact or isinstance(plan, Rounds) else config.replay.journal


def ingest(config: RunConfig, spec: TaskSpec, run_id: str, folder: Path) -> Ingest:
    """Of the run in ``folder``."""
    wanted = Wanted(folder, journal_level(config, algorithm(config, spec).plan))
    size, place = ring_size(config, spec), {"directory": config.replay.folder, "spilled": bool(config.replay.spill)}
    return Ingest(run_id, **size._asdict(), **place, journal=wanted)


def learner(config: RunConfig, spec: TaskSpec, ring: str) -> LearnerWorker | RoundLearner | RankedLearner:
    """Attaches to the ring read-only and begins to compile."""
    ranks = config.learner.ranks
    made = algorithm(config, spec)
    if isinstance(made.plan, Rounds):
        return RoundLearner(made, [rounds(config, spec, made, ring)], [seeds(config).child("learner")], config.learner)
    if ranks == 1:
        worker = learner_rank(config, spec, ring, 0, alone, 0)
    else:
        worker = RankedLearner(partial(learner_rank, config, spec, ring), ranks, config.learner.device)
    worker.compile()
    return worker


def learner_rank(config: RunConfig, spec: TaskSpec, ring: str, rank: int, reduce: Reduce, updates: int) -> LearnerWorker:
    """One of the processes of a learner. All begin with the same networks; each draws its own share of every batch.

    Args:
        updates: done when this rank's streams of random numbers begin.
    """
    settings = config.learner
    if settings.ranks > 1:
        settings, algo = part(settings, config.algo, rank)
        config = replace(config, algo=algo)
    made, tree = algorithm(config, spec), seeds(config).child("learner")
    drawn = tree.child("rank", rank).child("updates", updates) if rank else tree
    return LearnerWorker(made, [sampler(config, made, ring, drawn)], [drawn], settings, reduce)


def sampler(config: RunConfig, made: Algorithm, ring: str, tree: SeedTree) -> Sampler:
    """Where a learner's node of the seed tree draws from: all tasks, read-only, and the run's demonstrations if it has any."""
    assert isinstance(made.plan, Stream)
    shown = Ring.attach(demos_beside(ring)) if config.demos.wanted else None
    return Sampler(Ring.attach(ring), range(len(config.tasks)), made.plan, tree.child("sampler").integer(), demos=shown)


def demos(config: RunConfig, spec: TaskSpec, run_id: str, found: Sequence[Sequence[Demo]]) -> Ring:
    """The ring of the run's demonstrations, made anew with each start: the same ones of the same seed are the same rows.

    Args:
        found: of each task.

    Raises:
        ConfigError: the algorithm does not learn from demonstrations, or they are not of such simulators.
    """
    made, tree, size = algorithm(config, spec), seeds(config).child("demos"), ring_size(config, spec)
    assert isinstance(made, Encoding)  # the session has asked
    chains = []
    for task, shown in enumerate(found):
        rng = tree.child("task", task).numpy()
        chains.append([chain for demo in shown for chain in made.encode_demo(demo, rng)])
    return demo_ring(run_id, size.dtype, chains, window=size.window, directory=config.replay.folder)


def rounds(config: RunConfig, spec: TaskSpec, made: Algorithm, ring: str) -> RoundSource:
    """Where an on-policy learner reads its rounds."""
    assert isinstance(made.plan, Rounds)
    settings, extra = config.actors, tuple(field.name for field in made.fields())
    sizes = {"simulators": settings.simulators_of_task(len(config.tasks)), "per_actor": settings.simulators, "horizon": spec.horizon}
    return RoundSource(Ring.attach(ring), made.plan, **sizes, extra=extra)


def actor(config: RunConfig, spec: TaskSpec, sink: ChunkSink, index: int, incarnation: int, logs: Path) -> ActorWorker | RoundWorker:
    """Simulators' seeds depend on the task and on the actor's place among those of the task, not on what else the actor steps."""
    settings, own = config.actors, config.actors.tasks_of(index, len(config.tasks))
    tasks = np.repeat(np.array(own), settings.simulators)
    names = [config.tasks[task] for task in tasks]
    workers = processes(config, index)
    trees = [seeds(config).child("task", task).child("actor", index // len(config.tasks)) for task in own]
    pool = SimulatorPool(
        names,
        [tree.child("simulator", i).integer() for tree in trees for i in range(settings.simulators)],
        config.simulator_options,
        workers=workers,
        cores=cores(index, workers) if settings.pin else None,
        **settings.limits(),
        log_dir=logs / f"actor-{index}",
        wait=False,
    )
    made = algorithm(config, spec)
    on_policy = isinstance(made.plan, Rounds)
    drawn_only = on_policy or isinstance(made, Encoding)  # their columns of replay come from ``act``
    policy = Policy(
        made,
        trees[0].child("exploration", incarnation).numpy(),
        Watch(tasks, spec.action_dim, settings.lanes(index, len(config.tasks)), made.plan.trial),
        random_steps=0 if drawn_only or incarnation else settings.random_steps // settings.actors,
    )
    recorder = Recorder(
        rows(config, spec),
        slots=len(tasks),
        chunk=0 if on_policy else settings.chunk,
        horizon=spec.horizon,
        writer=index,
        incarnation=incarnation,
        tasks=tasks,
    )
    return RoundWorker(policy, pool, sink, recorder) if on_policy else ActorWorker(spec, policy, pool, sink, recorder)


def processes(config: RunConfig, index: int) -> int:
    """Of the simulators of one actor."""
    settings, K = config.actors, len(config.tasks)
    names = [config.tasks[task] for task in settings.tasks_of(index, K) for _ in range(settings.simulators)]
    return hooks.processes(names, [config.simulator_options] * len(names), settings.workers(K))


def evaluation_tasks(config: RunConfig) -> list[str]:
    """The task of each simulator of the run's evaluations."""
    chosen = range(len(config.tasks))
    return [config.tasks[task] for task in chosen for _ in range(_judges(config, chosen, 0))]


def _judges(config: RunConfig, chosen: Sequence[int], asked: int) -> int:
    """Simulators per task of an evaluation of these tasks."""
    settings = config.evaluation
    count = asked or settings.simulators_per_task(len(chosen))
    if settings.simulators:
        return count
    return hooks.side_by_side([config.tasks[task] for task in chosen], count, settings.workers())


def evaluator(
    config: RunConfig,
    spec: TaskSpec,
    logs: Path,
    *,
    tasks: Sequence[int] | None = None,
    simulators: int = 0,
    seed_name: str = "evaluation",
    schedule: Schedule | None = None,
) -> PolicyEvaluator:
    """Simulators of all tasks (or of ``tasks``) in one pool, with seeds of their own: evaluation meets goals that training did not.

    Args:
        simulators: of each task, at most; by default that of the settings. Those that need a process each are as many as there may be
            processes, unless the settings say how many.
        schedule: of a trial; by default that of the settings.
    """
    schedule = schedule or config.evaluation.schedule
    settings, chosen = config.evaluation, range(len(config.tasks)) if tasks is None else tasks
    slots, own, plan = evaluation_plan(config, chosen, simulators, seed_name, schedule)
    pool = SimulatorPool(
        [config.tasks[task] for task in slots],
        own,
        config.options_of_trials(schedule),
        workers=min(settings.workers(), len(slots)),
        **config.actors.limits(),
        log_dir=logs / "evaluator",
        wait=False,
    )
    noise_seed = seeds(config).child(seed_name).child("exploration").integer()
    return PolicyEvaluator(algorithm(config, spec), pool, plan, slots, own, noise_seed=noise_seed)


def evaluation_plan(
    config: RunConfig, tasks: Sequence[int], simulators: int, seed_name: str, schedule: Schedule
) -> tuple[list[int], list[int], Plan]:
    """Of the simulators that evaluate: the index of each one's task, its seed, and what they play.

    Args:
        simulators: per task; 0: as the settings say.
    """
    settings = config.evaluation
    count = _judges(config, tasks, simulators)
    slots = [task for task in tasks for _ in range(count)]
    trees = {task: seeds(config).child("task", task).child(seed_name) for task in tasks}
    own = [trees[task].child("simulator", i).integer() for task in tasks for i in range(count)]
    return slots, own, (per_goal if settings.in_turn else each_from_zero)(slots, settings.episodes, schedule)

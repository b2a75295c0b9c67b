"""``--dry-run``: what a run would need and how long it would take here, measured for a few seconds, with nothing kept."""

import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from rich.console import Console

from core.contracts import Algorithm
from core.seeding import SeedTree
from core.types import Batch, Round, Rounds, Stream, TaskSpec
from learner.rounds import RoundLearner
from learner.worker import LearnerWorker
from manyhands import build, warm_start
from manyhands import config as configs
from manyhands.config import RunConfig
from manyhands.session import prepare
from manyhands.tables import _settings
from replay.layout import bytes_per_transition
from replay.memory import check_fits, required_bytes
from simulators.pool import SimulatorPool

PROBE_S = 1.5
"""seconds of measuring each side"""
CHECKPOINT_OVERHEAD = 1.05


def print_estimate(config: RunConfig, root: Path, seeds: int = 1) -> None:
    """Refuses what does not fit; otherwise prints settings, bytes, seconds: of each of ``seeds`` runs."""
    prepare(root)
    console, source = Console(), warm_start.find(config, root)
    spec = build.task_spec(config)
    size = build.ring_size(config, spec)
    ring = required_bytes(*size)
    check_fits(ring)
    warm_start.check(config, spec, source, console)
    console.print(_settings(configs.to_dict(config)))
    plan, room = build.algorithm(config, spec).plan, size.capacity * size.tasks
    whole = isinstance(plan, Rounds)
    transition = bytes_per_transition(size.dtype, spec.horizon if whole else config.actors.chunk or spec.horizon)
    rows = min(config.total_steps, room)
    disk = rows * transition * CHECKPOINT_OVERHEAD + config.checkpoint.keep * 8 * _parameters(config, spec)
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    console.print(
        f"replay      {ring / 1e6:,.0f} MB of shared memory for {room:,} rows "
        f"({transition:.0f} bytes per transition); "
        f"{psutil.virtual_memory().available / 1e9:.1f} GB of memory are free"
    )
    console.print(
        f"disk        about {disk / 1e6:,.0f} MB for replay and {config.checkpoint.keep} checkpoints; {free / 1e9:.0f} GB are free"
    )
    console.print(f"[dim]measuring for about {2 * PROBE_S:.0f} s, after compiling ...[/dim]")
    steps_per_s, updates_per_s = simulator_speed(config), learner_speed(config, spec)
    updates = max(0, config.total_steps - config.replay.min_size) * config.replay.updates_per_step
    if isinstance(plan, Rounds):
        updates = config.total_steps / (config.actors.simulators_of_task(size.tasks) * size.tasks * plan.episodes * spec.horizon)
    simulate, learn = config.total_steps / steps_per_s, updates / updates_per_s
    console.print(f"simulators  {steps_per_s:,.0f} env steps/s -> {_span(simulate)} for {config.total_steps:,} steps")
    console.print(f"learner     {updates_per_s:,.0f} updates/s -> {_span(learn)} for {updates:,.0f} updates")
    bound = "learner" if learn > simulate else "simulators"
    least = simulate + learn if whole else max(simulate, learn)  # on-policy the two take turns
    console.print(f"estimate    {_span(least)} to {_span(simulate + learn)}, bound by the {bound}; a target may end it sooner")
    if seeds > 1:
        console.print(f"seeds       {seeds}: replay, disk and work above are of each of them")


def simulator_speed(config: RunConfig) -> float:
    """env steps/s of all actors together on this machine's cores, random actions. All tasks are measured: some are slower."""
    settings = config.actors
    names, workers = probed_tasks(config), settings.workers(len(config.tasks))
    with SimulatorPool(names, range(len(names)), config.simulator_options, workers=min(workers, len(names))) as pool:
        generator = np.random.default_rng(0)
        pool.reset([0] * pool.size)
        begun, steps = time.monotonic(), 0
        while time.monotonic() - begun < PROBE_S:
            pool.step(generator.uniform(-1, 1, (pool.size, pool.spec.action_dim)).astype(np.float32))
            steps += pool.size
        rate = steps / (time.monotonic() - begun)
    parallel = min(settings.actors, max(1, (psutil.cpu_count() or 1) // workers))
    return rate * parallel


def probed_tasks(config: RunConfig) -> list[str]:
    """The task of each simulator of an actor that has as much of every task as it can; at least one of each."""
    slots, K = max(config.actors.slots(len(config.tasks)), len(config.tasks)), len(config.tasks)
    return [config.tasks[slot * K // slots] for slot in range(slots)]


def learner_speed(config: RunConfig, spec: TaskSpec) -> float:
    """updates/s on made-up data, by the twin (compiled or eager) that the run would use."""
    algorithm = build.algorithm(config, spec)
    if isinstance(algorithm.plan, Rounds):
        return _phases_per_s(config, spec, algorithm)
    source = _MadeUp(algorithm.plan, spec, len(config.tasks))
    learner = LearnerWorker(algorithm, [source], [SeedTree(0)], replace(config.learner, eager_first=0))
    learner.update(config.learner.updates_per_launch + 1)  # whatever is made at a first call
    learner.weights()
    begun, updates = time.monotonic(), 0
    while time.monotonic() - begun < PROBE_S:
        learner.update(10)
        updates += 10
        learner.weights()  # waits for a GPU
    return updates / (time.monotonic() - begun)


def _phases_per_s(config: RunConfig, spec: TaskSpec, algorithm: Algorithm) -> float:
    """Of one whole round, which may well take longer than the probe."""
    learner, phases = RoundLearner(algorithm, [_MadeUpRounds(config, spec, algorithm)], [SeedTree(0)], config.learner), 0
    begun = time.monotonic()
    assert isinstance(algorithm.plan, Rounds)
    while phases < algorithm.plan.phases or time.monotonic() - begun < PROBE_S:
        learner.update(1)
        learner.publish()
        phases += 1
    return phases / (time.monotonic() - begun)


class _MadeUpRounds:
    """Rounds of the right shapes with random content, all episodes of full length."""

    def __init__(self, config: RunConfig, spec: TaskSpec, algorithm: Algorithm) -> None:
        plan, K = algorithm.plan, len(config.tasks)
        assert isinstance(plan, Rounds)
        lead = (plan.phases, K, config.actors.simulators_of_task(K), plan.episodes, spec.horizon)
        extra = {field.name: torch.rand(*lead, *field.shape) for field in algorithm.fields()}
        self.made = Round(torch.rand(*lead, spec.obs_dim), torch.rand(*lead, spec.action_dim), torch.rand(lead), torch.ones(lead), extra)

    def read(self, version: int) -> Round:
        return self.made

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: object) -> None:
        """There is nothing to restore."""


class _MadeUp:
    """Batches of the right shapes with random content, the tasks drawn and their context included."""

    def __init__(self, plan: Stream, spec: TaskSpec, tasks: int) -> None:
        T = plan.tasks or tasks
        lead, seen = (T, plan.batch_size), spec.obs_dim + spec.action_dim + 1
        obs, action = (*lead, spec.obs_dim), (*lead, spec.action_dim)
        self.shapes: tuple[tuple[int, ...], ...] = (obs, action, lead, obs, lead, (plan.tasks,), (T, plan.context, seen))
        """in the order of ``Batch``; no words of what the plan does not ask for"""
        parts = [torch.rand(math.prod(shape)) for shape in self.shapes]
        parts[-2] = torch.arange(plan.tasks, dtype=torch.float32)
        self.buffer = torch.cat(parts)

    def sample(self) -> None:
        """It is always the same."""

    def assemble(self, buffer: torch.Tensor) -> Batch:
        parts = torch.split(buffer, [math.prod(shape) for shape in self.shapes])
        *drawn, chosen, context = (part.view(shape) for part, shape in zip(parts, self.shapes, strict=True))
        return Batch(*drawn, chosen=chosen.long() if len(chosen) else (), context=context if context.numel() else ())

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: object) -> None:
        """There is nothing to restore."""


def _parameters(config: RunConfig, spec: TaskSpec) -> int:
    from core.tree import named_leaves

    return sum(leaf.numel() for _, leaf in named_leaves(build.algorithm(config, spec).init([0])))


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"

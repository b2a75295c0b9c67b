"""``--dry-run``: what a run would need and how long it would take here, measured for a few seconds, with nothing kept."""

import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console

from core.contracts import Algorithm
from core.errors import ConfigError
from core.poses import action_of
from core.rows import encoded_columns, extra_columns
from core.seeding import SeedTree
from core.types import Batch, Observation, Round, Rounds, Stream, TaskSpec
from learner.rounds import RoundLearner
from learner.worker import LearnerWorker
from manyhands import build
from manyhands import config as configs
from manyhands.config import RunConfig
from manyhands.tables import _settings
from replay.context import Context
from replay.layout import bytes_per_transition
from replay.memory import required_bytes
from replay.windows import Windows
from simulators import hooks
from simulators.pool import SimulatorPool

PROBE_S = 1.5
"""seconds of measuring each side"""
ROUND_S = 5.0
"""about so long the longest of the measured updates takes, of rounds that are not measured whole"""
SHORTEST = 128
"""the episodes tried first are one in so many of the whole"""
CHECKPOINT_OVERHEAD = 1.05
WAY_M = 0.15
"""of a keyframe that is tried, along each axis"""


def print_estimate(config: RunConfig, spec: TaskSpec, root: Path, console: Console) -> None:
    """Settings, bytes, seconds of a run that ``session.check`` has found nothing wrong with."""
    size = build.ring_size(config, spec)
    ring = required_bytes(*size)
    console.print(_settings(configs.to_dict(config)))
    plan, room = build.algorithm(config, spec).plan, size.capacity * size.tasks
    whole = isinstance(plan, Rounds)
    transition = bytes_per_transition(size.dtype, spec.horizon if whole else config.actors.chunk or spec.horizon)
    rows = min(config.total_steps, room)
    disk = rows * transition * CHECKPOINT_OVERHEAD + config.checkpoint.keep * 8 * _parameters(config, spec)
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    console.print(
        f"replay      {ring / 1e6:,.0f} MB of {'disk' if config.replay.spill else 'shared memory'} for {room:,} rows "
        f"({transition:.0f} bytes per transition); "
        f"{psutil.virtual_memory().available / 1e9:.1f} GB of memory are free"
    )
    console.print(
        f"disk        about {disk / 1e6:,.0f} MB for replay and {config.checkpoint.keep} checkpoints; {free / 1e9:.0f} GB are free"
    )
    about = f"{PROBE_S + ROUND_S:.0f} s, or a few more" if whole else f"{2 * PROBE_S:.0f} s, after compiling"
    console.print(_simulators(config), soft_wrap=True)
    console.print(f"[dim]measuring for about {about} ...[/dim]")
    steps_per_s, learner = simulator_speed(config), learner_speed(config, spec)
    updates = max(0, config.total_steps - config.replay.min_size) * config.replay.updates_per_step
    if isinstance(plan, Rounds):
        updates = config.total_steps / (config.actors.simulators_of_task(size.tasks) * size.tasks * plan.episodes * spec.horizon)
    simulate, learn = config.total_steps / steps_per_s, updates / learner.updates_per_s
    console.print(f"simulators  {steps_per_s:,.0f} env steps/s -> {_span(simulate)} for {config.total_steps:,} steps")
    console.print(f"learner     {learner.describe()} -> {_span(learn)} for {updates:,.0f} updates", soft_wrap=True)
    bound = "learner" if learn > simulate else "simulators"
    least = simulate + learn if whole else max(simulate, learn)  # on-policy the two take turns
    span = _span(least) if whole else f"{_span(least)} to {_span(simulate + learn)}"
    console.print(f"estimate    {span}, bound by the {bound}; a target may end it sooner")


def simulator_speed(config: RunConfig) -> float:
    """env steps/s of all actors together on this machine's cores, random actions. All tasks are measured: some are slower."""
    settings = config.actors
    if not settings.actors:
        raise ConfigError("actors.actors is 0: how fast simulators elsewhere are is not known here. Allowed with --dry-run: 1 or more")
    names, workers = probed_tasks(config), settings.workers(len(config.tasks))
    with SimulatorPool(names, range(len(names)), config.simulator_options, workers=min(workers, len(names)), **settings.limits()) as pool:
        generator = np.random.default_rng(0)
        pool.reset([0] * pool.size)
        begun, steps = time.monotonic(), 0
        while time.monotonic() - begun < PROBE_S:
            pool.step(_some_actions(pool.spec, pool.obs, generator))
            steps += pool.size
        rate = steps / (time.monotonic() - begun)
    parallel = min(settings.actors, max(1, len(os.sched_getaffinity(0)) // build.processes(config, 0)))
    return rate * parallel


def _some_actions(spec: TaskSpec, obs: Observation, generator: np.random.Generator) -> NDArray[np.float32]:
    """(N, A) uniformly drawn; of keyframes, poses within ``WAY_M`` of the gripper along each axis, turned as it is: most others cannot be
    reached, which ends an episode at once."""
    if spec.keyframes is None:
        return generator.uniform(-1, 1, (len(obs["obs"]), spec.action_dim)).astype(np.float32)
    poses, bounds = obs["gripper_pose"].copy(), np.array(spec.keyframes.bounds)
    poses[:, :3] = np.clip(poses[:, :3] + generator.uniform(-WAY_M, WAY_M, (len(poses), 3)), bounds[:3], bounds[3:])
    opened = generator.integers(0, 2, len(poses))
    return np.stack([action_of(spec.keyframes, pose, float(one)) for pose, one in zip(poses, opened, strict=True)])


def _simulators(config: RunConfig) -> str:
    """How many processes simulators take while training and evaluating, and their memory where it is known."""
    tasks, settings = list(config.tasks), config.actors
    own = sum(build.processes(config, actor) for actor in range(settings.actors))
    judges = hooks.processes(names := build.evaluation_tasks(config), [config.simulator_options] * len(names), config.evaluation.workers())
    mb = (own + judges) * max(hooks.megabytes(task, config.simulator_options) for task in tasks)
    size = f", about {mb / 1e3:.1f} GB of memory" if mb else ""
    return f"processes   {own} with simulators that train, {judges} with those that evaluate{size}"


def probed_tasks(config: RunConfig) -> list[str]:
    """The task of each simulator of an actor that has as much of every task as it can; at least one of each."""
    slots, K = max(config.actors.slots(len(config.tasks)), len(config.tasks)), len(config.tasks)
    return [config.tasks[slot * K // slots] for slot in range(slots)]


class Speed(NamedTuple):
    """How fast the learner is."""

    updates_per_s: float
    share: float = 1.0
    """of the episodes that was measured; what a whole round takes is extrapolated from it"""

    def describe(self) -> str:
        rate = f"{self.updates_per_s:,.0f} updates/s" if self.updates_per_s >= 1 else f"{1 / self.updates_per_s:,.1f} s per update"
        return rate if self.share == 1 else f"{rate} (extrapolated from {self.share:.1%} of a round)"


def learner_speed(config: RunConfig, spec: TaskSpec) -> Speed:
    """On made-up data, by the twin (compiled or eager) that the run would use."""
    algorithm = build.algorithm(config, spec)
    if isinstance(algorithm.plan, Rounds):
        return _speed_of_rounds(config, spec, algorithm)
    source = _MadeUp(algorithm.plan, spec, len(config.tasks), build.row_type(algorithm, spec))
    learner = LearnerWorker(algorithm, [source], [SeedTree(0)], replace(config.learner, eager_first=0))
    learner.update(config.learner.updates_per_launch + 1)  # whatever is made at a first call
    learner.weights()
    begun, updates = time.monotonic(), 0
    while time.monotonic() - begun < PROBE_S:
        learner.update(10)
        updates += 10
        learner.weights()  # waits for a GPU
    return Speed(updates / (time.monotonic() - begun))


def _speed_of_rounds(config: RunConfig, spec: TaskSpec, algorithm: Algorithm) -> Speed:
    """Of whole rounds where they are quick, else of rounds whose episodes are cut: each next one has four times the steps, until one
    takes long enough; what a further step costs is what the last two differ in."""
    plan, horizon = algorithm.plan, spec.horizon
    assert isinstance(plan, Rounds)
    source = _MadeUpRounds(config, spec, algorithm)
    learner = RoundLearner(algorithm, [source], [SeedTree(0)], config.learner)

    def seconds(steps: int) -> float:
        source.cut(steps)
        begun = time.monotonic()
        for _ in range(plan.phases):
            learner.update(1)
            learner.publish()  # waits for a GPU
        return time.monotonic() - begun

    steps = math.ceil(horizon / SHORTEST)
    seconds(steps)  # whatever is made at a first call
    took = {steps: seconds(steps)}
    while steps < horizon and took[steps] < (ROUND_S / 4 if len(took) > 1 else ROUND_S):
        steps = min(4 * steps, horizon)
        took[steps] = seconds(steps)
    return Speed(plan.phases / whole_round_s(took, horizon), steps / horizon)


def whole_round_s(took: Mapping[int, float], horizon: int) -> float:
    """Seconds of a round of whole episodes, from those of shorter ones: env steps per episode -> seconds, ascending."""
    (steps, last), *before = reversed(list(took.items()))
    each = last / steps
    if before and steps < horizon:
        fewer, first = before[0]
        each = min(each, max(0.0, last - first) / (steps - fewer))
    return last + (horizon - steps) * each


class _MadeUpRounds:
    """Rounds of the right shapes with random content, all episodes of as many env steps."""

    def __init__(self, config: RunConfig, spec: TaskSpec, algorithm: Algorithm) -> None:
        plan, K = algorithm.plan, len(config.tasks)
        assert isinstance(plan, Rounds)
        self.lead, self.spec, self.fields = (plan.phases, K, config.actors.simulators_of_task(K), plan.episodes), spec, algorithm.fields()
        self.cut(1)

    def cut(self, steps: int) -> None:
        lead, spec = (*self.lead, steps), self.spec
        extra = {field.name: torch.rand(*lead, *field.shape) for field in self.fields}
        self.made = Round(torch.rand(*lead, spec.obs_dim), torch.rand(*lead, spec.action_dim), torch.rand(lead), torch.ones(lead), extra)

    def read(self, version: int) -> Round:
        return self.made

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: object) -> None:
        """There is nothing to restore."""


class _MadeUp:
    """Batches of the right shapes with random content, the tasks drawn and their context included."""

    def __init__(self, plan: Stream, spec: TaskSpec, tasks: int, dtype: np.dtype) -> None:
        T = plan.tasks or tasks
        lead, seen = (T, plan.batch_size), spec.obs_dim + spec.action_dim + 1
        obs, action = (*lead, spec.obs_dim), (*lead, spec.action_dim)
        self.shapes: tuple[tuple[int, ...], ...] = (obs, action, lead, obs, lead, (plan.tasks,), (T, plan.context, seen))
        self.windows = Windows(dtype, T, plan, pin=False) if encoded_columns(dtype) or extra_columns(dtype) else None
        weights = lead if plan.priority and plan.weight else (0,)
        own = (self.windows.size,) if self.windows else (0,)  # the algorithm's columns, as replay has them: zeros
        self.context = Context(dtype, T, plan, 0)
        self.shapes += (weights, own, (self.context.size,))
        """in the order of ``Batch``; no words of what the plan does not ask for"""
        parts = [torch.rand(math.prod(shape)) for shape in self.shapes]
        parts[5], parts[-2:] = torch.arange(plan.tasks, dtype=torch.float32), [torch.zeros(own), torch.zeros(self.context.size)]
        self.buffer = torch.cat(parts)

    def sample(self) -> None:
        """It is always the same."""

    def assemble(self, buffer: torch.Tensor) -> Batch:
        parts = torch.split(buffer, [math.prod(shape) for shape in self.shapes])
        *drawn, chosen, context, weight, own, told = (part.view(shape) for part, shape in zip(parts, self.shapes, strict=True))
        made = self.windows.assemble(own) if self.windows else None
        return Batch(
            *drawn,
            chosen=chosen.long() if len(chosen) else (),
            context=context if context.numel() else (),
            here=made.here if made else (),
            there=made.there if made else (),
            context_here=self.context.columns(told),
            weight=weight if weight.numel() else (),
        )

    def prioritise(self, priority: np.ndarray) -> None:
        """Made-up rows have no ranks."""

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

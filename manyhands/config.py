"""What a run is: one frozen record composed of the components' own settings, checked as a whole before anything starts."""

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

import algos
import simulators
from actors.worker import Config as ActorConfig
from core.errors import ConfigError, unknown
from learner import ranks
from learner.settings import Config as LearnerConfig
from learner.step import MODES
from manyhands.cluster.settings import Config as ClusterConfig
from manyhands.finite import check_finite
from protocols.schedule import Schedule
from replay.gateway_config import Config as GatewayConfig
from replay.settings import Config as ReplayConfig

SCHEMA = 1
"""of config.json; grows when a field changes its meaning"""
MOST_EVALUATION_SIMULATORS = 200  # of all tasks together, where the number is not given


@dataclass(frozen=True)
class DemosConfig:
    """Demonstrations that a run learns from, for algorithms that can: c2farm."""

    count: int = 0
    """of each task; what is missing in the folder is collected before the run begins, by the simulator's expert"""
    counts: tuple[int, ...] = ()
    """of each task its own number, in the order of the tasks; none: ``count`` of each"""
    folder: str = ""
    """where they are kept, see `manyhands demos`; empty: demos, in the folder of the runs"""
    seed: int = 0
    """of the simulators that demonstrate what is missing"""

    def __post_init__(self) -> None:
        for name in ("count", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"demos.{name} is {getattr(self, name)}; it must be 0 or more")
        if self.counts and (self.count or min(self.counts) < 0):
            raise ConfigError(f"demos.counts is {self.counts} and demos.count {self.count}; counts are 0 or more, and count 0 beside them")

    def of_tasks(self, tasks: int) -> tuple[int, ...]:
        """How many each of the run's tasks has."""
        return self.counts or (self.count,) * tasks

    @property
    def wanted(self) -> bool:
        """Whether any task has one."""
        return self.count > 0 or any(self.counts)


@dataclass(frozen=True)
class EvaluationConfig:
    """Deterministic episodes on simulators of their own."""

    every_steps: int = 5000
    """env steps between evaluations; 0: only at the end"""
    episodes: int = 20
    """per task and evaluation, each with its own variation; with ``adaptation``, trials: one goal each"""
    adaptation: int = 0
    """episodes that the policy adapts in, at the head of every trial; it is looked at before, the zero-shot control, and after them. 0:
    it is only looked at"""
    horizon: int = 0
    """env steps per episode; 0: as in training"""
    simulators: int = 0
    """per task, at most one per episode. An episode is (simulator, variation): n simulators play their variations 0, 1, 2 ... until the
    task's episodes are done, so another n plays other drawn goals, not with in_turn. 0: one per episode, fewer where all tasks together
    would have more than 200; of those that need a process each, as rlbench, one per process"""
    in_turn: bool = False
    """each episode the next frozen goal, from goal 0 on, instead of a drawn one"""
    processes: int = 1
    """simulator processes, for all tasks together; 0: a quarter of the cores, they work beside training"""
    target_success: float = 0.0
    """stop as soon as an evaluation's success (any step) reaches this, in every task; 0: never"""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"evaluation.episodes is {self.episodes}; it must be at least 1")
        for name in ("every_steps", "adaptation", "horizon", "simulators", "processes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"evaluation.{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 <= self.target_success <= 1:
            raise ConfigError(f"evaluation.target_success is {self.target_success}; it is a share, 0 to 1")

    @property
    def schedule(self) -> Schedule:
        """Of a trial, during training."""
        return Schedule.controlled(self.adaptation)

    def workers(self) -> int:
        """Simulator processes, on the cores that this process may use."""
        return self.processes or max(1, len(os.sched_getaffinity(0)) // 4)

    def simulators_per_task(self, tasks: int) -> int:
        """What ``simulators`` comes to in a run of so many tasks."""
        return min(self.episodes, self.simulators or max(1, MOST_EVALUATION_SIMULATORS // tasks))


@dataclass(frozen=True)
class CheckpointConfig:
    """When the whole run is saved."""

    every_s: float = 60.0
    """seconds between checkpoints"""
    keep: int = 2
    """checkpoints kept"""

    def __post_init__(self) -> None:
        if self.every_s <= 0 or self.keep < 1:
            raise ConfigError("checkpoint.every_s must be positive and checkpoint.keep at least 1")


@dataclass(frozen=True)
class InitConfig:
    """Another run, with whose networks this one begins; optimiser and replay begin anew. See docs/fine_tuning.md."""

    run: str = ""
    """its id, or the unique beginning or ending of it, in the same folder of runs; empty: the networks begin anew too"""
    step: int | None = None
    """which of its checkpoints; the newest by default"""
    parts: Literal["all", "policy"] = "all"
    """all: all networks, targets, temperatures and statistics; policy: the policy, what tells it its task, statistics of observations"""

    def __post_init__(self) -> None:
        if not self.run and (self.step, self.parts) != (None, "all"):
            raise ConfigError("init.step and init.parts have no meaning without init.run")


@dataclass(frozen=True)
class RunConfig:
    """One run: one seed of one preset."""

    preset: Annotated[str, tyro.conf.Suppress]
    """where these settings come from"""
    tasks: tuple[str, ...]
    """K simulator tasks, ``metaworld:reach-v3``"""
    simulator: object
    """options of the simulators"""
    algo: object
    """settings of the algorithm"""
    algorithm: Annotated[str, tyro.conf.Suppress] = "sac"
    """module of ``algos``"""
    total_steps: int = 100_000
    """env steps after which the run ends"""
    seed: int = 0
    """of everything random in the run"""
    backend: Literal["inline", "ray"] = "inline"
    """inline: learner and actors in one process, simulators in their own; ray: everything in its own"""
    lockstep: bool = False
    """ray only: collect and update in strict turns, bit-equal to inline"""
    actors: ActorConfig = field(default_factory=ActorConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    demos: DemosConfig = field(default_factory=DemosConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    init: InitConfig = field(default_factory=InitConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    @property
    def strict(self) -> bool:
        """Collecting and updating take turns, so that the run can go on bit by bit."""
        return self.backend == "inline" or self.lockstep

    @property
    def exact(self) -> bool:
        """Whether what follows a checkpoint comes out the same bit by bit: open episodes are brought back by repeating their actions, which
        needs a reset at their beginning."""
        return self.strict and self.simulator_options.get("reset_every", 1) == 1

    @property
    def simulator_options(self) -> dict[str, Any]:
        return dataclasses.asdict(self.simulator)  # type: ignore[call-overload]

    @property
    def named_goals(self) -> bool:
        """Whether every task has one goal, by its name."""
        return all(simulators.split_goal(task)[1] is not None for task in self.tasks)

    @property
    def adapts_to_tasks(self) -> bool:
        """Whether the policy infers its task whatever the scene, so that a trial's episodes need not be of one goal: PEARL-C2F-ARM."""
        algo = getattr(self.algo, "settings", self.algo)  # of what reptile is around
        return getattr(getattr(algo, "inferred", None), "latent", 0) > 0

    def own_goals(self, seed: int) -> str:
        """What episodes of the run's own tasks, with evaluation seeds from ``seed``, have: ``training-goals``, where all are of a set that
        training draws from, or ``fresh-SEED``."""
        options = self.simulator_options
        return "training-goals" if all(simulators.named_goals(task, options) for task in self.tasks) else f"fresh-{seed}"

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """The simulators' options in evaluation: the same but for the horizon, the order of goals and how long one is kept."""
        return self.options_of_trials(self.evaluation.schedule)

    def options_of_trials(self, schedule: Schedule) -> dict[str, Any]:
        """The simulators' options in evaluation by another schedule than that of training.

        Raises:
            ConfigError: there is adaptation, and the simulators have no goal that they could keep.
        """
        options, (horizon, in_turn) = self.simulator_options, (self.evaluation.horizon, self.evaluation.in_turn)
        changes: dict[str, Any] = {"horizon": horizon} if horizon else {}
        always_reset = {"reset_every": 1} if "reset_every" in options else {}
        if in_turn:
            changes |= {"order": "in_turn", "repeat": 1} | always_reset
        if schedule.adaptation and "repeat" not in options and not self.adapts_to_tasks:
            raise ConfigError(f"{self.tasks[0]} cannot repeat a goal, so nothing can adapt to it: evaluation.adaptation must be 0 there")
        if schedule.adaptation and "repeat" in options:
            # An episode that began where the last one ended would show what was done in a look.
            changes |= {"repeat": schedule.repeat} | always_reset
        return options | changes

    def check(self) -> "RunConfig":
        """Everything that can be known to be wrong without starting anything.

        Raises:
            ConfigError: field, value, what is allowed.
        """
        if not self.tasks:
            raise ConfigError("tasks is empty; name at least one, for example metaworld:reach-v3")
        if self.algorithm not in algos.names():
            raise unknown("algorithm", self.algorithm, algos.names())
        if self.evaluation.in_turn and not self.simulator_options.get("goals"):
            allowed = "only simulators with frozen goals have turns, such as metaworld with goals from 1 to 50"
            raise ConfigError(f"evaluation.in_turn is set, but episodes of {self.tasks[0]} have fresh goals; {allowed}")
        goals = self.simulator_options.get("goals", 0)
        if self.evaluation.in_turn and self.evaluation.episodes > goals:
            raise ConfigError(f"evaluation.episodes is {self.evaluation.episodes}, in turn over {goals} goals; allowed: 1 to {goals}")
        for task in self.tasks:
            simulators.check(task, self.simulator_options)
            simulators.check(task, self.evaluation_options)
        for name, least in (("total_steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {'at least 1' if least else '0 or more'}")
        self.cluster.check(self.backend)
        if (mode := self.learner.compile) not in MODES:
            raise ConfigError(f"learner.compile is {mode!r}; allowed: {', '.join(MODES)}")
        check_finite("", to_dict(self))
        self.actors.check_tasks(len(self.tasks))
        self.gateway.check(self.actors.actors)
        ranks.check(self.learner.ranks, getattr(self.algo, "batch_size", 0), "cpu")
        self._check_replay()
        return self

    def _check_replay(self) -> None:
        replay, room = self.replay, self.replay.capacity * len(self.tasks)
        shown = self.demos.of_tasks(len(self.tasks))
        if len(shown) != len(self.tasks):
            raise ConfigError(f"demos.counts has {len(shown)} numbers for {len(self.tasks)} tasks; write one for each, or none")
        if replay.head_start and not all(shown):
            fix = "demos.count is 0: set that" if not any(shown) else f"{self.tasks[shown.index(0)]} has none: it must be 0"
            raise ConfigError(f"replay.head_start is {replay.head_start} updates from demonstrations, but {fix}")
        if replay.min_size > room:
            raise ConfigError(f"replay.min_size is {replay.min_size} but replay holds {room} rows")


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain data, as written to config.json."""
    return {"schema": SCHEMA, **dataclasses.asdict(config)}

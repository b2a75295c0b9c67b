"""What a run that fine-tunes another one is: settings derived from that one's, how long its stages are, what a judgement plays."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import ConfigError
from manyhands.finetune_arguments import FinetuneArguments, Method

if TYPE_CHECKING:
    from core.types import TaskSpec
    from manyhands.config import DemosConfig, ReplayConfig, RunConfig
    from protocols.metaworld import Protocol
    from protocols.schedule import Schedule

TRAIN = {"actor": "actor", "last-layer": "last_layer"}
MOST_ROWS = 60
"""of a batch, of a task that c2farm learns by itself, with at most an update per env step: as in the scripts of Mandi et al. 2022"""
CRITIC_WARM_UP = 1000
"""updates, unless told otherwise"""
ROUNDS: tuple[Method, ...] = ("all", "scratch", "mixed")
"""methods of those that learn from fresh episodes: their baseline is fitted anew in each round, there are no critics to keep or leave"""


class Kind(NamedTuple):
    """What an algorithm can be asked for."""

    methods: tuple[Method, ...]
    adapts_by: str = "nothing"
    """or memory, or gradients: those a protocol judges after adaptation"""

    @property
    def adapts(self) -> bool:
        return self.adapts_by != "nothing"


KINDS = {
    "sac": Kind(("all", "actor", "last-layer", "policy", "scratch", "mixed")),
    "pearl": Kind(("all", "policy", "scratch", "mixed"), "memory"),
    "rl2": Kind(ROUNDS, "memory"),
    "maml": Kind(ROUNDS, "gradients"),
    "ppo": Kind(ROUNDS),
    "trpo": Kind(ROUNDS),
    "task_embedding": Kind(ROUNDS),
    "c2farm": Kind(("all", "scratch", "mixed")),
}
"""by the module of ``algos``"""
WRAPPED = ("sac", "c2farm")
"""what reptile may be around"""
COLLECTED_FIRST = 100
"""env steps of each task before the first update, where a run that began with demonstrations goes on without"""


def kind_of(source: "RunConfig", run: str, options: FinetuneArguments) -> tuple[str, Kind]:
    """The algorithm that goes on, and what it can be asked for.

    Raises:
        ConfigError: it cannot be fine-tuned, or not so.
    """
    name = getattr(source.algo, "inner", source.algorithm)
    if name not in KINDS or (name != source.algorithm and name not in WRAPPED):
        by = name if name == source.algorithm else f"{source.algorithm} around {name}"
        allowed = f"runs of {', '.join(KINDS)}, and of reptile around {' or '.join(WRAPPED)}"
        raise ConfigError(f"{run} has learned by {by}, which cannot be fine-tuned. Allowed: {allowed}")
    kind = KINDS[name]._replace(adapts_by="memory") if source.adapts_to_tasks else KINDS[name]
    if options.method not in kind.methods:
        raise ConfigError(f"--method is {options.method}, but {run} has learned by {name}. Allowed: {', '.join(kind.methods)}")
    if options.critic_warm_up is not None and name != "sac":
        raise ConfigError(f"--critic-warm-up has no meaning here: it is a setting of sac, and {run} has learned by {name}")
    if (options.demos or options.head_start) and name != "c2farm":
        given = "--demos" if options.demos else "--head-start"
        fix = f"{run} has learned by {name}, which does not learn from demonstrations. Allowed: 0"
        raise ConfigError(f"{given} is {options.demos or options.head_start}, but {fix}")
    off_policy = {"--updates-per-step": options.updates_per_step, "--batch-size": options.batch_size, "--min-size": options.min_size}
    given = [option for option, value in off_policy.items() if value is not None]
    if given and not hasattr(getattr(source.algo, "settings", source.algo), "batch_size"):
        raise ConfigError(f"{given[0]} has no meaning here: {run} has learned by {name}, from each round once. Fix: leave it out")
    if options.adaptation and not kind.adapts:
        raise ConfigError(f"--adaptation is {options.adaptation}, but {run} has learned by {name}, which does not adapt. Allowed: 0")
    return name, kind


def schedule_of(source: "RunConfig", kind: Kind, options: FinetuneArguments, protocol: "Protocol | None") -> "Schedule":
    """What is played with a goal where the policy is judged: looks before and after adaptation, or only looks."""
    from protocols.schedule import Schedule

    if protocol is None:
        return Schedule.controlled(source.evaluation.adaptation if options.adaptation is None else options.adaptation)
    asked = protocol.adaptation_episodes if options.adaptation is None else options.adaptation
    return Schedule.controlled(asked) if asked and kind.adapts else Schedule(evaluation=protocol.evaluation_episodes)


def derived(source: "RunConfig", run: str, task: str, seed: int, options: FinetuneArguments, protocol: "Protocol | None") -> "RunConfig":
    """Settings of the run that fine-tunes ``run`` on one task: its own but for what the number of tasks and the method change.

    A task gets as many updates per env step of its own, and as long a warm-up, as each task of the source had. Its own evaluations, at
    the end of each stage, are as short as can be: ``finetune`` judges.

    Raises:
        ConfigError: the run's algorithm cannot be fine-tuned, or not so.
    """
    from manyhands.config import InitConfig
    from manyhands.round_check import without_meaningless

    (name, _), method, K = kind_of(source, run, options), options.method, len(source.tasks)
    algo: Any = getattr(source.algo, "settings", source.algo)
    simulator = _simulator(source, protocol)
    own = _own_tasks(source, task, options, simulator)
    others = [other for other in source.tasks if other not in own and not is_of(other, task)] if method == "mixed" else []
    tasks = (*own, *others)
    if name == "sac":
        warm_up = CRITIC_WARM_UP if options.critic_warm_up is None else options.critic_warm_up
        algo = replace(algo, train=TRAIN.get(method, "all"), critic_warm_up=0 if method in ("actor", "scratch") else warm_up)
    algo = replace(algo, **_batch(source, algo, options, alone=len(tasks) == len(own)))
    demos = _demos(source, own, others, options)
    simulators = _simulators(source, algo, simulator, options, len(own))
    processes = source.actors.processes if source.actors.processes <= simulators * len(tasks) else 0
    uniform = source.actors.random_steps // K * len(tasks) if method == "scratch" else 0
    config = replace(
        source,
        preset=f"finetune-{method}",
        tasks=tasks,
        simulator=simulator,
        algorithm=name,
        algo=algo,
        total_steps=options.first_steps * len(tasks) // len(own),
        seed=seed,
        actors=replace(source.actors, actors=1, simulators=simulators, processes=processes, random_steps=uniform),
        replay=_replay(source, algo, demos, options, len(tasks)),
        demos=demos,
        evaluation=replace(source.evaluation, every_steps=0, episodes=1, adaptation=0, simulators=1, in_turn=False, target_success=0.0),
        init=InitConfig() if method == "scratch" else InitConfig(run, parts="policy" if method == "policy" else "all"),
    )
    return (without_meaningless(config) if hasattr(algo, "episodes") else config).check()


def _batch(source: "RunConfig", algo: Any, options: FinetuneArguments, *, alone: bool) -> dict[str, int]:
    """The batch, where it changes: a task that c2farm learns by itself has as many rows as an update of the source had, at most 60."""
    if options.batch_size is not None:
        return {"batch_size": options.batch_size}
    if not alone or not hasattr(algo, "demo_every"):
        return {}
    tasks = 1 if hasattr(source.algo, "inner") else algo.tasks_per_batch or len(source.tasks)
    return {"batch_size": min(MOST_ROWS, algo.batch_size * tasks)}


def judged_apart(config: "RunConfig", goals: int) -> "RunConfig":
    """The run as it is judged on goals that its simulator keeps apart from training, the first so many of each task, in turn.

    Raises:
        ConfigError: its simulator keeps none apart, or not as many, or they are those of the training.
    """
    options = config.simulator_options
    if {"split", "order"} - options.keys() or options["split"] != "train" or not options.get("goals") or "@" in config.tasks[0]:
        allowed = "simulators with frozen goals of split train, such as metaworld_vision, whose tasks name no goal"
        raise ConfigError(f"--held-out is asked for, but no goals of {config.tasks[0]} were kept apart. Allowed: {allowed}")
    simulator = replace(config.simulator, split="test")  # type: ignore[type-var] - every Options is a dataclass
    return replace(config, simulator=simulator, evaluation=replace(config.evaluation, episodes=goals, in_turn=True)).check()


def is_of(name: str, task: str) -> bool:
    """Whether a task of a run is ``task``, or one of its goals."""
    return task in (name, name.partition("@")[0])


def _simulator(source: "RunConfig", protocol: "Protocol | None") -> Any:
    """The simulators' options: a protocol's, but for how many episodes have one goal, which is the length of the algorithm's trials."""
    simulator: Any = source.simulator
    return simulator if protocol is None else replace(simulator, **protocol.options("train") | {"repeat": simulator.repeat})


def _own_tasks(source: "RunConfig", task: str, options: FinetuneArguments, simulator: Any) -> tuple[str, ...]:
    """What the new task is to the run: itself, or where the source's tasks are goals, its first goals."""
    from simulators import named_goals

    goals = Counter(name.partition("@")[0] for name in source.tasks if "@" in name)
    if not goals or "@" in task:
        if options.train_goals is not None:
            what = f"{task} is one goal" if goals else f"tasks of {source.preset} are no goals, such as {source.tasks[0]}@0"
            raise ConfigError(f"--train-goals has no meaning here: {what}")
        return (task,)
    count = options.train_goals or max(1, min(max(goals.values()), named_goals(task, vars(simulator))))
    return tuple(f"{task}@{goal}" for goal in range(count))


def _simulators(source: "RunConfig", algo: Any, simulator: Any, options: FinetuneArguments, own: int) -> int:
    """Of each task. On-policy fewer than the source had, where its round, of ``own`` goals, would be longer than the first stage."""
    if not hasattr(algo, "episodes"):
        return source.actors.simulators
    whole, horizon = source.actors.simulators_of_task(len(source.tasks)), simulator.horizon
    one = algo.episodes * (1 + getattr(algo, "inner_steps", 0)) * horizon * own
    return min(whole, max(1, options.first_steps // one)) if horizon else whole  # 0: only the simulator knows


def _demos(source: "RunConfig", own: Sequence[str], others: Sequence[str], options: FinetuneArguments) -> "DemosConfig":
    """Those of the new task, its goals each, and beside it those that the source's tasks had."""
    had = dict(zip(source.tasks, source.demos.of_tasks(len(source.tasks)), strict=True))
    counts = (*(options.demos for _ in own), *(had[task] for task in others))
    return replace(source.demos, count=0, counts=counts if any(counts) else ())


def _replay(source: "RunConfig", algo: Any, demos: "DemosConfig", options: FinetuneArguments, tasks: int) -> "ReplayConfig":
    """With the share of every task as it was; capacity is per task already.

    Raises:
        ConfigError: updates before the first env step, and a task without demonstrations.
    """
    replay, K = source.replay, len(source.tasks)
    # Tasks of an update are all, or as many as are drawn for each.
    most = getattr(algo, "meta_batch", 0) or getattr(algo, "tasks_per_batch", 0) or max(K, tasks)
    drawn = 1 if hasattr(source.algo, "inner") else min(K, most)
    shared = replay.updates_per_step * drawn / min(tasks, most)
    shown, least, asked = all(demos.of_tasks(tasks)), replay.min_size // K, options.updates_per_step
    if options.head_start and not shown:
        raise ConfigError(
            f"--head-start is {options.head_start} updates on demonstrations, but a task has none. Allowed: 0, or more --demos"
        )
    if source.demos.wanted and not shown:
        least = max(least, COLLECTED_FIRST)
    if options.min_size is not None:
        least = options.min_size
    return replace(
        replay,
        updates_per_step=(min(shared, 1.0) if hasattr(algo, "demo_every") else shared) if asked is None else asked,
        min_size=least * tasks if shown else max(1, least) * tasks,
        # Goals are many: what the source ran ahead over all of them would be most of a stage.
        max_lead_steps=replay.max_lead_steps * tasks // K if hasattr(algo, "meta_batch") else replay.max_lead_steps,
        head_start=(replay.head_start if options.head_start is None else options.head_start) if shown else 0,
    )


class Stages(NamedTuple):
    """How env steps of the fine-tuned task and of the whole run go together."""

    own: int
    """tasks of the run that are the fine-tuned one: 1, or its goals"""
    tasks: int
    """all tasks of the run"""
    round: int
    """env steps of the fine-tuned task in one round, if no episode ends early; 0: off-policy"""

    @classmethod
    def of(cls, config: "RunConfig", task: str, spec: "TaskSpec") -> "Stages":
        from core.types import Rounds
        from manyhands import build

        plan, K = build.algorithm(config, spec).plan, len(config.tasks)
        own = sum(is_of(name, task) for name in config.tasks)
        played = plan.phases * plan.episodes * config.actors.simulators_of_task(K) * spec.horizon if isinstance(plan, Rounds) else 0
        return cls(own, K, own * played)

    def whole(self, steps: int) -> int:
        """Env steps of the task that a stage of ``steps`` has: whole rounds, no more than were asked for, but at least one."""
        return max(1, steps // self.round) * self.round if self.round else steps

    def total(self, steps: int) -> int:
        """Env steps of the whole run at the end of that stage."""
        return -(-self.whole(steps) * self.tasks // self.own)

    def of_task(self, total: int) -> int:
        """Of so many env steps of the run, those of the task."""
        return round(total * self.own / self.tasks)

    def notes(self, config: "RunConfig", options: FinetuneArguments) -> list[str]:
        """What someone should know who reads the columns, one line each."""
        asked = [steps for steps in options.steps if steps]
        if self.round:
            changed = [f"{self.whole(steps):,} in place of {steps:,}" for steps in asked if self.whole(steps) != steps]
            return [f"a round has {self.round:,} env steps of the task: judged after {', '.join(changed)}"] * bool(changed)
        first = self.of_task(config.replay.min_size)
        return [f"the first update comes after {first:,} env steps of the task: at {asked[0]:,} none was made"] * (first >= asked[0])

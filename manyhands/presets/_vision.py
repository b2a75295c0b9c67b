"""C2F-ARM and its multi-task, Reptile and PEARL forms, from cameras, demonstrations and sparse rewards.

The full ones are Figure 2 of Mandi et al. 2022 (arXiv 2206.03271) on the eleven tasks of ``protocols.vision``, RLBench's as in the paper or
Meta-World's: trained on ten, the eleventh then being learned by `manyhands adapt`; or by itself, from nothing. Numbers are those of its
authors' scripts: 15 rows of each of 10 tasks, or 150 of one; 5 demonstrations of each; an update per env step; from nothing 60 rows.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from actors.worker import Config as ActorConfig
from algos.c2farm import Config as C2farmConfig
from algos.lib import image_context
from algos.reptile import Config as ReptileConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import CheckpointConfig, DemosConfig, EvaluationConfig, ReplayConfig, RunConfig
from manyhands.presets._vision_names import FROM_NOTHING, short
from protocols.vision import META_WORLD, RLBENCH, CrossValidation
from simulators.metaworld_vision import Options
from simulators.rlbench import Options as RLBenchOptions

STEPS, STEPS_FROM_NOTHING, INNER = 20_000, 10_000, 5
REACH = (0.10,)
"""metres; docs/metaworld_vision.md"""
FULL = C2farmConfig(reach=REACH, batch_size=15, room=1024, timeouts="bootstrap")
ALONE = 60
"""rows of a batch of the held-out task by itself"""
SMALL = C2farmConfig(voxels=8, reach=(0.12, 0.04), channels=32, batch_size=32, room=384, n_step=10)
"""three depths of 8 voxels have a fifth of the work of two of 16: for CPUs. Ten steps are an episode: values are learned from what came of
it. Those bootstrapped from a target network would need more updates than the whole run has to come from the last keyframe to the first"""
SLOW = {"step_timeout_s": 60.0, "reset_timeout_s": 180.0}
"""of actors in RLBench: planning and going there take a tenth of a second, and now and then very much longer"""


@dataclass(frozen=True)
class Suite:
    """What of the full presets goes by the benchmark."""

    benchmark: CrossValidation
    options: type
    """of its simulators"""
    reach: tuple[float, ...]
    judges: int
    """simulators of an evaluation, of each task"""
    limits: dict[str, float] = field(default_factory=dict)
    """deadlines of its simulators that are not as usual"""


SUITES = {
    "vision": Suite(META_WORLD, Options, REACH, 2),
    "rlbench": Suite(RLBENCH, RLBenchOptions, (0.15,), 1, SLOW),
}
"""by the beginning of the presets' names. RLBench's rows fit, too: of 50 real demonstrations none has more than 846 voxels"""


METHODS: dict[str, tuple[float, float] | image_context.Config | None] = {
    "mt": None,
    "reptile": (0.9, 1.0),
    "reptile-textbook": (1.0, 0.0),
    "pearl": image_context.PAPER,
    "pearl-corrected": image_context.CORRECTED,
}
"""what is C2F-ARM wrapped in: nothing, Reptile with its first and its last step, or inference of the task"""


def _form(method: str, settings: C2farmConfig, tasks: int, updates: int) -> tuple[str, Any]:
    """The algorithm of a method and its settings; those given hold of one of the tasks of a batch. Reptile's batches are of one task."""
    kind = METHODS[method]
    if isinstance(kind, image_context.Config):
        return "c2farm", replace(settings, inferred=kind)
    if kind is None:
        return "c2farm", settings
    inner, schedule = replace(settings, batch_size=settings.batch_size * tasks), {"meta_step": kind[0], "meta_step_end": kind[1]}
    return "reptile", ReptileConfig("c2farm", inner, INNER, optimizer="carry", target="stays", meta_iterations=updates // INNER, **schedule)


def preset(name: str, suite: str, held_out: str, method: str) -> RunConfig:
    """On the tasks of a benchmark but the one held out; from nothing, on that one."""
    of, alone = SUITES[suite], method == FROM_NOTHING
    left_out = next(task for task in of.benchmark.held_out if short(task) == held_out)
    tasks = (left_out,) if alone else of.benchmark.train_tasks(left_out)
    steps, full = STEPS_FROM_NOTHING if alone else STEPS, replace(FULL, reach=of.reach)
    algorithm, algo = ("c2farm", replace(full, batch_size=ALONE)) if alone else _form(method, full, len(tasks), steps)
    evaluation = EvaluationConfig(every_steps=steps // 8, episodes=of.benchmark.evaluation_episodes, simulators=of.judges, processes=0)
    replay = ReplayConfig(capacity=5000, updates_per_step=1, min_size=100, max_lead_steps=100)
    actors = ActorConfig(actors=1, simulators=1, chunk=0, processes=0, random_steps=0, **of.limits)  # type: ignore[arg-type] - seconds
    config = _run(name, tasks, of.options(**of.benchmark.options("train")), algorithm, algo, steps, actors, replay, evaluation)
    return replace(config, demos=replace(config.demos, count=1)) if alone else config


def small(name: str, *tasks: str, method: str = "mt", head_start: int = 250, steps: int = 600) -> RunConfig:
    """Fresh goals in every episode: those of evaluations are held out. It begins with updates on the demonstrations alone; one that infers
    its task has a context only of what its policy did, and makes as many updates later."""
    K, updates = len(tasks), head_start + steps // len(tasks)
    infers = isinstance(METHODS[method], image_context.Config)
    evaluation = EvaluationConfig(every_steps=steps // 6, episodes=20, simulators=4, target_success=0.95 if K == 1 else 0.0)
    first = {"min_size": 30 * K, "updates_per_step": updates / steps} if infers else {"min_size": 0, "head_start": head_start}
    replay = ReplayConfig(**{"capacity": 5000, "updates_per_step": 1 / K, "max_lead_steps": 0, **first})
    actors = ActorConfig(actors=1, simulators=1, chunk=0, random_steps=0)
    algorithm, algo = _form(method, replace(SMALL, batch_size=SMALL.batch_size // K), K, updates)
    full = tuple(task if ":" in task else f"metaworld_vision:{task}-v3" for task in tasks)
    return _run(name, full, Options(goals=0), algorithm, algo, steps, actors, replay, evaluation)


def small_rlbench(name: str, *tasks: str, head_start: int = 250, steps: int = 600) -> RunConfig:
    """The same on RLBench, whose simulators are processes and slow: two of them judge. Its rows have at most 306 voxels, of 384."""
    config = small(name, *tasks, head_start=head_start, steps=steps)
    options, actors = RLBenchOptions(**RLBENCH.options("train")), replace(config.actors, **SLOW)  # type: ignore[arg-type] - seconds
    return replace(config, simulator=options, actors=actors, evaluation=replace(config.evaluation, simulators=2))


def three(name: str, method: str) -> RunConfig:
    """What two cores can pre-train before a fourth task."""
    return small(name, "door-close", "faucet-open", "window-close", method=method, head_start=600, steps=1800)


def _run(name: str, tasks: tuple[str, ...], options: Options, algorithm: str, algo: Any, steps: int, *parts: Any) -> RunConfig:
    actors, replay, evaluation = parts
    return RunConfig(
        preset=name,
        tasks=tasks,
        simulator=options,
        algorithm=algorithm,
        algo=algo,
        total_steps=steps,
        actors=actors,
        replay=replay,
        demos=DemosConfig(count=META_WORLD.demos, seed=META_WORLD.demo_seed),
        learner=LearnerConfig(compile="eager"),
        evaluation=evaluation,
        checkpoint=CheckpointConfig(every_s=60),
    )

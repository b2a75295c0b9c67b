"""C2F-ARM and its multi-task, Reptile and PEARL forms, from cameras, demonstrations and sparse rewards.

The full ones are Figure 2 of Mandi et al. 2022 (arXiv 2206.03271) on the eleven tasks of ``protocols.vision``: trained on ten, the eleventh
then being learned by `manyhands adapt`. Numbers are those of its authors' scripts: 15 rows of each of 10 tasks, or 150 of one; 5
demonstrations of each; an update per env step. The second cube is the one that Meta-World's tasks need.
"""

from dataclasses import replace
from typing import Any

from actors.worker import Config as ActorConfig
from algos.c2farm import Config as C2farmConfig
from algos.lib import image_context
from algos.reptile import Config as ReptileConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import CheckpointConfig, DemosConfig, EvaluationConfig, ReplayConfig, RunConfig
from protocols.vision import META_WORLD
from simulators.metaworld_vision import Options

STEPS, INNER = 20_000, 5
REACH = (0.10,)
"""metres; docs/metaworld_vision.md"""
FULL = C2farmConfig(reach=REACH, batch_size=15, room=1024, timeouts="bootstrap")
SMALL = C2farmConfig(voxels=8, reach=(0.12, 0.04), channels=32, batch_size=32, room=384, n_step=10)
"""three depths of 8 voxels have a fifth of the work of two of 16: for CPUs. Ten steps are an episode: values are learned from what came of
it. Those bootstrapped from a target network would need more updates than the whole run has to come from the last keyframe to the first"""


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


def preset(name: str, held_out: str, method: str) -> RunConfig:
    tasks = META_WORLD.train_tasks(f"metaworld_vision:{held_out}-v3")
    algorithm, algo = _form(method, FULL, len(tasks), STEPS)
    evaluation = EvaluationConfig(every_steps=2500, episodes=META_WORLD.evaluation_episodes, simulators=2, processes=0)
    replay = ReplayConfig(capacity=5000, updates_per_step=1, min_size=100, max_lead_steps=100)
    actors = ActorConfig(actors=1, simulators=1, chunk=0, processes=0, random_steps=0)
    return _run(name, tasks, Options(**META_WORLD.options("train")), algorithm, algo, STEPS, actors, replay, evaluation)


def small(name: str, *tasks: str, method: str = "mt", head_start: int = 250, steps: int = 600) -> RunConfig:
    """Fresh goals in every episode: those of evaluations are held out. It begins with updates on the demonstrations alone."""
    evaluation = EvaluationConfig(every_steps=steps // 6, episodes=20, simulators=4, target_success=0.95 if len(tasks) == 1 else 0.0)
    replay = ReplayConfig(capacity=5000, updates_per_step=1 / len(tasks), min_size=0, max_lead_steps=0, head_start=head_start)
    actors = ActorConfig(actors=1, simulators=1, chunk=0, random_steps=0)
    each = replace(SMALL, batch_size=SMALL.batch_size // len(tasks))
    algorithm, algo = _form(method, each, len(tasks), head_start + steps // len(tasks))
    full = tuple(f"metaworld_vision:{task}-v3" for task in tasks)
    return _run(name, full, Options(goals=0), algorithm, algo, steps, actors, replay, evaluation)


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

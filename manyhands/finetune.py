"""``manyhands finetune``: what a run has learned, carried on to tasks it has not seen; success after 0, 5,000, ... env steps on each.

Every task (and seed) is an ordinary run of its own, which begins with the other run's networks and is trained in stages, one per entry of
``--steps``. Between stages its newest policy is judged: on the test goals of a protocol, or as the run itself would evaluate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from core.errors import ConfigError
from manyhands import config_file
from manyhands.arguments import ShowArguments

if TYPE_CHECKING:
    from core.types import Weights
    from manyhands.config import RunConfig
    from manyhands.registry import Run as Row
    from protocols.metaworld import Protocol
    from protocols.rows import Results

Method = Literal["all", "actor", "last-layer", "policy", "scratch", "mixed"]
TRAIN = {"actor": "actor", "last-layer": "last_layer"}


@dataclass(frozen=True)
class FinetuneArguments(ShowArguments):
    """Fine-tuning on new tasks: curves of success over env steps."""

    method: Method = "all"
    """all: everything is taken over and learns on; actor: critics stay as they are; last-layer: only output layers learn; policy: only the
    policy is taken over, critics begin anew; scratch: nothing is; mixed: as all, beside the run's own tasks"""
    protocol: str = ""
    """its test tasks, training on their training goals, judged on their test goals: ml10, ml45, mt1-TASK, ml1-TASK"""
    tasks: tuple[str, ...] = ()
    """which tasks; with --protocol some of its test tasks, without it any that the run's simulators have"""
    steps: tuple[int, ...] = (0, 5000, 50_000)
    """env steps on the task at which it is judged, ascending; the last ends it"""
    goals: int | None = None
    """of a protocol, per task: the first so many; all by default"""
    episodes: int = 20
    """without a protocol: episodes of each judgement"""
    seeds: tuple[int, ...] = (0,)
    """of the new runs"""
    critic_warm_up: int = 1000
    """updates at the start in which only critics learn, where they do and something is taken over"""
    processes: int = 1
    """that judge a protocol's goals"""
    out: Path | None = None
    """every judged episode, one JSON object per line; also in the folders of the runs"""

    def check(self) -> None:
        """Raises ConfigError where options do not go together or cannot be."""
        if not self.steps or min(self.steps) < 0 or list(self.steps) != sorted(set(self.steps)) or self.steps[-1] == 0:
            raise ConfigError(f"--steps is {' '.join(map(str, self.steps))}; write ascending env steps, the last above 0: 0 5000 50000")
        if not self.protocol and not self.tasks:
            raise ConfigError("finetune needs --protocol ml10, or --tasks metaworld:drawer-open-v3 ...")
        if self.goals is not None and not self.protocol:
            raise ConfigError("--goals has no meaning here: it goes with --protocol")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"--seeds is {' '.join(map(str, self.seeds))}; write each seed once, from 0 on")
        for name, least in (("episodes", 1), ("critic_warm_up", 0), ("processes", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}. Allowed: {least} and up")


class Judged(NamedTuple):
    """One point of one curve."""

    task: str
    seed: int
    steps: int
    """env steps on the task"""
    results: "Results"


def finetune(options: FinetuneArguments) -> int:
    """Trains and judges, prints the table, writes the episodes. Returns the exit code; 130 where someone stopped it."""
    from rich.console import Console

    from manyhands import session
    from manyhands.registry import Registry

    options.check()
    row = Registry(options.runs).get(options.run)
    source = config_file.load(row.path / "config.json")
    protocol = _protocol(options, source)
    plan = [(task, seed) for task in _tasks(options, protocol) for seed in options.seeds]
    wanted = [derived(source, row.id, task, seed, options, protocol) for task, seed in plan]
    console, found, code = Console(), list[Judged](), 0
    specs = [session.check(config, options.runs, console) for config in wanted[:: len(options.seeds)]]  # all, before the first begins
    for i, config in enumerate(wanted):
        code = _one(config, specs[i // len(options.seeds)], plan[i][0], options, protocol, found)
        if code:
            break
    if found:
        console.print(curve_table(f"{row.id}, method {options.method}", found, options.steps))
    if options.out is not None:
        _write(options.out, found)
    return code


def _protocol(options: FinetuneArguments, source: "RunConfig") -> "Protocol | None":
    from manyhands.judge import goals_of
    from protocols import metaworld

    if not options.protocol:
        return None
    protocol = metaworld.find(options.protocol)
    goals_of(protocol, options.goals)
    if source.simulator_options.get("hide_goal") != protocol.hide_goal:
        shown = "hides" if protocol.hide_goal else "shows"
        raise ConfigError(f"{protocol.name} {shown} the goal, the run was trained otherwise: it cannot begin there")
    return protocol


def _tasks(options: FinetuneArguments, protocol: "Protocol | None") -> tuple[str, ...]:
    if protocol is None:
        return options.tasks
    strange = [task for task in options.tasks if task not in protocol.test_tasks]
    if strange:
        raise ConfigError(f"--tasks has {strange[0]}. Allowed: {', '.join(protocol.test_tasks)}, the test tasks of {protocol.name}")
    return options.tasks or protocol.test_tasks


def derived(source: "RunConfig", run: str, task: str, seed: int, options: FinetuneArguments, protocol: "Protocol | None") -> "RunConfig":
    """Settings of the run that fine-tunes ``run`` on one task: its own but for what the number of tasks and the method change.

    A task gets as many updates per env step of its own, and as long a warm-up, as each task of the source had.

    Raises:
        ConfigError: the run's algorithm cannot be fine-tuned.
    """
    from manyhands.config import InitConfig

    wrapped, method, K = hasattr(source.algo, "inner"), options.method, len(source.tasks)
    algo: Any = getattr(source.algo, "settings", source.algo)
    if not hasattr(algo, "critic_warm_up"):
        raise ConfigError(
            f"{run} has learned by {source.algorithm}, which cannot be fine-tuned. Allowed: runs of sac, and of reptile around it. "
            "Where it adapts by itself: manyhands adapt"
        )
    warm_up = 0 if method in ("actor", "scratch") else options.critic_warm_up
    tasks = (task, *(other for other in source.tasks if other != task)) if method == "mixed" else (task,)
    slots = source.actors.simulators * len(tasks)
    actors = replace(source.actors, actors=1, processes=source.actors.processes if source.actors.processes <= slots else 0)
    uniform = source.actors.random_steps // K * len(tasks) if method == "scratch" else 0
    replay = source.replay
    per_task = replay.updates_per_step * (1 if wrapped else K)
    simulator: Any = source.simulator
    return replace(
        source,
        preset=f"finetune-{method}",
        tasks=tasks,
        simulator=simulator if protocol is None else replace(simulator, **protocol.options("train")),
        algorithm=getattr(source.algo, "inner", source.algorithm),
        algo=replace(algo, train=TRAIN.get(method, "all"), critic_warm_up=warm_up),
        total_steps=next(steps for steps in options.steps if steps) * len(tasks),
        seed=seed,
        actors=replace(actors, random_steps=uniform),
        replay=replace(replay, updates_per_step=per_task / len(tasks), min_size=max(1, replay.min_size // K) * len(tasks)),
        evaluation=replace(source.evaluation, every_steps=0, episodes=1, simulators=1, in_turn=False, target_success=0.0),
        init=InitConfig() if method == "scratch" else InitConfig(run, parts="policy" if method == "policy" else "all"),
    ).check()


def _one(config: "RunConfig", spec: Any, task: str, options: FinetuneArguments, protocol: Any, found: list[Judged]) -> int:
    """One run through all its stages. Returns the exit code of the first stage that did not end well."""
    from core.checkpoint import Checkpoints
    from manyhands import session
    from manyhands.evaluate import weights_of

    row = session.enter(config, options.runs)
    for steps in options.steps:
        if steps == 0:
            weights = first_weights(config, spec, row.path)
        else:
            config_file.save(replace(config, total_steps=steps * len(config.tasks)), row.path / "config.json")
            code = session.resume(row.id, options.runs, None)
            if code:
                return code
            weights = weights_of(Checkpoints(row.path / "checkpoints"), "last", None)
        told = {"run": row.id, "seed": config.seed, "checkpoint": "last", "method": options.method, "env_steps": steps}
        results = _judged(config, spec, weights, told, options, protocol, row)
        results.write(row.path / "evaluations" / f"steps-{steps}.jsonl")
        found.append(Judged(task, config.seed, steps, results))
    return 0


def first_weights(config: "RunConfig", spec: Any, folder: Path) -> "Weights":
    """The policy that a run begins with, before its first step."""
    from core.tree import index_tree, named_leaves
    from core.types import Weights
    from manyhands import build, warm_start

    algorithm = build.algorithm(config, spec)
    state = algorithm.init([build.seeds(config).child("learner").child("init").integer()])
    leaves, initial = dict(named_leaves(state)), warm_start.tensors_of(config, spec, folder) or {}
    for name, leaf in initial.items():
        leaves[name].copy_(leaf)
    policy = index_tree(algorithm.policy(state), 0)
    return Weights(0, {name: leaf.numpy().copy() for name, leaf in policy.items()})


def _judged(
    config: "RunConfig", spec: Any, weights: "Weights", told: Mapping[str, Any], options: FinetuneArguments, protocol: Any, row: "Row"
) -> "Results":
    """The fine-tuned task alone, the first of the run's."""
    from manyhands import build
    from manyhands.evaluate import on_protocol
    from manyhands.judge import goals_of

    if protocol is not None:
        told = {**told, "protocol": protocol.name, "setting": protocol.setting}
        one, goals = replace(protocol, test_tasks=config.tasks[:1]), goals_of(protocol, options.goals)
        return on_protocol(one, goals, options.processes, config, weights, dict(told), None, row.path / "logs")
    settings = replace(config.evaluation, episodes=options.episodes, simulators=min(options.episodes, 20))
    evaluator = build.evaluator(replace(config, evaluation=settings), spec, row.path / "logs", tasks=[0], simulators=settings.simulators)
    try:
        return evaluator.results(weights, dict(told), None)
    finally:
        evaluator.close()


def curve_table(title: str, found: list[Judged], steps: tuple[int, ...]) -> Any:
    """Success at any step, a line per task and a column per number of env steps; intervals as the caption says."""
    import numpy as np

    from manyhands.outcome import task_table
    from protocols.statistics import estimate, mean, wilson_interval

    tasks, seeds = (tuple(dict.fromkeys(getattr(one, name) for one in found)) for name in ("task", "seed"))
    success = {(one.task, one.seed, one.steps): one.results.column("success_any") for one in found}
    caption = "success at any step; of a task: 95 % interval over episodes (Wilson)"
    caption += f"; of the mean: stratified bootstrap over {len(seeds)} seeds" if len(seeds) > 1 else "; of the mean: one seed has none"
    table = task_table(title, caption, [f"{n:,} steps" for n in steps])
    for task in tasks:
        cells = []
        for n in steps:
            flags = [success[key] for key in ((task, seed, n) for seed in seeds) if key in success]
            flat = np.concatenate(flags) if flags else np.zeros(0)
            cells.append(_cell(flat.mean(), *wilson_interval(int(flat.sum()), len(flat))) if len(flat) else "-")
        table.add_row(task.removeprefix("metaworld:"), *cells)
    table.add_section()
    means = []
    for n in steps:
        if any((task, seed, n) not in success for task in tasks for seed in seeds):
            means.append("-")
            continue
        scores = np.array([[success[task, seed, n].mean() for task in tasks] for seed in seeds])
        whole = estimate(mean, scores, rng=np.random.default_rng(0))
        means.append(_cell(whole.value, whole.low, whole.high) if len(seeds) > 1 else f"{scores.mean():.0%}")
    table.add_row("mean over tasks", *means)
    return table


def _cell(share: Any, low: Any, high: Any) -> str:
    return f"{share:.0%} ({100 * low:.0f}-{100 * high:.0f})"


def _write(path: Path, found: list[Judged]) -> None:
    """All rows in one file: those of different steps have different settings, and cannot be averaged by mistake."""
    import json

    rows = [row._asdict() | {"settings": dict(one.results.settings[row.task])} for one in found for row in one.results.rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

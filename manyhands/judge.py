"""``manyhands eval --policy scripted mt50``: a policy that needs no training plays a protocol; the sanity row beside every result."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from rich.console import Console
from rich.progress import Progress

from core.errors import ConfigError
from core.seeding import SeedTree
from manyhands.arguments import EvalArguments
from manyhands.outcome import outcome_table, together
from protocols import metaworld
from protocols.evaluator import Evaluator
from protocols.official import official_success
from protocols.plan import per_goal
from protocols.players import FunctionPlayer
from protocols.rows import Results
from protocols.schedule import Schedule
from simulators.metaworld.experts import expert
from simulators.pool import SimulatorPool

SLOTS = 10
"""simulators per task at most"""


@dataclass(frozen=True)
class Judgement:
    """What is to be played."""

    protocol: metaworld.Protocol
    policy: str
    goals: int
    """per task"""
    seed: int
    """of the random policy"""


def judge(options: EvalArguments) -> int:
    """Plays a protocol in ``options.processes`` processes, prints a table, writes the rows. Returns the exit code."""
    protocol = metaworld.find(options.name, options.setting or "v3")
    judgement = Judgement(protocol, options.policy, goals_of(protocol, options.goals), options.seed)
    tasks, rows = protocol.test_tasks, {}
    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{judgement.policy} on {protocol.name}", total=len(tasks))
        for one in _played(judgement, min(options.processes, len(tasks))):
            rows |= one
            progress.advance(bar)
    results = together([rows[task] for task in tasks])
    if options.out is not None:
        results.write(options.out)
    title = f"{judgement.policy} policy on {protocol.name}, setting {protocol.setting}"
    Console().print(outcome_table(title, results, _official(judgement, results)))
    return 0


def goals_of(protocol: metaworld.Protocol, asked: int | None) -> int:
    """How many goals per task are played."""
    if asked is not None and not 1 <= asked <= protocol.test_goals:
        raise ConfigError(f"--goals is {asked}. Allowed: 1 to {protocol.test_goals}, the test goals of {protocol.name} {protocol.setting}")
    return asked or protocol.test_goals


def _played(judgement: Judgement, processes: int) -> Iterator[dict[str, Results]]:
    """The tasks as they are done; policies are Python, so each process has its own share of tasks and steps its own simulators."""
    tasks = judgement.protocol.test_tasks
    if processes == 1:
        yield from (play(judgement, task) for task in tasks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(play, judgement, task) for task in tasks]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def play(judgement: Judgement, task: str) -> dict[str, Results]:
    """One task; in a process of its own."""
    protocol, slots = judgement.protocol, min(SLOTS, judgement.goals)
    # A scripted policy steers to the goal that it sees, and adapts to nothing: it plays the judged episodes only.
    episodes = protocol.evaluation_episodes
    options = protocol.options("test") | {"goals": judgement.goals, "repeat": episodes}
    if judgement.policy == "scripted":
        options["hide_goal"] = False
    pool = SimulatorPool(task, [0] * slots, options)
    evaluator = Evaluator(pool, per_goal([task] * slots, judgement.goals, Schedule(evaluation=episodes)), [0] * slots)
    told = {"protocol": protocol.name, "setting": protocol.setting, "seed": judgement.seed, "checkpoint": "none"}
    try:
        return {task: evaluator.evaluate(FunctionPlayer(_functions(judgement, task, slots), judgement.policy), told)}
    finally:
        evaluator.close()


def _functions(judgement: Judgement, task: str, slots: int) -> Sequence:
    if judgement.policy == "scripted":
        return [expert(task.partition(":")[2])] * slots
    if judgement.policy == "zero":
        return [lambda obs: np.zeros(4, np.float32)] * slots
    place = metaworld.find("mt50").test_tasks.index(task)
    tree = SeedTree(judgement.seed).child("random policy", place)
    return [partial(_uniform, tree.child("slot", i).numpy()) for i in range(slots)]


def _uniform(rng: np.random.Generator, obs: np.ndarray) -> np.ndarray:
    return rng.uniform(-1, 1, 4).astype(np.float32)


def _official(judgement: Judgement, results: Results) -> list[str]:
    """What Meta-World's own evaluator would report of meta-learning: it plays 20 goals at once, and counts the first episodes to end."""
    tasks = judgement.protocol.test_tasks
    at_once = 20 // len(tasks)
    if judgement.protocol.name.startswith("mt") or judgement.policy == "random" or judgement.goals % at_once:
        return []
    counted = official_success(results, episodes=3, goals_at_once=at_once)
    return [f"Meta-World's own evaluator would report {counted.success:.1%}: it counts the first episodes to end, whatever their goal"]

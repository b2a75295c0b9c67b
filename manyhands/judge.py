"""``manyhands eval --policy scripted mt50``: a policy that needs no training plays a protocol; the sanity row beside every result."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from core.errors import ConfigError
from core.seeding import SeedTree
from protocols import metaworld
from protocols.evaluator import Evaluator
from protocols.official import official_success
from protocols.plan import per_goal
from protocols.players import FunctionPlayer
from protocols.rows import Results
from simulators.metaworld.experts import expert
from simulators.pool import SimulatorPool

Policy = Literal["scripted", "random", "zero"]
SLOTS = 10
"""simulators per task at most"""


@dataclass(frozen=True)
class Judgement:
    """What is to be played."""

    protocol: metaworld.Protocol
    policy: Policy
    goals: int
    """per task"""
    seed: int
    """of the random policy"""

    def __post_init__(self) -> None:
        if not 1 <= self.goals <= self.protocol.test_goals:
            raise ConfigError(f"--goals is {self.goals}. Allowed: 1 to {self.protocol.test_goals}, the test goals of {self.protocol.name}")


def judge(judgement: Judgement, *, processes: int, out: Path | None) -> int:
    """Plays the protocol in ``processes`` processes, prints a table, writes the rows. Returns the exit code."""
    protocol, tasks = judgement.protocol, judgement.protocol.test_tasks
    if processes < 1:
        raise ConfigError(f"--processes is {processes}. Allowed: 1 and up")
    rows: dict[str, Results] = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{judgement.policy} on {protocol.name}", total=len(tasks))
        for one in _played(judgement, min(processes, len(tasks))):
            rows |= one
            progress.advance(bar)
    results = Results(tuple(row for task in tasks for row in rows[task].rows), {task: rows[task].settings[task] for task in tasks})
    if out is not None:
        results.write(out)
    Console().print(_table(judgement, results))
    return 0


def _played(judgement: Judgement, processes: int) -> Iterator[dict[str, Results]]:
    """The tasks as they are done; policies are Python, so each process has its own share of tasks and steps its own simulators."""
    tasks = judgement.protocol.test_tasks
    if processes == 1:
        yield from (play(judgement, task) for task in tasks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _quiet) as pool:
        for done in as_completed([pool.submit(play, judgement, task) for task in tasks]):
            yield done.result()


def play(judgement: Judgement, task: str) -> dict[str, Results]:
    """One task; in a process of its own."""
    protocol, slots = judgement.protocol, min(SLOTS, judgement.goals)
    # A scripted policy steers to the goal that it sees, and adapts to nothing: it plays the judged episodes only.
    episodes = protocol.evaluation_episodes
    options = protocol.options("test") | {"goals": judgement.goals, "repeat": episodes}
    if judgement.policy == "scripted":
        options["hide_goal"] = False
    pool = SimulatorPool(task, [0] * slots, options)
    evaluator = Evaluator(pool, per_goal([task] * slots, judgement.goals, evaluation=episodes), [0] * slots)
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


def _quiet() -> None:
    """Small matrix products must not start threads."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _table(judgement: Judgement, results: Results) -> Table:
    protocol = judgement.protocol
    told = results.settings[results.tasks[0]]
    shown = ", ".join(f"{key} {told[key]}" for key in ("reward", "reward_version", "goals", "goal_visible"))
    title = f"{judgement.policy} policy on {protocol.name} ({protocol.setting}), horizon {protocol.horizon}\n{shown}"
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    for column in ("n", "any", "[95 %]", "last", "[95 %]", "return", "first"):
        table.add_column(column, justify="right", no_wrap=True)
    for task, s in results.summaries().items():
        first = "never" if math.isnan(s.first_success) else f"{s.first_success:.0f}"
        successes = (f"{s.success_any:.0%}", _range(s.any_interval), f"{s.success_last:.0%}", _range(s.last_interval))
        table.add_row(task.partition(":")[2], str(s.n), *successes, f"{s.episode_return:.0f}", first)
    table.add_section()
    any_, last = (float(np.mean(list(results.means(name).values()))) for name in ("success_any", "success_last"))
    table.add_row("mean over tasks", str(len(results.rows)), f"{any_:.1%}", "", f"{last:.1%}")
    table.caption = "any: success at some step; last: at the last step; first: steps until the first success, median"
    if judgement.policy != "random":
        counted = official_success(results, episodes=50 if protocol.name.startswith("mt") else 3)
        table.caption += f"\nas Meta-World's own evaluator counts: {counted.success:.1%} (the first episodes to end, whatever their goal)"
    return table


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.0%}-{interval[1]:.0%}"

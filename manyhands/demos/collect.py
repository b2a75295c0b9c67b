"""Demonstrations by a simulator's expert, in several processes: what fails, hangs or dies is tried again with another variation.

Demonstration i tries the variations i, i + ``STRIDE``, i + 2 ``STRIDE`` ..., so that the same files come about whatever the number of
processes, however often collecting was broken off, and in whichever order they were made.
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import simulators
from core.errors import ConfigError, DemoError
from manyhands.demos import store
from manyhands.demos.hand import Hand, Job, wait
from simulators import hooks

STRIDE = 100_003
"""Variations from one try of a demonstration to the next: more than anyone wants demonstrations, and prime."""


@dataclass(frozen=True)
class Plan:
    """What is to be collected."""

    tasks: tuple[str, ...]
    """``blocks:touch`` ..."""
    count: int
    """of each task"""
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    """of the simulator"""
    seed: int = 0
    """of the simulator"""
    processes: int = 1
    retries: int = 9
    """further variations that are tried where one fails"""
    timeout_s: float = 300.0
    """longest that one demonstration may take"""
    replay: bool = False
    """its keyframes are played, too, and have to lead to success"""

    def check(self) -> None:
        """Raises ConfigError where something cannot be."""
        for task in self.tasks:
            simulators.check(task, self.options)
        if len(set(self.tasks)) < len(self.tasks) or not self.tasks:
            raise ConfigError(f"the tasks are {', '.join(self.tasks) or 'none'}. Allowed: one or more, each once")
        for name, least in {"count": 1, "seed": 0, "processes": 1, "retries": 0, "timeout_s": 0.001}.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"--{name.removesuffix('_s')} is {getattr(self, name)}. Allowed: {least} and up")
        if self.count > STRIDE:
            raise ConfigError(f"--count is {self.count}. Allowed: up to {STRIDE}")


@dataclass
class State:
    """How far it is."""

    total: int
    """demonstrations that there are to be"""
    there: int
    """that were there before"""
    done: int = 0
    """that have been collected"""
    retries: int = 0
    last_failure: str = ""
    lost: list[str] = field(default_factory=list)
    """why, of each that could not be collected"""
    task: str = ""
    """of the last that ended"""
    launching_s: float = 0.0
    """since when the process that has taken longest to make its simulator is at it; 0: none is"""
    under_way: int = 0
    """demonstrations"""
    longest_s: float = 0.0
    """since when the oldest of them is"""
    began: float = field(default_factory=time.monotonic)

    def look(self, hands: Sequence[Hand]) -> None:
        """What they are doing now."""
        now, busy = time.monotonic(), [hand for hand in hands if hand.job and hand.failure is None]
        ages = [now - hand.since for hand in busy if hand.asked]
        self.launching_s = max((now - hand.since for hand in busy if not hand.asked), default=0.0)
        self.under_way, self.longest_s = len(ages), max(ages, default=0.0)

    def left_s(self) -> float | None:
        """Seconds to the end at the mean rate up to now; None as long as nothing is done."""
        passed = time.monotonic() - self.began
        return (self.total - self.there - self.done - len(self.lost)) * passed / self.done if self.done else None


def silent(state: State) -> None:
    """Shows nothing."""


def collect(plan: Plan, show: Callable[[State], None] = silent) -> State:
    """Writes the files that are not there yet.

    Args:
        show: is called whenever something has changed, and each second.

    Raises:
        ConfigError: the plan cannot be, or a simulator has no expert.
        MissingExtra: what the simulator needs is not installed.
        DemoError: some could not be collected, each in any of its variations; all others were.
    """
    plan.check()
    jobs = deque(_jobs(plan))
    hooks.require(job.task for job in jobs)
    total = plan.count * len(plan.tasks)
    state = State(total, total - len(jobs))
    show(state)
    logs = Path(tempfile.mkdtemp(prefix="manyhands-demos-"))
    hands = [Hand(plan.seed, plan.options, plan.replay, plan.timeout_s, logs / f"{w}.log") for w in range(min(plan.processes, len(jobs)))]
    try:
        while jobs or any(hand.job for hand in hands):
            for hand in hands:
                if jobs and not hand.job:
                    hand.take(jobs.popleft())
            for hand in wait(hands, 1.0):
                _ended(hand, plan, state, jobs)
            state.look(hands)
            show(state)
    finally:
        for hand in hands:
            hand.leave()
        for hand in hands:
            hand.close()
        shutil.rmtree(logs, ignore_errors=True)
    if state.lost:
        first = f"{len(state.lost)} of {total} demonstrations could not be collected, after {plan.retries} retries each: {state.lost[0]}"
        raise DemoError(
            f"{first}. The others are in {plan.folder}. Fix: manyhands demos collect, with more --retries or a longer --timeout"
        )
    return state


def _jobs(plan: Plan) -> list[Job]:
    jobs = []
    for task in plan.tasks:
        folder = store.folder_of(plan.folder, task, plan.options)
        there = {path.name for path in store.find(plan.folder, task, plan.count, plan.options)}
        paths = {number: store.path_of(folder, number) for number in range(plan.count)}
        jobs += [Job(task, number, path) for number, path in paths.items() if path.name not in there]
    return jobs


def _ended(hand: Hand, plan: Plan, state: State, jobs: deque[Job]) -> None:
    """Counts what a hand has done, or puts its job in front again with the next variation."""
    job, failure = hand.let_go()
    state.task = job.task
    if not failure:
        state.done += 1
        return
    state.last_failure = failure
    if job.tries > plan.retries:
        state.lost.append(failure)
    else:
        state.retries += 1
        jobs.appendleft(Job(job.task, job.variation + STRIDE, job.path, job.tries + 1))

"""A point in the plane that must find its way to a hidden goal on the upper unit semicircle: the smallest problem of meta-RL.

After the point robot of Rakelly et al. 2019 (PEARL, section 6.3; the sparse reward is theirs). ``semicircle:dense@3`` always
has goal 3.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.seeding import SeedTree
from core.types import Field, Observation, Step, TaskSpec
from simulators._options import validate

STRIDE, RADIUS = 0.1, 0.2
"""An action of 1 moves by STRIDE; within RADIUS of the goal is success."""


@dataclass(frozen=True)
class Options:
    """What one can ask of the semicircle."""

    split: Literal["train", "test"] = "train"
    """which goals"""
    train_goals: int = 40
    """goals to train on, the first so many"""
    test_goals: int = 20
    """others to test on, the first so many"""
    repeat: int = 1
    """episodes in a row that share a goal: a trial of meta-RL"""
    horizon: int = 20
    """env steps after which an episode is truncated"""

    def __post_init__(self) -> None:
        validate(self, "semicircle", train_goals=1, test_goals=1, repeat=1, horizon=1)


def tasks() -> tuple[str, ...]:
    """``dense``: the reward is minus the distance to the goal. ``sparse``: 1 minus that within ``RADIUS``, else 0."""
    return ("dense", "sparse")


def named_goals(options: Options) -> int:
    """How many goals can be named, as in ``dense@3``."""
    return options.train_goals if options.split == "train" else options.test_goals


@cache
def points(split: str, count: int) -> NDArray[np.float64]:
    """(count, 2) goals, at angles uniform in 0 to pi. The same for every run, and the first of them for every count."""
    angle = SeedTree(0).child("semicircle").child(split).numpy().uniform(0, np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def make(task: str, seed: int, goal: int | None = None, **options: Any) -> "Semicircle":
    """One task; with ``goal`` every episode has that one."""
    return Semicircle(task, seed, Options(**options), goal)


class Semicircle:
    """obs (2,): the position, at first the origin; action (2,) moves it. The reward is of where a step led to. Never terminates."""

    def __init__(self, task: str, seed: int, options: Options, goal: int | None = None) -> None:
        self.task, self.seed, self.options, self.number = task, seed, options, goal
        self.points = points(options.split, named_goals(options))
        self.t, self.position, self.goal = 0, np.zeros(2), self.points[0]
        drawn = f"{named_goals(options)} {options.split}"
        labels = {
            "simulator": "semicircle",
            "horizon": str(options.horizon),
            "goals": drawn if goal is None else f"number {goal} of {options.split}",
            "repeat": str(options.repeat),
        }
        name = f"semicircle:{task}" if goal is None else f"semicircle:{task}@{goal}"
        self.spec = TaskSpec(name, (Field("obs", (2,)),), 2, options.horizon, tuple(labels.items()))

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``; its goal is the named one, or drawn from (seed, variation // repeat)."""
        number, trial = self.number, variation // self.options.repeat
        if number is None:
            number = int(np.random.default_rng([self.seed, trial]).integers(len(self.points)))
        self.t, self.position, self.goal = 0, np.zeros(2), self.points[number]
        return self._observation()

    def step(self, action: NDArray[np.float32]) -> Step:
        """Moves by ``STRIDE`` times the action."""
        self.t += 1
        self.position = self.position + STRIDE * np.clip(np.asarray(action, np.float64), -1, 1)
        distance = float(np.linalg.norm(self.position - self.goal))
        near = distance <= RADIUS
        sparse = 1 - distance if near else 0.0
        reward = -distance if self.task == "dense" else sparse
        return Step(self._observation(), reward, False, self.t >= self.options.horizon, near)

    def close(self) -> None:
        """Nothing to free."""

    def _observation(self) -> Observation:
        return {"obs": self.position.astype(np.float32)}

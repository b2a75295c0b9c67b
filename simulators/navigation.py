"""A point in the plane that looks for a goal it does not see: the smallest problem that adaptation solves, to test meta-RL with.

Finn et al. 2017 (arXiv 1703.03400), section 5.3 and appendix A.2. The paper says that the reward is minus the *squared* distance; its
published experiments, and those after it, use minus the distance, and so do we: returns compare with theirs. Episodes go on at the goal,
so that all have the same length.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Field, Observation, Step, TaskSpec
from simulators._options import validate

STRIDE, FARTHEST = 0.1, 0.5
"""An action of 1 moves by STRIDE; goals lie within +-FARTHEST in each coordinate."""
RADIUS = 0.05
"""Success within RADIUS of the goal: our own number, the paper has none."""


@dataclass(frozen=True)
class Options:
    """What one can ask of the navigation."""

    horizon: int = 100
    """env steps after which an episode is truncated; it never terminates"""
    repeat: int = 1
    """episodes in a row that share a goal: those of one trial"""

    def __post_init__(self) -> None:
        validate(self, "navigation", horizon=1, repeat=1)


def tasks() -> tuple[str, ...]:
    """``point``: goals are drawn uniformly from a square."""
    return ("point",)


def make(task: str, seed: int, **options: Any) -> "Navigation":
    """The simulator of the only task."""
    return Navigation(task, seed, Options(**options))


class Navigation:
    """obs (2,): the position, which begins at 0. Reward: minus the distance to the hidden goal after the step."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.seed, self.options, self.t = seed, options, 0
        self.position, self.goal = np.zeros(2, np.float32), np.zeros(2, np.float32)
        labels = (("simulator", "navigation"), ("horizon", str(options.horizon)))
        self.spec = TaskSpec(f"navigation:{task}", (Field("obs", (2,)),), 2, options.horizon, labels)

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``. Its goal is number ``variation // repeat`` of this seed."""
        self.t = 0
        draw = np.random.default_rng([self.seed, variation // self.options.repeat])
        self.goal = draw.uniform(-FARTHEST, FARTHEST, 2).astype(np.float32)
        self.position = np.zeros(2, np.float32)
        return {"obs": self.position.copy()}

    def step(self, action: NDArray[np.float32]) -> Step:
        """One env step."""
        self.t += 1
        self.position = self.position + np.float32(STRIDE) * np.clip(action, -1, 1).astype(np.float32)
        distance = float(np.linalg.norm(self.position - self.goal))
        return Step({"obs": self.position.copy()}, -distance, False, self.t >= self.options.horizon, distance < RADIUS)

    def close(self) -> None:
        """Nothing to free."""

"""Multi-armed bandits with Bernoulli rewards, the smallest problem of learning to learn: ``bandit:bernoulli``.

Duan et al. 2016 (arXiv 1611.02779), section 3.1: the probability of each arm is uniform in [0, 1]; an agent that does not know them pulls n
times. Here an episode is n pulls, and nothing shows its end in advance: a trial may be one episode, or with ``repeat`` several.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Field, Observation, Step, TaskSpec
from simulators._options import validate

ARMS, PULLS = 0, 1
"""nodes of the seed tree of a variation"""


@dataclass(frozen=True)
class Options:
    """What one can ask of a bandit."""

    arms: int = 5
    """A, of which an action chooses one"""
    horizon: int = 10
    """pulls, after which an episode is truncated"""
    repeat: int = 1
    """episodes in a row that share their arms: a trial of meta-RL"""

    def __post_init__(self) -> None:
        validate(self, "bandit", arms=2, horizon=1, repeat=1)


def tasks() -> tuple[str, ...]:
    return ("bernoulli",)


def make(task: str, seed: int, **options: Any) -> "Bandit":
    """The simulator of one task."""
    return Bandit(task, seed, Options(**options))


class Bandit:
    """Pays 1 or 0. obs (1,): always 0. Success: the arm just pulled is the best one."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.seed, self.options, self.t = seed, options, 0
        labels = {"simulator": "bandit", "arms": options.arms, "horizon": options.horizon, "repeat": options.repeat}
        self.spec = TaskSpec(
            f"bandit:{task}",
            (Field("obs", (1,)),),
            options.arms,
            options.horizon,
            tuple((name, str(value)) for name, value in labels.items()),
            discrete=True,
        )

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``: its arms are drawn from (seed, variation // repeat), what they pay from (seed, variation)."""
        self.t = 0
        self.probability = np.random.default_rng([self.seed, variation // self.options.repeat, ARMS]).random(self.options.arms)
        self.luck = np.random.default_rng([self.seed, variation, PULLS])
        return _nothing()

    def step(self, action: NDArray[np.float32]) -> Step:
        """Pulls the arm whose number in ``action`` (A,) is the largest."""
        self.t += 1
        arm = int(np.argmax(action))
        pays = float(self.luck.random() < self.probability[arm])
        return Step(_nothing(), pays, False, self.t >= self.options.horizon, arm == int(np.argmax(self.probability)))

    def close(self) -> None:
        """Nothing to free."""


def _nothing() -> Observation:
    return {"obs": np.zeros(1, np.float32)}

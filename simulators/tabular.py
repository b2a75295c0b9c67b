"""Random Markov decision processes with few states, in which to act well is to have found out which one it is: ``tabular:mdp``.

Duan et al. 2016 (arXiv 1611.02779), section 3.2: 10 states, 5 actions, transitions from a flat Dirichlet distribution, mean rewards from
N(1, 1), rewards with a standard deviation of 1, episodes of 10 steps. All episodes begin in state 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Field, Observation, Step, TaskSpec
from simulators._options import validate

MDP, LUCK = 0, 1
"""nodes of the seed tree of a variation"""


@dataclass(frozen=True)
class Options:
    """What one can ask of a random MDP."""

    states: int = 10
    """O"""
    actions: int = 5
    """A, of which an action chooses one"""
    horizon: int = 10
    """env steps after which an episode is truncated"""
    repeat: int = 1
    """episodes in a row in the same MDP: a trial of meta-RL"""

    def __post_init__(self) -> None:
        validate(self, "tabular", states=2, actions=2, horizon=1, repeat=1)


def tasks() -> tuple[str, ...]:
    return ("mdp",)


def make(task: str, seed: int, **options: Any) -> "Tabular":
    """The simulator of one task."""
    return Tabular(task, seed, Options(**options))


class Tabular:
    """obs (O,): the state's one-hot. Success: the action just taken is the best one in its state with the steps that were left."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.seed, self.options, self.t, self.state = seed, options, 0, 0
        labels = {"simulator": "tabular", **vars(options)}
        self.spec = TaskSpec(
            f"tabular:{task}",
            (Field("obs", (options.states,)),),
            options.actions,
            options.horizon,
            tuple((name, str(value)) for name, value in labels.items()),
            discrete=True,
        )

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``: its MDP is drawn from (seed, variation // repeat), what happens in it from (seed, variation)."""
        options, self.t, self.state = self.options, 0, 0
        draw = np.random.default_rng([self.seed, variation // options.repeat, MDP])
        self.reward = draw.normal(1, 1, (options.states, options.actions))
        self.transition = draw.dirichlet(np.ones(options.states), (options.states, options.actions))
        self.values = values(self.reward, self.transition, options.horizon)
        self.luck = np.random.default_rng([self.seed, variation, LUCK])
        return self._observe()

    def step(self, action: NDArray[np.float32]) -> Step:
        """Takes the action whose number in ``action`` (A,) is the largest."""
        state, chosen = self.state, int(np.argmax(action))
        best = int(np.argmax(self.values[min(self.t, self.options.horizon - 1), state]))
        self.t += 1
        reward = float(self.reward[state, chosen] + self.luck.standard_normal())
        self.state = int(self.luck.choice(self.options.states, p=self.transition[state, chosen]))
        return Step(self._observe(), reward, False, self.t >= self.options.horizon, chosen == best)

    def close(self) -> None:
        """Nothing to free."""

    def _observe(self) -> Observation:
        obs = np.zeros(self.options.states, np.float32)
        obs[self.state] = 1
        return {"obs": obs}


def values(reward: NDArray, transition: NDArray, horizon: int) -> NDArray:
    """(T, O, A) expected return, not discounted, of an action at step t and best ones from then on: value iteration backwards in time.

    Args:
        reward: (O, A) means.
        transition: (O, A, O) probabilities.
    """
    after, found = np.zeros(len(reward)), []
    for _ in range(horizon):
        found.append(reward + transition @ after)
        after = found[-1].max(1)
    return np.stack(found[::-1])

"""What a policy has seen of N simulators, beside every policy that acts: last actions and rewards, where episodes and trials begin."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.types import Observation, Seen

ARRAYS = ("trial", "episode", "action", "reward")


class Watch:
    """Is told what happens, and tells it as ``Seen``. At first all are at the beginning of a trial.

    Args:
        tasks: (N,) the index of each simulator's task.
        lanes: (N,) of each simulator, see ``Seen``; by default 0 to N - 1.
        action_dim: A.
        trial: episodes after which a trial ends by itself; 0: only when ``begin`` says so.
    """

    def __init__(self, tasks: ArrayLike, action_dim: int, lanes: ArrayLike | None = None, trial: int = 0) -> None:
        self.tasks = np.asarray(tasks, np.int64)
        N = len(self.tasks)
        self.lanes = np.arange(N) if lanes is None else np.asarray(lanes, np.int64)
        self.length = trial
        self.trial, self.episode = np.ones(N, bool), np.ones(N, bool)
        self.action, self.reward = np.zeros((N, action_dim), np.float32), np.zeros(N, np.float32)
        self.played = np.zeros(N, np.int64)
        """episodes of the trial under way that have ended"""

    def seen(self, shown: Observation) -> Seen:
        """With the observations (N, ...) to act on. Views: valid until the next call of another method."""
        return Seen(shown["obs"], self.tasks, self.lanes, self.trial, self.episode, self.action, self.reward, shown)

    def acted(self, action: NDArray[np.float32]) -> None:
        """What was chosen on what was seen last."""
        self.action[:] = action

    def stepped(self, reward: NDArray, ended: NDArray[np.bool_]) -> None:
        """What the actions brought; ``ended`` (N,) where an episode is over and the next has begun."""
        self.reward[:] = reward
        self.trial[:] = False
        self.episode[:] = ended
        if self.length and ended.any():
            self.played += ended
            self.begin(self.played >= self.length)

    def begin(self, slots: NDArray[np.bool_]) -> None:
        """In ``slots`` (N,) a trial begins with the observation that comes next."""
        self.trial |= slots
        self.episode |= slots
        self.action[slots], self.reward[slots], self.played[slots] = 0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in (*ARRAYS, "played")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in (*ARRAYS, "played"):
            getattr(self, name)[...] = state[name]

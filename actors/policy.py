"""Actor side: the current weights, and actions from them with plain arrays, batched over one process's simulators."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.contracts import Algorithm
from core.types import Weights


class Policy:
    """Acts by ``algorithm.act`` with the newest weights it was given; explores with its own generator.

    Args:
        tasks: (N,) of each simulator.
        random_steps: env steps at the start that draw actions uniformly from [-1, 1] instead.
    """

    def __init__(
        self, algorithm: Algorithm, generator: np.random.Generator, *, action_dim: int, random_steps: int, tasks: NDArray[np.int64]
    ) -> None:
        self.algorithm, self.generator, self.tasks = algorithm, generator, tasks
        self.weights = Weights(0, {})
        self.action_dim, self.random_steps_left = action_dim, random_steps

    @property
    def version(self) -> int:
        return self.weights.version

    def explore(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, O) -> (N, A), with exploration."""
        shape = (len(obs), self.action_dim)
        if self.random_steps_left > 0:
            self.random_steps_left -= len(obs)
            return self.generator.uniform(-1.0, 1.0, shape).astype(np.float32)
        noise = self.generator.standard_normal(shape, dtype=np.float32)
        return self.algorithm.act(self.weights.params, None, obs, noise, self.tasks)[0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.bit_generator.state,
            "random_steps_left": self.random_steps_left,
            "version": self.version,
            "params": dict(self.weights.params),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.bit_generator.state = state["generator"]
        self.random_steps_left = state["random_steps_left"]
        self.weights = Weights(state["version"], dict(state["params"]))

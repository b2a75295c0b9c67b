"""Actor side: the current weights, and actions from them with plain arrays, batched over one process's simulators."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.contracts import Algorithm
from core.seen import Watch
from core.types import Observation, Weights


class Policy:
    """Acts by ``algorithm.act`` with the newest weights it was given; explores with its own generator.

    Args:
        watch: of the N simulators.
        random_steps: env steps at the start that draw actions uniformly from [-1, 1] instead.
    """

    def __init__(self, algorithm: Algorithm, generator: np.random.Generator, watch: Watch, *, random_steps: int = 0) -> None:
        self.algorithm, self.generator, self.watch = algorithm, generator, watch
        self.weights = Weights(0, {})
        self.carry: Any = None
        self.random_steps_left = random_steps

    @property
    def version(self) -> int:
        return self.weights.version

    def explore(self, obs: Observation) -> tuple[NDArray[np.float32], dict[str, NDArray]]:
        """(N, ...) -> actions (N, A) with exploration, and the algorithm's columns of replay."""
        action, extra = self._random(len(obs["obs"])) if self.random_steps_left > 0 else self._drawn(obs)
        self.watch.acted(action)
        return action, extra

    def _random(self, N: int) -> tuple[NDArray[np.float32], dict[str, NDArray]]:
        self.random_steps_left -= N
        self.watch.trial[:] = True  # a policy with a memory finds none when its turn comes
        return self.generator.uniform(-1.0, 1.0, self.watch.action.shape).astype(np.float32), {}

    def _drawn(self, obs: Observation) -> tuple[NDArray[np.float32], dict[str, NDArray]]:
        noise = self.generator.standard_normal((len(obs["obs"]), self.algorithm.noise_dim), dtype=np.float32)
        action, self.carry, extra = self.algorithm.act(self.weights.params, self.carry, self.watch.seen(obs), noise)
        return action, extra

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.bit_generator.state,
            "random_steps_left": self.random_steps_left,
            "version": self.version,
            "params": dict(self.weights.params),
            "watch": self.watch.state_dict(),
            "carry": self.carry,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.bit_generator.state = state["generator"]
        self.random_steps_left = state["random_steps_left"]
        self.weights = Weights(state["version"], dict(state["params"]))
        self.watch.load_state_dict(state["watch"])
        self.carry = state["carry"]

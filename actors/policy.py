"""Actor side: the current weights, and actions from them with plain arrays, batched over one process's simulators."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.abilities import Encoding
from core.contracts import Algorithm
from core.seen import Watch
from core.types import Observation, Seen, Weights


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

    def encoded(self, shown: Observation, action: NDArray, reward: NDArray, slots: NDArray[np.bool_]) -> dict[str, NDArray]:
        """What the algorithm keeps of observations (N, ...) that nobody acts on: (N, ...), zeros but for ``slots`` (N,).

        Args:
            action, reward: (N, ...) what led there.
        """
        if not isinstance(self.algorithm, Encoding) or not slots.any():
            return {}
        at, nothing = np.flatnonzero(slots), np.zeros(np.count_nonzero(slots), bool)
        fields = {name: value[at] for name, value in shown.items()}
        watch = self.watch
        seen = Seen(fields["obs"], watch.tasks[at], watch.lanes[at], nothing, nothing, action[at], reward[at], fields)
        kept: dict[str, NDArray] = {}
        for name, value in self.algorithm.encode(self.weights.params, seen).items():
            kept[name] = np.zeros((len(slots), *value.shape[1:]), value.dtype)
            kept[name][at] = value
        return kept

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

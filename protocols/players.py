"""Who acts in an evaluation: a learned policy or a scripted expert; between weights and the evaluator. ``adaptive`` has one more."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.contracts import Algorithm, SimulatorStep
from core.seen import Watch
from core.types import Observation, Weights


class Player(Protocol):
    """Acts in N simulators at once, each at its own place in its own trial."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """what every row must tell of it: the weights' version, deterministic or sampled actions ..."""
        ...

    def begin(self, slots: NDArray[np.bool_]) -> None:
        """In ``slots`` (N,) a new trial begins, perhaps with another goal: forget what was seen there."""
        ...

    def act(self, obs: Observation) -> NDArray[np.float32]:
        """(N, ...) -> (N, A) in [-1, 1]. ``obs`` are views that the next step overwrites."""
        ...

    def observe(self, step: SimulatorStep) -> None:
        """What the last actions brought; adaptive methods learn from it. Comes before the ``begin`` of a trial that starts with it."""
        ...


class AlgorithmPlayer:
    """A published policy; what it remembers, it forgets with each trial.

    Args:
        tasks: (N,) the algorithm's index of each simulator's task.
        action_dim: A.
        rng: actions are sampled with its noise; None acts deterministically.
    """

    def __init__(
        self, algorithm: Algorithm, weights: Weights, tasks: ArrayLike, rng: np.random.Generator | None = None, *, action_dim: int
    ) -> None:
        self.algorithm, self.weights, self.rng = algorithm, weights, rng
        self.settings = {"version": weights.version, "actions": "deterministic" if rng is None else "sampled"}
        # None of these simulators is one of the run's: where parameters have lanes, all act by the first.
        self.watch, self.carry = Watch(tasks, action_dim, np.zeros(np.size(tasks), np.int64)), None

    def begin(self, slots: NDArray[np.bool_]) -> None:
        self.watch.begin(slots)

    def observe(self, step: SimulatorStep) -> None:
        self.watch.stepped(step.reward, step.terminated | step.truncated | step.lost)

    def act(self, obs: Observation) -> NDArray[np.float32]:
        noise = None if self.rng is None else self.rng.standard_normal((len(obs["obs"]), self.algorithm.noise_dim), np.float32)
        action, self.carry, _ = self.algorithm.act(self.weights.params, self.carry, self.watch.seen(obs), noise)
        self.watch.acted(action)
        return np.clip(action, -1.0, 1.0)


class FunctionPlayer:
    """Scripted experts, or anything that maps one observation to one action.

    Args:
        functions: (N,) one per simulator, (O,) -> (A,); what they give is clipped to [-1, 1].
        name: for the rows.
    """

    def __init__(self, functions: Sequence[Callable[[NDArray[np.float32]], ArrayLike]], name: str = "scripted") -> None:
        self.functions = functions
        self.settings = {"actions": name}

    def begin(self, slots: NDArray[np.bool_]) -> None:
        """Nothing to forget."""

    def observe(self, step: SimulatorStep) -> None:
        """Nothing to learn."""

    def act(self, obs: Observation) -> NDArray[np.float32]:
        actions = [function(one) for function, one in zip(self.functions, obs["obs"], strict=True)]
        return np.clip(np.asarray(actions, np.float32), -1.0, 1.0)

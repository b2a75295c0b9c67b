"""One RLBench task under the contract of simulators: ``outpost.rlbench.RLBench`` in the types of ``core``."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo
from core.errors import ConfigError, SimulatorError
from core.types import Observation, Step
from outpost import Failed
from outpost.rlbench import RLBench
from simulators.rlbench import Options, spec


class RLBenchTask:
    """Reward 1 with success, which ends the episode. What is made of actions is said in ``core.types.Keyframes``.

    Raises:
        ConfigError: something is not installed, or there is no such task or variation.
        SimulatorError: retryable; it does not launch.
    """

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.spec = spec(task, options)
        try:
            self._simulator = RLBench(task, seed, **options.simulator)
        except Failed as failure:
            if failure.retryable:
                raise SimulatorError(f"{self.spec.task}: {failure.message}", retryable=True) from failure
            raise ConfigError(f"{self.spec.task}: {failure.message}") from failure

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``: where things are is a function of it and the seed, as far as RLBench's physics are.

        Raises:
            SimulatorError: things cannot be placed in this episode, or RLBench failed.
        """
        with self._failing():
            return self._simulator.reset(variation)

    def step(self, action: NDArray[np.float32]) -> Step:
        """Goes where ``action`` says, then opens or closes the gripper.

        A target that cannot be reached fails the episode: terminated with the penalty, the observation is the one before.

        Raises:
            SimulatorError: no episode was begun, or RLBench failed.
        """
        with self._failing():
            return Step(*self._simulator.step(action))

    def demonstrate(self, variation: int) -> Demo:
        """RLBench's expert in episode ``variation``, which may take minutes, or for ever.

        Raises:
            SimulatorError: the expert failed in this episode, or RLBench did.
        """
        with self._failing():
            return Demo(self.spec.task, **self._simulator.demonstrate(variation))

    def close(self) -> None:
        """Ends CoppeliaSim. May be called twice."""
        with self._failing():
            self._simulator.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Failed as failure:
            raise SimulatorError(f"{self.spec.task}: {failure.message}", retryable=failure.retryable) from failure

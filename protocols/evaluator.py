"""Deterministic evaluation: a fixed number of whole episodes for every simulator, so that quick successes cannot fill the quota.

(Taking the first E episodes that end, over simulators of unequal speed, over-counts successes: a solved goal is replayed more often.)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.contracts import Algorithm, SimulatorStep, SteppedSimulators
from core.types import Weights


class Evaluation(NamedTuple):
    """E episodes of one task under one policy."""

    task: str
    version: int
    """weights version"""
    success_any: NDArray
    """(E,) bool, the criterion held at some step"""
    success_last: NDArray
    """(E,) bool, it held at the last step"""
    episode_return: NDArray
    """(E,) float"""
    first_success: NDArray
    """(E,) int, env steps until the first success; -1: never"""
    lost: int
    """episodes that a lost simulator cost; they are repeated, not counted"""


class Evaluator:
    """Plays ``episodes`` episodes on N simulators; simulator i always plays its variations 0, 1, 2 ...: every evaluation meets the same.

    Args:
        simulators: N of one task, owned and closed by this object.
    """

    def __init__(self, algorithm: Algorithm, simulators: SteppedSimulators, episodes: int, task: int = 0) -> None:
        self.algorithm, self.simulators, self.task = algorithm, simulators, task
        N = simulators.size
        self.quota = np.full(N, episodes // N) + (np.arange(N) < episodes % N)

    def evaluate(self, weights: Weights) -> Evaluation:
        """All episodes, whole, without exploration."""
        self.simulators.ready()
        tally = _Tally(self.quota)
        self.simulators.reset([0] * self.simulators.size)
        while tally.open():
            action = self.algorithm.act(weights.params, None, self.simulators.obs["obs"], None, self.task)[0]
            self.simulators.send(action)
            tally.count(self.simulators.recv())
        return tally.result(self.simulators.spec.task, weights.version)

    def close(self) -> None:
        self.simulators.close()


class _Tally:
    """Per-simulator accounts of the episodes that still count."""

    def __init__(self, quota: NDArray) -> None:
        self.left = quota.copy()
        self.t = np.zeros(len(quota), int)
        self.returns, self.any, self.first = np.zeros(len(quota)), np.zeros(len(quota), bool), np.full(len(quota), -1)
        self.done: list[tuple[bool, bool, float, int]] = []
        self.lost = 0

    def open(self) -> bool:
        return bool((self.left > 0).any())

    def count(self, step: SimulatorStep) -> None:
        ended, lost = step.terminated | step.truncated, step.lost
        success = step.success & ~lost
        self.t += 1
        self.returns += step.reward
        self.first[success & (self.first < 0)] = self.t[success & (self.first < 0)]
        self.any |= success
        for i in np.flatnonzero(ended | lost):
            if lost[i]:
                self.lost += 1
            elif self.left[i] > 0:
                self.left[i] -= 1
                self.done.append((bool(self.any[i]), bool(success[i]), float(self.returns[i]), int(self.first[i])))
            self.t[i], self.returns[i], self.any[i], self.first[i] = 0, 0.0, False, -1

    def result(self, task: str, version: int) -> Evaluation:
        any_, last, returns, first = (np.array(column) for column in zip(*self.done, strict=True))
        return Evaluation(task, version, any_, last, returns, first, self.lost)

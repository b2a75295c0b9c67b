"""The client's twin of ``simulators.dummy``: no physics, the same numbers, and it fails on purpose. For tests, and to try a gateway."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from outpost import Failed

RADIUS, STRIDE = 0.1, 0.1


def make(task: str, seed: int, **options: Any) -> Dummy:
    """``counter`` or ``point``, with the options of ``simulators.dummy`` that it has."""
    kinds = {"counter": Counter, "point": Point}
    if task not in kinds:
        raise Failed(f"dummy has no task {task!r}; it has: counter, point")
    if options.get("extra_fields") or options.get("frames", 1) != 1:
        raise Failed("dummy has neither further fields nor frames in a client; fix: --simulator.no-extra-fields --simulator.frames 1")
    return kinds[task](seed, options)


class Dummy:
    """What both share: counting and faults."""

    def __init__(self, seed: int, options: dict[str, Any]) -> None:
        self.seed, self.options = seed, options
        self.horizon, self.action_dim = options.get("horizon", 50), options.get("action_dim", 2)
        self.episode = self.t = 0

    def reset(self, episode: int) -> dict[str, np.ndarray]:
        """Begins an episode."""
        self.episode, self.t = episode, 0
        self.action = np.zeros(self.action_dim, np.float32)
        self._begin()
        return {"obs": self._observe()}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, bool]:
        """Observation, reward, terminated, truncated, success."""
        self.t += 1
        self.action = np.array(action, np.float32)
        if self.options.get("slow_ms"):
            time.sleep(self.options["slow_ms"] / 1000)
        self._fail()
        reward, success = self._advance()
        terminated = success and self.options.get("terminate_on_success", False)
        return {"obs": self._observe()}, reward, terminated, not terminated and self.t >= self.horizon, success

    def close(self) -> None:
        """Nothing to free."""

    def _fail(self) -> None:
        if self.options.get("fail_variation", -1) not in (-1, self.episode):
            return
        if self.t == self.options.get("fail_at_step", 0):
            raise Failed(f"dummy failed on purpose at step {self.t}", True)
        if self.t == self.options.get("exit_at_step", 0):
            os._exit(3)
        while self.t == self.options.get("hang_at_step", 0):
            time.sleep(3600)

    def _begin(self) -> None:
        """Draws the episode."""

    def _advance(self) -> tuple[float, bool]:
        raise NotImplementedError

    def _observe(self) -> np.ndarray:
        raise NotImplementedError


class Counter(Dummy):
    """obs (4 + A,): low 16 bits of the seed, episode, t, the seed's other bits, the last action. Reward: t."""

    def _advance(self) -> tuple[float, bool]:
        return float(self.t), self.t >= self.horizon

    def _observe(self) -> np.ndarray:
        return np.array([self.seed % 65536, self.episode, self.t, self.seed // 65536, *self.action], np.float32)


class Point(Dummy):
    """A point of A coordinates that moves toward a goal. obs (2A,): position, goal. Reward: minus their distance."""

    def _begin(self) -> None:
        draw = np.random.default_rng([self.seed, self.episode // self.options.get("repeat", 1)])
        self.position, self.goal = draw.uniform(-1, 1, (2, self.action_dim)).astype(np.float32)

    def _advance(self) -> tuple[float, bool]:
        self.position = np.clip(self.position + np.float32(STRIDE) * np.clip(self.action, -1, 1), -2, 2)
        distance = float(np.linalg.norm(self.position - self.goal))
        return -distance, distance < RADIUS

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.position, self.goal])

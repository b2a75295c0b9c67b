"""Simulators of known truth for the tests of evaluation: what each variation of each slot does is a table."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import numpy as np

from core.types import Field, TaskSpec, Weights

WEIGHTS = Weights(7, {})
ACTS = SimpleNamespace(noise_dim=1, act=lambda params, carry, seen, noise: (np.zeros((len(seen.obs), 1), np.float32), carry, {}))


def spec(task: str = "fake", horizon: int = 500, **labels: str) -> TaskSpec:
    return TaskSpec(task, (Field("obs", (2,)),), 1, horizon, tuple(labels.items()))


class Fake:
    """N simulators that keep to the pool's contract. Reward 1 per step. obs: variation, env steps. What a lost step says is nonsense.

    Args:
        first_success: (N, V) env steps at which variation v of slot i succeeds, -1 never; variations beyond V begin again at 0.
        stops: success ends the episode.
        lost: {(slot, variation): times}: that episode loses its simulator at its second step, so many times.
        skips: {(slot, variation): times}: to begin that variation after a reset or a loss fails so many times; the next is tried.
    """

    def __init__(
        self,
        first_success: Sequence[Sequence[int]],
        horizon: int = 500,
        *,
        stops: bool = True,
        tasks: Sequence[str] | None = None,
        lost: dict[tuple[int, int], int] | None = None,
        skips: dict[tuple[int, int], int] | None = None,
    ) -> None:
        self.first, self.horizon, self.stops = np.array(first_success), horizon, stops
        self.size = len(self.first)
        self.spec = spec(tasks[0] if tasks else "fake", horizon)
        if tasks is not None:
            self.specs = [spec(task, horizon) for task in tasks]
        self.lost, self.skips = dict(lost or {}), dict(skips or {})
        self.obs = {"obs": np.zeros((self.size, 2), np.float32)}
        self.variations, self.t = np.zeros((2, self.size), np.int64)
        self.clock, self.resets, self.closed = 0, 0, False

    def ready(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def reset(self, variations) -> None:
        self.variations[:], self.t[:] = variations, 0
        self.resets += 1
        self._skip(range(self.size))
        self._look()

    def send(self, actions) -> None:
        assert actions.shape == (self.size, 1)
        self.t += 1
        self.clock += 1

    def recv(self):
        first = self.first[np.arange(self.size), self.variations % self.first.shape[1]]
        success = (self.t == first) if self.stops else (self.t == first) | ((first > 0) & (self.t > first) & (self.t < first + 3))
        lost = np.array([self.t[i] == 2 and self._happens(self.lost, i) for i in range(self.size)])
        terminated = success & self.stops & ~lost
        truncated = (self.t == self.horizon) & ~terminated & ~lost
        ended = terminated | truncated | lost
        self.variations[ended] += 1
        self._skip(np.flatnonzero(lost))
        self.t[ended] = 0
        self._look()
        reward = np.where(lost, 99, 1).astype(np.float32)
        return SimpleNamespace(
            obs=self.obs, closing=self.obs, reward=reward, terminated=terminated, truncated=truncated, success=success | lost, lost=lost
        )

    def _skip(self, slots: Iterable[int]) -> None:
        for i in slots:
            while self._happens(self.skips, i):
                self.variations[i] += 1

    def _happens(self, events: dict[tuple[int, int], int], slot: int) -> bool:
        key = (slot, int(self.variations[slot]))
        if events.get(key, 0) < 1:
            return False
        events[key] -= 1
        return True

    def _look(self) -> None:
        self.obs["obs"][:, 0], self.obs["obs"][:, 1] = self.variations, self.t

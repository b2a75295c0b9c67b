"""The reference simulator and test double: first in the data flow where nothing real is needed. It can fail in every way on purpose."""

import os
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import SimulatorError
from core.types import Field, Observation, Step, TaskSpec
from simulators._options import validate

RADIUS, STRIDE = 0.1, 0.1
"""Success within RADIUS of the goal; an action of 1 moves by STRIDE."""


@dataclass(frozen=True)
class Options:
    """What one can ask of the dummy. Steps are counted from 1; 0 means never."""

    action_dim: int = 2
    horizon: int = 50
    """env steps after which an episode is truncated"""
    terminate_on_success: bool = False
    repeat: int = 1
    """episodes in a row of ``point`` that are alike: a trial of meta-RL"""
    frames: Literal[1, 2] = 1
    """2: the numbers that change, those of one env step ago, then what never changes"""
    extra_fields: bool = True
    """Observe fields of further dtypes beside ``obs``."""
    slow_ms: float = 0.0
    """milliseconds that every step sleeps"""
    fail_at_step: int = 0
    """raises"""
    exit_at_step: int = 0
    """the process exits"""
    hang_at_step: int = 0
    """sleeps forever"""
    hang_in_reset: bool = False
    nan_at_step: int = 0
    nan_in: Literal["obs", "reward"] = "obs"
    both_ends_at_step: int = 0
    """terminated and truncated are both true: a breach of the contract"""
    fail_variation: int = -1
    """The faults above happen in this variation only; -1: in every one."""
    kinds: int = 0
    """variations that leave the same rest when divided by it are of one kind; 0: there are no kinds"""
    fail_kind: int = -1
    """The faults above happen in variations of this kind only; -1: of every one."""
    leak_mb: int = 0
    """that every episode keeps"""
    starts_child: bool = False
    """it starts a process of its own, which it does not end"""
    restart_episodes: int = 0
    """after so many its process is replaced; 0: never"""
    restart_mb: float = 0.0
    """or when it has grown so large; 0: never"""

    def __post_init__(self) -> None:
        steps = {name: 0 for name in vars(self) if name.endswith("_at_step")}
        kept = {"kinds": 0, "fail_kind": -1, "leak_mb": 0, "restart_episodes": 0, "restart_mb": 0}
        validate(self, "dummy", action_dim=1, horizon=1, repeat=1, slow_ms=0, fail_variation=-1, **kept, **steps)


def tasks() -> tuple[str, ...]:
    """``point`` is to be learned; ``counter`` tells in its observation what it is, so that a lost or mixed-up record shows."""
    return ("point", "counter")


def make(task: str, seed: int, **options: Any) -> "Dummy":
    """The simulator of one task."""
    return {"point": Point, "counter": Counter}[task](task, seed, Options(**options))


def kind(options: Options, variation: int) -> str:
    """What is quarantined together."""
    return f"kind {variation % options.kinds}" if options.kinds else ""


class Dummy:
    """What both tasks share: counting, the further fields, the faults."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.seed, self.options = seed, options
        self.variation = self.t = 0
        self._leaked: list[bytes] = []
        self._child = subprocess.Popen(["sleep", "600"]) if options.starts_child else None
        self.action = np.zeros(options.action_dim, np.float32)
        width = self._moving_dim()
        self.previous = np.full(width, -1, np.float32)
        fields = [Field("obs", (self._obs_dim() + (options.frames - 1) * width,))]
        if options.extra_fields:
            fields += [
                Field("image", (4, 4, 3), "uint8"),
                Field("count", (), "int64", "steps of all variations"),
                Field("half", (2,), "float16"),
                Field("even", (), "bool", "t is even"),
            ]
        labels = (("simulator", "dummy"), ("horizon", str(options.horizon)))
        repeated = width if options.frames == 2 else 0
        self.spec = TaskSpec(f"dummy:{task}", tuple(fields), options.action_dim, options.horizon, labels, repeated)

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``."""
        self.variation, self.t = variation, 0
        self.action = np.zeros(self.options.action_dim, np.float32)
        if self.options.hang_in_reset and self._faulty():
            _hang()
        self._leaked += [os.urandom(2**20) for _ in range(self.options.leak_mb)]
        self._begin()
        self.previous = np.full_like(self.previous, -1)
        return self._observe()

    def step(self, action: NDArray[np.float32]) -> Step:
        """One env step; the configured fault happens here."""
        self.previous = self._vector()[: len(self.previous)]
        self.t += 1
        self.action = np.array(action, np.float32)
        if self.options.slow_ms:
            time.sleep(self.options.slow_ms / 1000)
        self._fault_before()
        reward, success = self._advance()
        terminated = success and self.options.terminate_on_success
        step = Step(self._observe(), reward, terminated, not terminated and self.t >= self.options.horizon, success)
        return self._fault_after(step)

    def close(self) -> None:
        """Nothing to free."""

    def _obs_dim(self) -> int:
        """Numbers of one frame and of what never changes."""
        raise NotImplementedError

    def _moving_dim(self) -> int:
        """How many of them change within an episode, the first so many."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Draws the episode."""

    def _advance(self) -> tuple[float, bool]:
        """Moves on; returns reward and success."""
        raise NotImplementedError

    def _vector(self) -> NDArray[np.float32]:
        """The field ``obs``, of one frame."""
        raise NotImplementedError

    def _observe(self) -> Observation:
        obs: dict[str, NDArray] = {"obs": self._vector()}
        if self.options.frames == 2:
            obs["obs"] = np.insert(obs["obs"], len(self.previous), self.previous)
        if self.options.extra_fields:
            obs["image"] = np.full((4, 4, 3), (self.seed + self.variation + self.t) % 256, np.uint8)
            obs["count"] = np.array(self.variation * self.options.horizon + self.t, np.int64)
            obs["half"] = np.array([self.variation % 1024, self.t % 1024], np.float16)
            obs["even"] = np.array(self.t % 2 == 0)
        return obs

    def _faulty(self) -> bool:
        of_kind = self.options.fail_kind in (-1, self.variation % max(self.options.kinds, 1))
        return of_kind and self.options.fail_variation in (-1, self.variation)

    def _fault_before(self) -> None:
        options = self.options
        if self.t == options.fail_at_step and self._faulty():
            raise SimulatorError(f"{self.spec.task} failed on purpose at step {self.t}", retryable=True)
        if self.t == options.exit_at_step and self._faulty():
            os._exit(3)
        if self.t == options.hang_at_step and self._faulty():
            _hang()

    def _fault_after(self, step: Step) -> Step:
        options = self.options
        if self.t == options.nan_at_step and self._faulty():
            if options.nan_in == "reward":
                return step._replace(reward=float("nan"))
            step.obs["obs"][0] = np.nan
        if self.t == options.both_ends_at_step and self._faulty():
            return step._replace(terminated=True, truncated=True)
        return step


class Point(Dummy):
    """A point of A coordinates that moves toward a goal. obs (2A,): position, goal. Reward: minus their distance.

    With two frames (3A,): position, the one before, goal.
    """

    def _obs_dim(self) -> int:
        return 2 * self.options.action_dim

    def _moving_dim(self) -> int:
        return self.options.action_dim

    def _begin(self) -> None:
        draw = np.random.default_rng([self.seed, self.variation // self.options.repeat])
        self.position, self.goal = draw.uniform(-1, 1, (2, self.options.action_dim)).astype(np.float32)

    def _advance(self) -> tuple[float, bool]:
        self.position = np.clip(self.position + np.float32(STRIDE) * np.clip(self.action, -1, 1), -2, 2)
        distance = float(np.linalg.norm(self.position - self.goal))
        return -distance, distance < RADIUS

    def _vector(self) -> NDArray[np.float32]:
        return np.concatenate([self.position, self.goal])


class Counter(Dummy):
    """Counts. obs (4 + A,): low 16 bits of the seed, variation, t, the seed's other bits, the last action. Reward: t.

    All numbers are exact in float32 (variation below 2^24). With two frames (8 + 2A,): these, then those of the step before.
    """

    def _obs_dim(self) -> int:
        return 4 + self.options.action_dim

    def _moving_dim(self) -> int:
        return self._obs_dim()

    def _advance(self) -> tuple[float, bool]:
        return float(self.t), self.t >= self.options.horizon

    def _vector(self) -> NDArray[np.float32]:
        return np.array([self.seed % 65536, self.variation, self.t, self.seed // 65536, *self.action], np.float32)


def _hang() -> None:
    while True:
        time.sleep(3600)

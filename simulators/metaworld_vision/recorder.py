"""Keeps what a demonstration consists of, while it is played."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo
from core.types import Observation
from simulators.metaworld_vision.hand import Hand

EVERY = 10
"""steps of Meta-World from one whole observation to the next"""


class Recorder:
    """One demonstration.

    Args:
        hand: whose steps are the frames.
        first: the episode's first observation.
        see: makes a whole observation of now.
    """

    def __init__(self, hand: Hand, first: Observation, see: Callable[[], Observation]) -> None:
        self.hand, self.see = hand, see
        self.motion: dict[str, list[NDArray]] = {"gripper_pose": [], "gripper_open": [], "joint_velocities": []}
        self.observations: dict[int, Observation] = {0: first}
        self.keyframes: list[int] = []
        self.actions: list[NDArray[np.float32]] = []
        self._frame(first["gripper_pose"])

    def step(self) -> None:
        """A further frame."""
        self._frame(self.hand.pose())
        if self.last % EVERY == 0:
            self.observations[self.last] = self.see()

    def keyframe(self, action: NDArray[np.float32], obs: Observation) -> None:
        """This frame is the end of ``action``."""
        self.keyframes.append(self.last)
        self.actions.append(action)
        self.observations[self.last] = obs

    @property
    def last(self) -> int:
        """The number of the newest frame."""
        return len(self.motion["gripper_pose"]) - 1

    def demo(self, task: str, info: dict[str, Any]) -> Demo:
        """All of it."""
        frames = sorted(self.observations)
        seen = [self.observations[frame] for frame in frames]
        return Demo(
            task=task,
            motion={name: np.stack(values) for name, values in self.motion.items()},
            frames=np.array(frames, np.int64),
            observations={name: np.stack([one[name] for one in seen]) for name in seen[0]},
            keyframes=np.array(self.keyframes, np.int64),
            actions=np.stack(self.actions),
            success=True,
            info={name: str(value) for name, value in info.items()},
        )

    def _frame(self, pose: NDArray[np.float64]) -> None:
        self.motion["gripper_pose"].append(pose)
        self.motion["gripper_open"].append(np.array(self.hand.open, np.float32))
        self.motion["joint_velocities"].append(self.hand.data.qvel[self.hand.joints])

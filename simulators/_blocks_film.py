"""The way from keyframe to keyframe, which an env step leaves out: the frames of a demonstration of ``simulators.blocks``."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo
from core.types import Observation, Step

if TYPE_CHECKING:
    from simulators.blocks import Blocks

FRAME_M, FRAME_S = 0.02, 0.05
"""metres and seconds from one frame to the next"""
REST = 2
"""frames that the gripper stands still before it opens or closes"""
EVERY = 10
"""of these frames one is observed, beside all keyframes"""


class Film:
    """Begins with what the simulator shows now. The time of all observations is that of an episode's first: see ``core.demos.chains``."""

    def __init__(self, blocks: "Blocks") -> None:
        self.blocks = blocks
        self.poses: list[NDArray] = []
        self.opened: list[float] = []
        self.frames: list[int] = []
        self.seen: list[Observation] = []
        self.keyframes: list[int] = []
        self.actions: list[NDArray] = []
        self._take(blocks.seen)

    def play(self, action: NDArray[np.float32], position: NDArray, quaternion: NDArray) -> Step:
        """Films the way to a target, and takes the step."""
        blocks = self.blocks
        start, centre, turned = blocks.position, blocks.centre, blocks.quaternion
        count = max(1, int(np.ceil(np.linalg.norm(position - start) / FRAME_M)))
        for part in [*np.arange(1, count) / count, *[1.0] * REST]:
            blocks.t = 0
            # Turned as the crow flies: half of one rotation and half of the other, brought to length 1 again.
            between = (1 - part) * turned + part * quaternion * (1 if turned @ quaternion >= 0 else -1)
            blocks._move(start + part * (position - start), between / np.linalg.norm(between))
            self._take(blocks._observe() if len(self.poses) % EVERY == 0 else None)
        blocks.position, blocks.centre, blocks.quaternion = start, centre, turned
        step = blocks.step(action)
        blocks.t = 0
        self.keyframes.append(len(self.poses))
        self.actions.append(action)
        self._take(blocks._observe())
        return step

    def demo(self) -> Demo:
        """All of it."""
        blocks = self.blocks
        poses = np.array(self.poses)
        velocities = np.gradient(poses[:, :3], axis=0) / FRAME_S
        motion = {"gripper_pose": poses, "gripper_open": np.array(self.opened, np.float32), "joint_velocities": velocities}
        observations = {field.name: np.stack([seen[field.name] for seen in self.seen]) for field in blocks.spec.observation}
        info = {"simulator": "blocks", "seed": str(blocks.seed), "variation": str(blocks.variation)}
        frames, keyframes = np.array(self.frames, np.int64), np.array(self.keyframes, np.int64)
        return Demo(blocks.spec.task, motion, frames, observations, keyframes, np.stack(self.actions), True, info)

    def _take(self, seen: Observation | None) -> None:
        blocks = self.blocks
        if seen is not None:
            self.frames.append(len(self.poses))
            self.seen.append(seen)
        self.poses.append(np.concatenate([blocks.position, blocks.quaternion]))
        self.opened.append(float(blocks.opened))

"""A live demonstration while it is recorded: RLBench keeps every frame with all pictures, of which only some are needed.

Five cameras of 128 x 128 are 0.6 MB a frame and demonstrations have up to some hundred frames, so pictures are dropped as it goes on.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from outpost.poses import slow

EVERY = 10
"""of these frames one keeps its pictures, beside all keyframes"""


class Film:
    """Sees every observation that RLBench makes, and thins them out between ``roll`` and ``cut``.

    Args:
        cameras: whose pictures are dropped.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        self.pictures = [f"{camera}_{kind}" for camera in cameras for kind in ("rgb", "depth")]
        self.rolling = False
        self.description = ""
        """what the task asks for, in words"""
        self._recent: list[Any] = []
        self._count = 0

    def roll(self) -> None:
        """From here on frames are thinned out. The first is what the reset shows, the second is the demonstration's first."""
        self.rolling, self._recent, self._count = True, [], 0

    def cut(self) -> None:
        """Ends that."""
        self.rolling, self._recent = False, []

    def see(self, observation: Any) -> None:
        """The next one. What comes after a frame is not needed to tell that it is no keyframe."""
        if not self.rolling:
            return
        if len(self._recent) == 2 and self._count > 2 and (self._count - 2) % EVERY and not _may_be_keyframe(*self._recent):
            for name in self.pictures:
                setattr(self._recent[1], name, None)
        self._recent = [*self._recent[-1:], observation]
        self._count += 1

    def has_pictures(self, frame: Any) -> bool:
        """Whether it kept them."""
        return all(getattr(frame, name, None) is not None for name in self.pictures)


def wanted(total: int, keyframes: np.ndarray) -> list[int]:
    """Numbers of the frames that are to be observed."""
    return sorted({*range(0, total, EVERY), *keyframes.tolist(), total - 1})


def _may_be_keyframe(before: Any, frame: Any) -> bool:
    return frame.gripper_open != before.gripper_open or bool(slow(frame.joint_velocities))

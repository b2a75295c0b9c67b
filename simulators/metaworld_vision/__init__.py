"""Meta-World seen by cameras and acted in by next-best poses: ``metaworld_vision:reach-v3``. What C2F-ARM learns from.

Physics, goals and success are ``simulators.metaworld``'s; an env step is a keyframe, during which some tens of its steps pass.
"""

from dataclasses import dataclass
from typing import Any, Literal

from core.errors import unknown
from simulators._options import impossible, validate
from simulators.metaworld import GOALS, STOCK_HORIZON, check_turns, named_goals, tasks
from simulators.metaworld_vision.names import CAMERAS

__all__ = ["Options", "make", "named_goals", "tasks"]


@dataclass(frozen=True)
class Options:
    """What one can ask of a task."""

    cameras: str = "front"
    """names with commas in between: front, left, above are ours and stand close; the others are Meta-World's own"""
    image_size: int = 128
    """pixels, of a row and of a column"""
    segmentation: bool = False
    """a further field ``<camera>_mask``: the number of the body that a pixel shows"""
    markers: Literal["auto", "shown", "hidden"] = "auto"
    """Meta-World's spheres at the goal. auto: shown only where nothing else shows where the goal is; some of the others are misplaced"""
    horizon: int = 10
    """env steps, that is keyframes, after which an episode is truncated"""
    servo_steps: int = 80
    """steps of Meta-World, 12.5 ms each, after which the hand stops on its way to a keyframe"""
    failure_reward: float = 0.0
    """of a step whose target is out of reach: it ends the episode"""
    goals: int = GOALS
    """as of ``metaworld``: the first so many of the frozen split; 0 is a fresh goal in every episode"""
    split: Literal["train", "test"] = "train"
    """which frozen goals"""
    order: Literal["drawn", "in_turn"] = "drawn"
    """drawn: an episode's goal is drawn from (seed, variation); in_turn: it is variation // repeat, modulo goals"""
    repeat: int = 1
    """episodes in a row that share a goal"""

    def __post_init__(self) -> None:
        validate(self, "metaworld_vision", image_size=8, horizon=1, servo_steps=1, goals=0, repeat=1)
        for name in self.views:
            if name not in CAMERAS:
                raise unknown("camera of simulator metaworld_vision", name, CAMERAS)
        if len(set(self.views)) < len(self.views):
            raise impossible("metaworld_vision", "cameras", self.cameras, "each camera once")
        for name, most in {"goals": GOALS, "servo_steps": STOCK_HORIZON // 2, "image_size": 1024}.items():
            if getattr(self, name) > most:
                raise impossible("metaworld_vision", name, getattr(self, name), f"at most {most}")
        check_turns("metaworld_vision", self.order, self.goals)

    @property
    def views(self) -> tuple[str, ...]:
        """The cameras, in the order of the observation."""
        return tuple(name.strip() for name in self.cameras.split(","))


def make(task: str, seed: int, goal: int | None = None, **options: Any) -> Any:
    """One task; with ``goal`` every episode has that one of the split.

    Raises:
        MissingExtra: Meta-World is not installed.
        ConfigError: no OpenGL draws here; the message says what to install.
    """
    from simulators.metaworld_vision.simulator import MetaWorldVision

    return MetaWorldVision(task, seed, Options(**options), goal)

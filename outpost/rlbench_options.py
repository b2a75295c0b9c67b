"""What one can ask of an RLBench simulator, and what it then shows: known without RLBench."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence, Tuple

from outpost import Failed

CAMERAS = ("front", "left_shoulder", "right_shoulder", "overhead", "wrist")
"""of the Panda's scene; a number of cameras is so many of the first"""
BOUNDS = (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)
"""metres, world: the workspace as C2F-ARM has it, lower corner and upper corner"""
ARMS = ("planning", "ik")
LARGEST = 1024
"""pixels"""

FieldOf = Tuple[str, Tuple[int, ...], str, str]
"""name, shape, dtype, unit"""


class Settings(NamedTuple):
    """Checked options."""

    cameras: tuple[str, ...] = CAMERAS[:1]
    size: int = 128
    """pixels of a side of each camera's picture"""
    variation: int = 0
    """RLBench's: what the task asks for; -1: drawn for each episode among all of them"""
    horizon: int = 10
    """env steps, that is keyframes, after which an episode is truncated"""
    collisions: bool = False
    """an action has a ninth number: above 0 where the way may ignore collisions; without it, all ways do"""
    penalty: float = 0.0
    """reward of a step whose target cannot be reached: it ends the episode"""
    arm: str = "planning"
    """how the arm gets to a pose; ``ik`` goes only a small way, and does that without looking for a path"""

    @property
    def action_dim(self) -> int:
        """A"""
        return 8 + self.collisions


def settings(**options: Any) -> Settings:
    """The options, checked.

    Raises:
        Failed: one is unknown or cannot be.
    """
    for name in options:
        if name not in Settings._fields:
            raise Failed("unknown option {!r} of simulator rlbench. Allowed: {}".format(name, ", ".join(Settings._fields)))
    made = Settings(**dict(options, cameras=camera_names(options.get("cameras", 1))))
    for name, low, high in (("size", 8, LARGEST), ("variation", -1, 10**6), ("horizon", 1, 10**6)):
        value = getattr(made, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _impossible(name, value, f"{low} to {high}")
    if not isinstance(made.collisions, bool):
        raise _impossible("collisions", made.collisions, "True or False")
    if isinstance(made.penalty, bool) or not isinstance(made.penalty, (int, float)) or not abs(made.penalty) < float("inf"):
        raise _impossible("penalty", made.penalty, "a number")
    if made.arm not in ARMS:
        raise _impossible("arm", made.arm, ", ".join(ARMS))
    if made.collisions and made.arm != "planning":
        raise _impossible("collisions", made.collisions, "False with arm ik, which does not look for collisions")
    return made


def camera_names(asked: int | str | Sequence[str]) -> tuple[str, ...]:
    """The cameras, by a number of them, by names with commas in between, or by a list of names.

    Raises:
        Failed: there are no such ones.
    """
    if isinstance(asked, int) and not isinstance(asked, bool) and 1 <= asked <= len(CAMERAS):
        return CAMERAS[:asked]
    if isinstance(asked, str) and asked.strip().isdigit():
        return camera_names(int(asked))
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else asked
    if not isinstance(names, (list, tuple)) or not names or len(set(names)) < len(names) or not set(names) <= set(CAMERAS):
        raise _impossible("cameras", asked, "1 to {}, or names, each once: {}".format(len(CAMERAS), ", ".join(CAMERAS)))
    return tuple(names)


def fields(options: dict) -> list[FieldOf]:
    """What an observation has, in this order: ``obs`` is C2F-ARM's low-dimensional state.

    That is ``gripper_open``, ``gripper_pose`` (7), the positions of the two fingers, 0 to 0.04 m, and the time left.

    Raises:
        Failed: an option is unknown or cannot be.
    """
    made = settings(**options)
    shown: list[FieldOf] = [("obs", (11,), "float32", ""), ("gripper_pose", (7,), "float64", "m"), ("gripper_open", (), "float32", "")]
    for camera in made.cameras:
        shown += [
            (f"{camera}_rgb", (made.size, made.size, 3), "uint8", ""),
            (f"{camera}_depth", (made.size, made.size), "float32", "m"),
            (f"{camera}_intrinsics", (3, 3), "float64", ""),
            (f"{camera}_extrinsics", (4, 4), "float64", ""),
        ]
    return shown


def _impossible(option: str, value: Any, allowed: str) -> Failed:
    return Failed(f"option {option!r} of simulator rlbench is {value!r}. Allowed: {allowed}")

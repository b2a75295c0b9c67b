"""A table with a few coloured things, seen by cameras and acted on by next-best poses: the test double of all that learns from images.

It has no physics and needs nothing but numpy: a gripper goes straight to where it is told, a thing it closes on goes with it, a button
stops it. An observation of one 128 x 128 camera takes about a millisecond.
"""

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo
from core.errors import SimulatorError
from core.poses import action_dim, action_of, matrix, target_of, time_left, upright
from core.types import Field, Keyframes, Observation, Step, TaskSpec
from simulators._blocks_film import Film
from simulators._options import validate
from simulators._raycast import Ball, Box, Camera

BOUNDS = (-0.3, -0.3, 0.0, 0.3, 0.3, 0.6)
HOME = np.array([0.0, 0.0, 0.45])
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
"""the rotation of a gripper that points down; its fingers move along y"""
CAMERAS = {"front": ((1.1, 0.0, 0.85), (0, 0, 1)), "left": ((0.0, 1.1, 0.85), (0, 0, 1)), "overhead": ((0.0, 0.0, 1.5), (1, 0, 0))}
"""name -> where it stands, what is up"""
NEAR, ALIGNED_DEG, LIFTED = 0.04, 20.0, 0.15
"""Metres from a centre, degrees between fingers and a box, metres up: success."""
TRAVEL = 0.01
"""metres that a button can be pressed"""
RED, SHADES = (220, 40, 40), ((50, 90, 220), (60, 180, 80), (230, 200, 60))


@dataclass(frozen=True)
class Options:
    """What one can ask of the blocks."""

    size: int = 128
    """pixels of a side of each camera's picture"""
    cameras: Literal[1, 2, 3] = 1
    """the first so many of front, left, overhead"""
    rotation: bool = True
    """the gripper can be turned: the box of ``lift`` then lies in any direction"""
    distractors: int = 2
    """boxes of other colours that do not matter"""
    reach: float = 0.0
    """metres from the middle of the table; a farther target is out of reach and ends the episode as failed. 0: nothing is"""
    horizon: int = 10
    """env steps after which an episode is truncated"""
    fail_every: int = 0
    """the expert fails in variations that this divides; 0: never"""
    hang_variation: int = -1
    """in this one the expert never ends"""

    def __post_init__(self) -> None:
        validate(self, "blocks", size=8, distractors=0, reach=0, horizon=1, fail_every=0, hang_variation=-1)


def tasks() -> tuple[str, ...]:
    """``touch``: be at the red ball. ``press``: push the red button down with closed fingers. ``lift``: take the red box and lift it."""
    return ("touch", "press", "lift")


def make(task: str, seed: int, **options: Any) -> "Blocks":
    """The simulator of one task."""
    return Blocks(task, seed, Options(**options))


class Blocks:
    """One task; the reward is 1 at success, which ends the episode, else 0."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.task, self.seed, self.options = task, seed, options
        self.cameras = {name: Camera(eye, (0, 0, 0.15), up, options.size) for name, (eye, up) in list(CAMERAS.items())[: options.cameras]}
        self.keyframes = Keyframes(BOUNDS, tuple(self.cameras), options.rotation)
        kept = ("size", "cameras", "rotation", "distractors", "reach", "horizon")
        labels = (("simulator", "blocks"), *((name, str(getattr(options, name))) for name in kept))
        dim = action_dim(self.keyframes)
        self.spec = TaskSpec(f"blocks:{task}", self._fields(), dim, options.horizon, labels, keyframes=self.keyframes)
        self.reset(0)

    def _fields(self) -> tuple[Field, ...]:
        size = self.options.size
        fields = [Field("obs", (9 if self.options.rotation else 5,)), Field("gripper_pose", (7,), "float64", "m")]
        fields.append(Field("gripper_open", ()))
        for name in self.cameras:
            fields += [Field(f"{name}_rgb", (size, size, 3), "uint8"), Field(f"{name}_depth", (size, size), "float32", "m")]
            fields += [Field(f"{name}_intrinsics", (3, 3), "float64"), Field(f"{name}_extrinsics", (4, 4), "float64")]
        return tuple(fields)

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``: other places, directions and colours, and a gripper a little off its home."""
        draw = np.random.default_rng([self.seed, variation])
        self.variation, self.t, self.opened, self.holds = variation, 0, True, False
        self.position, self.quaternion = HOME + draw.uniform(-0.05, 0.05, 3), DOWN
        places = _apart(draw, 1 + self.options.distractors)
        yaw = draw.uniform(-np.pi / 2, np.pi / 2) if self.options.rotation else draw.uniform(-0.17, 0.17)
        self.axes = matrix(np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]))
        height = {"touch": draw.uniform(0.06, 0.35), "press": 0.05, "lift": 0.03}[self.task]
        self.centre = np.array([*places[0], height])
        self.began = self.centre.copy()
        shades = draw.integers(len(SHADES), size=len(places) - 1).tolist()
        self.others = [_cube(place, SHADES[shade]) for place, shade in zip(places[1:], shades, strict=True)]
        self.seen = self._observe()
        return self.seen

    def step(self, action: NDArray[np.float32]) -> Step:
        """The gripper goes to its target, then opens or closes; what cannot be reached ends the episode, and is seen from where it was."""
        self.t += 1
        target = target_of(self.keyframes, action)
        far = self.options.reach and np.linalg.norm(target.position) > self.options.reach
        if not target.inside or far:
            return Step(self.seen, 0.0, True, False, False)
        pressed = self._move(target.position, DOWN if target.quaternion is None else target.quaternion)
        self._turn(target.open)
        success = self._success(pressed)
        self.seen = self._observe()
        return Step(self.seen, float(success), success, not success and self.t >= self.options.horizon, success)

    def close(self) -> None:
        """Nothing to free."""

    def demonstrate(self, variation: int) -> Demo:
        """Plays an episode by the expert; every 10th frame is observed, and every keyframe.

        Raises:
            SimulatorError: retryable; the options say that it fails in this variation.
        """
        while variation == self.options.hang_variation:
            time.sleep(3600)
        self.reset(variation)
        film, success = Film(self), False
        for position, quaternion, opened in self._plan():
            action = action_of(self.keyframes, [*position, *quaternion], opened)
            success = film.play(action, position, quaternion).success
        if not success or (self.options.fail_every and variation % self.options.fail_every == 0):
            raise SimulatorError(f"{self.spec.task}: the expert failed in variation {variation}", retryable=True)
        return film.demo()

    def _plan(self) -> list[tuple[NDArray, NDArray, float]]:
        """Position, quaternion and opening of each of the expert's actions."""
        if self.task == "touch":
            return [(self.centre, DOWN, 0.0)]
        above, up = self.centre + np.array([0, 0, 0.1]), self.centre + np.array([0, 0, LIFTED + 0.05])
        if self.task == "press":
            return [(above, DOWN, 0.0), (self.centre - [0, 0, 2 * TRAVEL], DOWN, 0.0)]
        turned = _with_fingers_across(self.axes) if self.options.rotation else DOWN
        return [(above, turned, 1.0), (self.centre, turned, 0.0), (up, turned, 0.0)]

    def _move(self, position: NDArray, quaternion: NDArray) -> bool:
        """Returns whether it was stopped by the button, pressed all the way down."""
        reached, pressed = position, False
        if self.task == "press" and np.linalg.norm((position - self.centre)[:2]) <= 0.03 and position[2] < self.centre[2]:
            lowest = self.centre[2] - TRAVEL
            reached, pressed = np.array([*position[:2], max(position[2], lowest)]), position[2] <= lowest and not self.opened
        if self.holds:
            self.centre = self.centre + reached - self.position
        self.position, self.quaternion = reached, quaternion
        return bool(pressed)

    def _turn(self, opened: bool) -> None:
        """Opens or closes the fingers: what they close on goes along, what they let go of falls on the table."""
        if self.task == "lift" and self.opened and not opened:
            away, fingers = self.axes.T @ (self.position - self.centre), matrix(self.quaternion)
            across = abs(fingers[:, 1] @ self.axes[:, 1]) >= np.cos(np.radians(ALIGNED_DEG))
            self.holds = bool(across and -fingers[2, 2] > 0.9 and (np.abs(away) <= (0.03, 0.02, 0.03)).all())
        if opened and self.holds:
            self.holds, self.centre = False, np.array([*self.centre[:2], self.began[2]])
        self.opened = opened

    def _success(self, pressed: bool) -> bool:
        if self.task == "touch":
            return bool(np.linalg.norm(self.position - self.centre) <= NEAR)
        return pressed if self.task == "press" else bool(self.holds and self.centre[2] - self.began[2] >= LIFTED)

    def _observe(self) -> Observation:
        quaternion = upright(self.quaternion)
        assert quaternion is not None
        pose, opened = np.concatenate([self.position, quaternion]), np.float32(self.opened)
        low = pose if self.options.rotation else self.position
        obs: dict[str, NDArray] = {
            "obs": np.array([opened, *low, time_left(self.t, self.options.horizon)], np.float32),
            "gripper_pose": pose,
            "gripper_open": np.array(opened),
        }
        things = self._things()
        for name, camera in self.cameras.items():
            obs[f"{name}_rgb"], obs[f"{name}_depth"] = camera.picture(things)
            obs[f"{name}_intrinsics"], obs[f"{name}_extrinsics"] = camera.intrinsics.copy(), camera.extrinsics.copy()
        return obs

    def _things(self) -> list[Ball | Box]:
        """The red one, the others, the gripper."""
        things: list[Ball | Box] = list(self.others)
        if self.task == "touch":
            things.append(Ball(self.centre, 0.035, RED))
        elif self.task == "press":
            base, top = self.centre - [0, 0, 0.03], self.centre - [0, 0, 0.005]
            things += [Box(base, (0.045, 0.045, 0.02), np.eye(3), (60, 60, 60)), Box(top, (0.025, 0.025, 0.005), np.eye(3), RED)]
        else:
            things.append(Box(self.centre, (0.035, 0.02, 0.03), self.axes, RED))
        axes, apart = matrix(self.quaternion), 0.045 if self.opened else 0.02
        back = -axes[:, 2]
        things.append(Box(self.position + 0.09 * back, (0.02, 0.06, 0.02), axes, (225, 225, 225)))
        fingers = [self.position + 0.03 * back + side * apart * axes[:, 1] for side in (-1, 1)]
        return things + [Box(finger, (0.012, 0.008, 0.04), axes, (200, 200, 200)) for finger in fingers]


def _with_fingers_across(axes: NDArray) -> NDArray:
    """The rotation of a gripper that points down, whose fingers close along the short side of a box, turned by at most 90 degrees."""
    yaw = np.arctan2(axes[1, 0], axes[0, 0])
    # (0, 0, s, c) after DOWN, a half turn about x.
    return np.array([np.cos(yaw / 2), np.sin(yaw / 2), 0.0, 0.0])


def _cube(place: NDArray, colour: tuple[int, int, int]) -> Box:
    """Of 5 cm, on the table."""
    return Box(np.array([*place, 0.025]), (0.025, 0.025, 0.025), np.eye(3), colour)


def _apart(draw: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, 2) metres, at least 0.13 from each other; where 50 draws found no such place, as the last fell."""
    places: list[NDArray] = []
    for _ in range(count):
        drawn = draw.uniform(-0.22, 0.22, (50, 2))
        free = [place for place in drawn if all(np.linalg.norm(place - other) >= 0.13 for other in places)]
        places.append(free[0] if free else drawn[-1])
    return np.array(places)

"""Brings Meta-World's hand to a pose and moves its fingers: what one env step of a keyframe simulator is made of.

The hand is moved as stock moves it, by at most 1 cm per step of 12.5 ms, in proportion to how far it still has to go.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulators.metaworld.simulator import MetaWorld
from simulators.metaworld.stock import StockStep

GAIN = 10.0
"""of the way that is left, in actions (1 is 1 cm) per metre: a tenth of it per step"""
STILL_M, STILL_STEPS = 5e-4, 3
"""the hand has arrived, or goes no further, when it moved less than this in so many steps in a row"""
FINGER_STEPS = 15
"""in which the fingers open or close"""
TOLERANCE_M = 0.06
"""by which a target may lie outside of the box that the hand is kept in: one aims beyond what one pushes"""
ARM = tuple(f"right_j{i}" for i in range(7))


class Hand:
    """The hand of one Meta-World task.

    Args:
        world: its goals and its physics.
        servo_steps: after which the hand stops on its way.
    """

    def __init__(self, world: MetaWorld, servo_steps: int) -> None:
        self.world, self.stepper, self.servo_steps = world, world.stepper, servo_steps
        stock = world.stepper.env if isinstance(world.stepper, StockStep) else world.stepper.origin.env
        self.model, self.data = stock.model, world.stepper.data
        self.low, self.high = stock.mocap_low - TOLERANCE_M, stock.mocap_high + TOLERANCE_M
        self.body = self.model.body("hand").id
        self.joints = [self.model.joint(name).dofadr[0] for name in ARM]
        self.watch: Callable[[], object] = _nothing
        """called after every step"""

    def begin(self, variation: int) -> None:
        """Begins an episode, the fingers open.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        self.obs = self.stepper.begin(self.world.vector(variation))
        """(39,) stock's observation, of which only experts may see more than the hand"""
        self.open, self.success = True, False

    def reaches(self, target: NDArray[np.float64]) -> bool:
        """Whether the hand can be told to go there, (3,) metres."""
        return bool((target >= self.low).all() and (target <= self.high).all())

    def move(self, target: NDArray[np.float64]) -> None:
        """Goes to ``target``, (3,) metres, until it is there, is held up, has had its steps, or the task is done.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        self._count_again()
        still = 0
        for _ in range(self.servo_steps):
            if self.success or still == STILL_STEPS:
                return
            before = self.obs[:3]
            self._step(target)
            still = still + 1 if np.linalg.norm(self.obs[:3] - before) < STILL_M else 0

    def fingers(self, opened: bool) -> None:
        """Opens or closes them where they are not so already, while the hand keeps its place."""
        if opened == self.open or self.success:
            return
        self._count_again()
        self.open, place = opened, self.obs[:3]
        for _ in range(FINGER_STEPS):
            if not self.success:
                self._step(place)

    def unwatch(self) -> None:
        """Nobody watches any more."""
        self.watch = _nothing

    def pose(self) -> NDArray[np.float64]:
        """(7,) metres and quaternion xyzw, after a step."""
        return np.concatenate([self.obs[:3], np.roll(self.data.xquat[self.body], -1)])

    def _step(self, target: NDArray[np.float64]) -> None:
        action = np.clip([*(GAIN * (target - self.obs[:3])), -1.0 if self.open else 1.0], -1.0, 1.0, dtype=np.float32)
        self.obs, _, self.success, _ = self.stepper.step(action)
        self.watch()

    def _count_again(self) -> None:
        """A keyframe is short, but ten of them are longer than stock's episode, after which it refuses to go on."""
        if isinstance(self.stepper, StockStep):
            self.stepper.go_on()


def _nothing() -> None:
    """Nobody watches."""

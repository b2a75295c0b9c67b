"""One task of Meta-World under the contract of keyframe simulators: an env step brings the hand to a pose and then moves the fingers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.demos import Demo
from core.errors import SimulatorError
from core.poses import action_of, target_of, time_left
from core.types import Keyframes, Observation, Step, TaskSpec
from simulators.metaworld import STOCK_HORIZON
from simulators.metaworld import Options as WorldOptions
from simulators.metaworld.simulator import MetaWorld
from simulators.metaworld_vision import Options
from simulators.metaworld_vision.experts import keyframes
from simulators.metaworld_vision.eyes import Eyes, fields
from simulators.metaworld_vision.hand import Hand
from simulators.metaworld_vision.names import BOUNDS
from simulators.metaworld_vision.recorder import Recorder


class MetaWorldVision:
    """One Meta-World task. Reward 1 with success, which ends the episode. action (4,): position scaled from ``BOUNDS``, above 0 open."""

    def __init__(self, task: str, seed: int, options: Options, goal: int | None = None) -> None:
        self.seed, self.options = seed, options
        taken = {name: getattr(options, name) for name in ("goals", "split", "order", "repeat")}
        self.world = MetaWorld(task, seed, WorldOptions(reward="sparse", horizon=STOCK_HORIZON, **taken), goal)
        self.hand = Hand(self.world, options.servo_steps)
        self.eyes = Eyes(self.hand, options.views, options.image_size, markers=options.markers, mask=options.segmentation)
        kept = {name: value for name, value in self.world.spec.labels if name in ("metaworld", "goals", "order", "repeat")}
        asked = ("horizon", "cameras", "image_size", "markers", "servo_steps", "failure_reward")
        labels = {"simulator": "metaworld_vision", **kept, "reward": "sparse", **{name: str(getattr(options, name)) for name in asked}}
        self.keyframes = Keyframes(BOUNDS, options.views, rotation=False)
        self.spec = TaskSpec(
            f"metaworld_vision:{task}" + ("" if goal is None else f"@{goal}"),
            fields(options.views, options.image_size, mask=options.segmentation),
            4,
            options.horizon,
            tuple(labels.items()),
            keyframes=self.keyframes,
        )

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        self.t = 0
        self.hand.begin(variation)
        self._last = self._see()
        return self._last

    def step(self, action: NDArray[np.float32]) -> Step:
        """Goes where ``action`` says, or as far as it can, then moves the fingers. It ends as soon as the task is done.

        A target outside of what the hand can be told fails the episode: terminated, the observation is the one before.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        return self._step(self._target(action), lambda: bool(action[3] > 0))

    def demonstrate(self, variation: int) -> Demo:
        """Plays episode ``variation`` by an expert that sees where everything is. Its ``actions`` have the same success, played again.

        Raises:
            SimulatorError: retryable; the expert failed in this episode.
        """
        record = Recorder(self.hand, self.reset(variation), self._see)
        self.hand.watch = record.step
        try:
            for target, opened in keyframes(self.hand):
                action = np.clip(action_of(self.keyframes, target, 1.0), -1, 1)
                step = self._step(self._target(action), opened)
                action[3] = 1.0 if self.hand.open else -1.0
                record.keyframe(action, step.obs)
                if step.success:
                    info = {**dict(self.spec.labels), "seed": self.seed, "variation": variation}
                    return record.demo(self.spec.task, info)
                if step.terminated or step.truncated:
                    break
        finally:
            self.hand.unwatch()
        raise SimulatorError(f"the expert of {self.spec.task} failed in episode {variation} of seed {self.seed}", retryable=True)

    def close(self) -> None:
        """Frees the physics; a second call does nothing. Contexts of OpenGL are the process's and stay."""
        self.world.close()

    def _step(self, target: NDArray[np.float64], opened: Callable[[], bool]) -> Step:
        self.t += 1
        if not self.hand.reaches(target):
            return Step(self._last, float(self.options.failure_reward), True, False, False)
        self.hand.move(target)
        self.hand.fingers(opened())
        self._last, success = self._see(), self.hand.success
        return Step(self._last, float(success), success, not success and self.t >= self.options.horizon, success)

    def _target(self, action: NDArray[np.float32]) -> NDArray[np.float64]:
        """(3,) metres."""
        return target_of(self.keyframes, action).position

    def _see(self) -> Observation:
        return self.eyes.see(time_left(self.t, self.options.horizon))

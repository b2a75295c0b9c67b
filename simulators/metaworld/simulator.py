"""One Meta-World task under our contract: which goal an episode has, what of the observation is shown, who steps it."""

import warnings
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.contracts import BlockArrays
from core.errors import ConfigError
from core.types import Field, Observation, Step, TaskSpec
from simulators.metaworld import Options, native, stock
from simulators.metaworld.fast import FastBlock, FastStep
from simulators.metaworld.goals import vectors
from simulators.metaworld.stock import Stepping, StockStep

FRAME, OBS = 18, 39
_SHOWN = {2: np.arange(OBS), 1: np.r_[:FRAME, 2 * FRAME : OBS]}
"""frames -> which of stock's 39 numbers are observed"""


class MetaWorld:
    """One Meta-World task. obs (39,): 18 numbers now, the same one step ago, goal (3,) in metres. action (4,): hand by 1 cm, gripper."""

    def __init__(self, task: str, seed: int, options: Options, goal: int | None = None) -> None:
        self.task, self.seed, self.options, self.goal = task, seed, options, goal
        self.stepper = _stepper(task, options)
        self._shown = _SHOWN[options.frames]
        self._previous: int | None = None
        self._closed = False
        named = "" if goal is None else f"@{goal}"
        goals = f"{options.goals} {options.split}" if options.goals else "fresh"
        labels = {
            "simulator": "metaworld",
            "metaworld": stock.version(),
            "reward": options.reward,
            "reward_version": options.reward_version,
            "success_rule": options.success_rule,
            "horizon": str(options.horizon),
            "goals": f"number {goal} of {options.split}" if named else goals,
            "order": options.order,
            "repeat": str(options.repeat),
            "goal_visible": str(not options.hide_goal).lower(),
            "frames": str(options.frames),
            "reset_every": str(options.reset_every),
        }
        unit = "metres, quaternions; gripper opening 0 to 1"
        fields = (Field("obs", self._shown.shape, unit=unit),)
        repeated = FRAME if options.frames == 2 else 0
        self.spec = TaskSpec(f"metaworld:{task}{named}", fields, 4, options.horizon, tuple(labels.items()), repeated)

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``. With ``reset_every`` above 1, it goes on where the last one ended if that was ``variation`` - 1.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        options, previous = self.options, self._previous
        self._previous = None  # until this one has begun
        if variation % options.reset_every and previous == variation - 1:
            obs = self.stepper.go_on()
        else:
            obs = self.stepper.begin(self.vector(variation - variation % options.reset_every))
        self._previous = variation
        return self._observation(obs)

    def step(self, action: NDArray[np.float32]) -> Step:
        """One env step of 12.5 ms. Meta-World never terminates.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        obs, reward, success, truncated = self.stepper.step(action)
        return Step(self._observation(obs), reward, False, truncated, success)

    def close(self) -> None:
        """Frees the model; a second call does nothing."""
        if not self._closed:
            self.stepper.close()
        self._closed = True

    def vector(self, variation: int) -> NDArray[np.float64]:
        """The random vector of an episode."""
        options, trial = self.options, variation // self.options.repeat
        if self.goal is not None:
            return vectors(self.task, options.split)[self.goal]
        if options.goals == 0:
            seed = np.random.SeedSequence([zlib.crc32(self.task.encode()), 1, self.seed, trial]).generate_state(1)[0] >> 1
            return self.stepper.draw(int(seed))
        if options.order == "in_turn":
            return vectors(self.task, options.split)[trial % options.goals]
        return vectors(self.task, options.split)[int(np.random.default_rng([self.seed, trial]).integers(options.goals))]

    def _observation(self, obs: NDArray[np.float64]) -> Observation:
        return {"obs": obs[self._shown].astype(np.float32)}


def block(simulators: Sequence[MetaWorld], arrays: BlockArrays) -> FastBlock | None:
    """See ``simulators.metaworld.block``."""
    steps = [simulator.stepper for simulator in simulators]
    fast = [step for step in steps if isinstance(step, FastStep)]
    if len(fast) < len(steps):
        return None
    return FastBlock(fast, simulators[0].options.frames, arrays)


def _stepper(task: str, options: Options) -> FastStep | StockStep:
    stock.version()  # a missing package is said before a missing compiler
    judged_by = options.reward_version if options.success_rule == "of_reward" else "v2"
    how = Stepping(options.reward_version, judged_by, options.hide_goal, options.reward == "sparse", options.horizon)
    if options.step != "stock":
        reason = native.unavailable() or ("" if task in native.task_index() else "it is not one of the ported tasks")
        if not reason:
            return FastStep(task, how)
        if options.step == "fast":
            raise ConfigError(f"option 'step' of simulator metaworld is 'fast', but {task} has no fast step here: {reason}")
        warnings.warn(f"{task} is stepped by stock, slower, with the same results: {reason}", RuntimeWarning, stacklevel=2)
    return StockStep(task, how)

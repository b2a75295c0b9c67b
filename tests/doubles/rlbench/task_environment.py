"""A task that can be stepped and demonstrated."""

from __future__ import annotations

import logging

import numpy as np
import rlbench_double
from pyrep.backend._sim_cffi import world
from pyrep.errors import IKError
from rlbench_double import reached, variant

from rlbench.backend.exceptions import BoundaryError, WaypointError

_MAX_RESET_ATTEMPTS = 40
_MAX_DEMO_ATTEMPTS = 10

if variant() == "1.1":

    class InvalidActionError(Exception):
        pass

    class TaskEnvironmentError(Exception):
        pass

else:
    from rlbench.backend.exceptions import TaskEnvironmentError


class TaskEnvironment(rlbench_double.Strict):
    def __init__(
        self, pyrep, robot, scene, task, action_mode, dataset_root, obs_config, static_positions=False, attach_grasped_objects=True
    ):
        self._pyrep, self._robot, self._scene, self._task = pyrep, robot, scene, task
        self._action_mode, self._dataset_root = action_mode, dataset_root
        self._variation_number, self._reset_called = 0, False
        reached("task")
        self._scene.load(self._task)
        self._pyrep.start()

    def get_name(self):
        return self._task.get_name()

    def sample_variation(self):
        self._variation_number = np.random.randint(0, self._task.variation_count())
        return self._variation_number

    def set_variation(self, v):
        if v >= self.variation_count():
            raise TaskEnvironmentError(f"Requested variation {v}, but there are only {self.variation_count()} variations.")
        self._variation_number = v

    def variation_count(self):
        return self._task.variation_count()

    def reset(self):
        world.check()
        reached("reset", self._variation_number)
        self._scene.reset()
        try:
            desc = self._scene.init_episode(self._variation_number, max_attempts=_MAX_RESET_ATTEMPTS)
        except (BoundaryError, WaypointError) as error:
            raise TaskEnvironmentError(
                f"Could not place the task {self._task.get_name()} in the scene. "
                "This should not happen, please raise an issues on this task."
            ) from error
        self._reset_called = True
        return desc, self._scene.get_observation()

    def get_observation(self):
        return self._scene.get_observation()

    def step(self, action):
        world.check()
        if not self._reset_called:
            raise RuntimeError("Call 'reset' before calling 'step' on a task.")
        reached("step", self._variation_number)
        if variant() == "1.1":
            self._old_action(np.asarray(action))
        else:
            self._action_mode.action(self._scene, action)
        success, terminate = self._task.success()
        reward = float(success)
        if variant() == "1.1" and self._task.reward() is not None:
            reward = self._task.reward()
        return self._scene.get_observation(), reward, terminate

    def _old_action(self, action):
        """RLBench 1.1: the mode is an enumeration, and not every failure is an InvalidActionError."""
        from rlbench.action_modes import ArmActionMode
        from rlbench.old_action import act

        if action.shape != (8,):
            raise RuntimeError(f"Expected the action shape to be: (7,), but was shape: {action[:-1].shape}")
        if not np.isclose(np.linalg.norm(action[3:7]), 1.0):
            raise RuntimeError("Action contained non unit quaternion!")
        try:
            act(self._scene, ArmActionMode(self._action_mode.arm), action)
        except IKError as error:
            raise InvalidActionError("Could not perform IK via Jacobian.") from error

    def get_demos(self, amount, live_demos=False, image_paths=False, callable_each_step=None, max_attempts=_MAX_DEMO_ATTEMPTS,
                  random_selection=True, from_episode_number=0):  # fmt: skip
        world.check()
        if not live_demos:
            raise RuntimeError("Can't ask for a stored demo when no dataset root provided.")
        before = self._robot.arm.is_control_loop_enabled()
        self._robot.arm.set_control_loop_enabled(True)
        demos = [self._live_demo(callable_each_step, max_attempts) for _ in range(amount)]
        self._robot.arm.set_control_loop_enabled(before)
        return demos

    def _live_demo(self, callable_each_step, attempts):
        while attempts > 0:
            random_seed = np.random.get_state()
            self.reset()
            try:
                reached("demo", self._variation_number)
                demo = self._scene.get_demo(callable_each_step=callable_each_step)
                demo.random_seed = random_seed
                return demo
            except Exception as error:
                attempts -= 1
                logging.info("Bad demo. " + str(error))
        raise RuntimeError("Could not collect demos. Maybe a problem with the task?")

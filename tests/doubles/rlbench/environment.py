"""Launches the simulator, and puts a task into it."""

from __future__ import annotations

import rlbench_double
from pyrep import PyRep
from pyrep.robots.arms.panda import Panda
from pyrep.robots.end_effectors.panda_gripper import PandaGripper
from rlbench_double import Misuse, variant

from rlbench.backend.robot import Robot
from rlbench.backend.scene import Scene
from rlbench.backend.task import Task
from rlbench.observation_config import ObservationConfig
from rlbench.task_environment import TaskEnvironment


class _Environment(rlbench_double.Strict):
    def _begin(self, action_mode, dataset_root, obs_config, headless, static_positions, attach_grasped_objects):
        if variant() == "1.1" and not hasattr(action_mode, "arm"):
            raise Misuse("RLBench 1.1 takes an enumerated action mode")
        if not headless:
            raise Misuse("a window opens, which nobody sees")
        self._action_mode, self._obs_config = action_mode, obs_config
        self._static_positions, self._attach_grasped_objects = static_positions, attach_grasped_objects
        self._dataset_root = dataset_root
        self._pyrep = self._robot = self._scene = None

    def launch(self):
        if self._pyrep is not None:
            raise RuntimeError("Already called launch!")
        self._pyrep = PyRep()
        self._pyrep.launch(headless=True)
        self._robot = Robot(Panda(), PandaGripper())
        self._scene = Scene(self._pyrep, self._robot, self._obs_config)
        if variant() != "1.1":
            self._action_mode.arm_action_mode.set_control_mode(self._robot)

    def shutdown(self):
        if self._pyrep is not None:
            self._pyrep.shutdown()
        self._pyrep = None

    def get_task(self, task_class):
        if self._pyrep is None:
            self.launch()
        if not issubclass(task_class, Task):
            raise Misuse(f"{task_class} is no task")
        self._scene.unload()
        task = task_class(self._pyrep, self._robot)
        return TaskEnvironment(
            self._pyrep, self._robot, self._scene, task, self._action_mode, self._dataset_root, self._obs_config,
            self._static_positions, self._attach_grasped_objects,
        )  # fmt: skip


if variant() == "1.1":

    class Environment(_Environment):
        def __init__(self, action_mode, dataset_root="", obs_config=ObservationConfig(), headless=False, static_positions=False,
                     robot_configuration="panda", randomize_every=None, frequency=1, visual_randomization_config=None,
                     dynamics_randomization_config=None, attach_grasped_objects=True):  # fmt: skip
            self._begin(action_mode, dataset_root, obs_config, headless, static_positions, attach_grasped_objects)

else:

    class Environment(_Environment):  # type: ignore[no-redef]
        def __init__(self, action_mode, dataset_root="", obs_config=ObservationConfig(), headless=False, static_positions=False,
                     robot_setup="panda", randomize_every=None, frequency=1, visual_randomization_config=None,
                     dynamics_randomization_config=None, attach_grasped_objects=True, shaped_rewards=False, arm_max_velocity=1.0,
                     arm_max_acceleration=4.0):  # fmt: skip
            self._begin(action_mode, dataset_root, obs_config, headless, static_positions, attach_grasped_objects)

"""What a task is. Its expert's way is a list of waypoints, each with what happens there, in place of objects of the scene."""

from __future__ import annotations

import os
import re
from os.path import abspath, dirname, join

import numpy as np
from pyrep.backend._sim_cffi import Ball, world
from rlbench_double import Misuse, variant

from rlbench.backend.exceptions import WaypointError

TASKS_PATH = join(dirname(abspath(__file__)), "../tasks")


class Task:
    def __init__(self, pyrep, robot, name=None):
        if name is not None and variant() == "1.1":
            raise TypeError("__init__() takes 3 positional arguments but 4 were given")
        self.pyrep, self.robot = pyrep, robot
        self.name = name if name else re.sub("(?<!^)(?=[A-Z])", "_", self.__class__.__name__).lower()
        self._graspable_objects, self._waypoints = [], None

    def init_task(self):
        raise NotImplementedError("'init_task' is almost always necessary.")

    def init_episode(self, index):
        raise NotImplementedError("'init_episode' must be defined and return a list of strings.")

    def variation_count(self):
        raise NotImplementedError("'variation_count' must be defined and return an int.")

    def get_low_dim_state(self):
        return np.concatenate([ball.centre for ball in world.balls.values()])

    def step(self):
        pass

    def reward(self):
        return None

    def cleanup(self):
        pass

    def decorate_observation(self, observation):
        return observation

    def is_static_workspace(self):
        return False

    def register_graspable_objects(self, objects):
        self._graspable_objects = objects

    def get_graspable_objects(self):
        return self._graspable_objects

    def get_name(self):
        return self.name

    def success(self):
        """Of the real one these are conditions on the scene; they are numpy's bools, too."""
        met = np.bool_(self._met())
        return met, met

    def get_waypoints(self):
        if self._waypoints is None:
            self._waypoints = self._ways()
        return self._waypoints

    def validate(self):
        self._waypoints = self._ways()

    def load(self):
        if not os.path.isfile(join(TASKS_PATH, f"{self.name}.py")):
            raise FileNotFoundError(f"The following is not a valid task .ttm file: {self.name}.ttm")

    # ----- of the double's tasks

    def _met(self):
        raise Misuse("a task of the double says when it succeeds")

    def _ways(self):
        """[(position, opening afterwards or None)]; the gripper points down. WaypointError where one cannot be reached."""
        return []

    def _infeasible(self):
        return WaypointError("Infeasible episode. Can't reach waypoint 0.", self)

    def put(self, name, centre, radius, colour, collidable=True):
        """A thing of the scene."""
        world.balls[name] = Ball(name, centre, radius, colour, collidable)
        return world.balls[name]

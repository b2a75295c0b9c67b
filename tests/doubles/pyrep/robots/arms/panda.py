"""The arm: goes straight to where it is told, where nothing forbids it."""

from __future__ import annotations

import numpy as np
import rlbench_double

from pyrep.backend._sim_cffi import BASE, STEP_S, world
from pyrep.errors import ConfigurationPathError, IKError

FRAME_M, REST = 0.02, 3
"""metres per step, and steps at rest at the end"""
_IK_M = 0.1


class Tip(rlbench_double.Strict):
    def get_pose(self, relative_to=None):
        world.check()
        return world.tip.copy()


class Path:
    """Steps of the tip; the arm is there when ``step`` returns True."""

    def __init__(self, poses):
        self._poses = list(poses)

    def step(self):
        world.move(self._poses.pop(0))
        return not self._poses


class Panda(rlbench_double.Strict):
    def __init__(self, count=0, max_velocity=1.0, max_acceleration=4.0):
        self._tip, self._loop = Tip(), False

    def get_tip(self):
        return self._tip

    def get_joint_positions(self):
        world.check()
        return world.joints(world.tip).tolist()

    def get_joint_velocities(self):
        world.check()
        return ((world.joints(world.tip) - world.joints(world.before)) / STEP_S).tolist()

    def set_control_loop_enabled(self, value):
        self._loop = value

    def is_control_loop_enabled(self):
        return self._loop

    def get_path(self, position, euler=None, quaternion=None, ignore_collisions=False, trials=300, max_configs=1, distance_threshold=0.65,
                 max_time_ms=10, trials_per_goal=1, algorithm=None, relative_to=None):  # fmt: skip
        world.check()
        position = np.array(position, float)
        if np.linalg.norm(position - BASE) > rlbench_double.script().get("reach", 1.1):
            raise ConfigurationPathError("Could not create path.")
        count = max(1, int(np.ceil(np.linalg.norm(position - world.tip[:3]) / FRAME_M)))
        parts = np.arange(1, count + 1) / count
        poses = [_between(world.tip, np.concatenate([position, quaternion]), part) for part in parts]
        if not ignore_collisions and any(self._hits(pose[:3]) for pose in poses):
            raise ConfigurationPathError("Could not create path.")
        return Path(poses + poses[-1:] * REST)

    def _hits(self, position):
        return any(
            ball.collidable and ball.name != world.held and np.linalg.norm(position - ball.centre) < ball.radius
            for ball in world.balls.values()
        )

    def solve_ik_via_jacobian(self, position, euler=None, quaternion=None, relative_to=None):
        world.check()
        if np.linalg.norm(np.array(position) - world.tip[:3]) > _IK_M:
            raise IKError("IK failed. Perhaps the distance was between the tip and target was too large.")
        return np.concatenate([position, quaternion])


def _between(start, end, part):
    turned = (1 - part) * start[3:] + part * end[3:] * (1 if start[3:] @ end[3:] >= 0 else -1)
    # At the end exactly what was asked for: this arm has no rounding.
    rotation = end[3:] if part == 1 else turned / np.linalg.norm(turned)
    return np.concatenate([start[:3] + part * (end[:3] - start[:3]), rotation])

"""The gripper: takes a thing that is between its fingers."""

from __future__ import annotations

import numpy as np
import rlbench_double

from pyrep.backend._sim_cffi import TABLE_M, world

_NEAR_M, _WIDEST_M = 0.03, 0.04


class PandaGripper(rlbench_double.Strict):
    def __init__(self, count=0):
        pass

    def get_open_amount(self):
        world.check()
        return [world.amount, world.amount]

    def get_joint_positions(self):
        # The real ones overshoot a little.
        return [_WIDEST_M * world.amount + 2e-4, _WIDEST_M * world.amount - 1e-5]

    def actuate(self, amount, velocity):
        world.check()
        step = np.clip(float(amount) - world.amount, -0.25, 0.25)
        world.amount += step
        return abs(world.amount - float(amount)) < 1e-9

    def grasp(self, obj):
        if world.held is None and np.linalg.norm(obj.centre - world.tip[:3]) < _NEAR_M:
            world.held = obj.name
        return world.held == obj.name

    def release(self):
        world.check()
        if world.held:
            ball = world.balls[world.held]
            ball.centre[2] = TABLE_M + ball.radius
        world.held = None

    def get_grasped_objects(self):
        return [world.balls[world.held]] if world.held else []

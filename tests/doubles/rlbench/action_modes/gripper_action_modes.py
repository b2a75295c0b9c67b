"""The gripper opens or closes."""

import rlbench_double

from rlbench.action_modes.arm_action_modes import assert_action_shape
from rlbench.moves import turn_gripper


class GripperActionMode(rlbench_double.Strict):
    def __init__(self):
        pass


class Discrete(GripperActionMode):
    def __init__(self, attach_grasped_objects=True, detach_before_open=True):
        self._attach_grasped_objects, self._detach_before_open = attach_grasped_objects, detach_before_open

    def action(self, scene, action):
        assert_action_shape(action, self.action_shape(scene.robot))
        turn_gripper(scene, action[0])

    def action_shape(self, scene):
        return (1,)

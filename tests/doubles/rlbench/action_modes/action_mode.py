"""How the numbers of an action are shared out between arm and gripper."""

import numpy as np
import rlbench_double
from rlbench_double import variant

if variant() == "1.1":
    raise ModuleNotFoundError("No module named 'rlbench.action_modes.action_mode'; 'rlbench.action_modes' is not a package")


class ActionMode(rlbench_double.Strict):
    def __init__(self, arm_action_mode, gripper_action_mode):
        self.arm_action_mode, self.gripper_action_mode = arm_action_mode, gripper_action_mode


class MoveArmThenGripper(ActionMode):
    def action(self, scene, action):
        size = int(np.prod(self.arm_action_mode.action_shape(scene)))
        arm, rest = np.array(action[:size]), np.array(action[size:])
        if variant() == "ignoring":
            # The fork takes a missing number for False, with a warning of numpy.
            (ignore,) = rest[1:2]
            self.arm_action_mode.action(scene, arm, bool(ignore))
            rest = rest[:1]
        else:
            self.arm_action_mode.action(scene, arm)
        self.gripper_action_mode.action(scene, rest)

    def action_shape(self, scene):
        return np.prod(self.arm_action_mode.action_shape(scene)) + np.prod(self.gripper_action_mode.action_shape(scene))

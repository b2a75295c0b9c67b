"""In RLBench 1.1 this is a module with enumerations, later a package with classes."""

from enum import Enum

import rlbench_double

if rlbench_double.variant() == "1.1":

    class ArmActionMode(Enum):
        ABS_JOINT_VELOCITY = 0
        ABS_EE_POSE_WORLD_FRAME = 6
        DELTA_EE_POSE_WORLD_FRAME = 7
        ABS_EE_POSE_PLAN_WORLD_FRAME = 8
        ABS_EE_POSE_PLAN_WORLD_FRAME_WITH_COLLISION_CHECK = 9

    class GripperActionMode(Enum):
        OPEN_AMOUNT = 0

    class ActionMode:
        def __init__(self, arm=ArmActionMode.ABS_JOINT_VELOCITY, gripper=GripperActionMode.OPEN_AMOUNT):
            self.arm, self.gripper = arm, gripper

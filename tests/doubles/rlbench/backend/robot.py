"""Arm and gripper."""


class Robot:
    def __init__(self, arm, gripper):
        self.arm, self.gripper = arm, gripper

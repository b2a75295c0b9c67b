"""To a pose by planning or by inverse kinematics."""

from enum import Enum

import numpy as np
import rlbench_double
from pyrep.errors import ConfigurationPathError, IKError
from rlbench_double import variant

from rlbench.backend.exceptions import InvalidActionError
from rlbench.moves import follow, go_by_ik


class RelativeFrame(Enum):
    WORLD = 0
    EE = 1


def assert_action_shape(action, expected_shape):
    if np.shape(action) != expected_shape:
        raise InvalidActionError(f"Expected the action shape to be: {expected_shape}, but was shape: {np.shape(action)}")


def assert_unit_quaternion(quat):
    if not np.isclose(np.linalg.norm(quat), 1.0):
        raise InvalidActionError("Action contained non unit quaternion!")


class ArmActionMode(rlbench_double.Strict):
    def __init__(self, absolute_mode=True, frame=RelativeFrame.WORLD, collision_checking=False):
        self._absolute_mode, self._frame, self._collision_checking = absolute_mode, frame, collision_checking

    def set_control_mode(self, robot):
        robot.arm.set_control_loop_enabled(True)

    def action_shape(self, scene):
        return (7,)


class EndEffectorPoseViaPlanning(ArmActionMode):
    def __init__(self, absolute_mode=True, frame=RelativeFrame.WORLD, collision_checking=False):
        super().__init__(absolute_mode, frame, collision_checking)

    def _go(self, scene, action, ignore):
        assert_action_shape(action, (7,))
        assert_unit_quaternion(action[3:])
        if not scene.check_target_in_workspace(action[:3]):
            raise InvalidActionError("A path could not be found because the target is outside of workspace.")
        try:
            path = scene.robot.arm.get_path(action[:3], quaternion=action[3:], ignore_collisions=ignore, trials=100, max_configs=10)
        except ConfigurationPathError as error:
            raise InvalidActionError(
                "A path could not be found. Most likely due to the target being inaccessible or a collison was detected."
            ) from error
        follow(scene, path)

    if variant() == "ignoring":

        def action(self, scene, action, ignore_collisions=True):
            self._go(scene, action, ignore_collisions)

    else:

        def action(self, scene, action):  # type: ignore[misc]
            self._go(scene, action, not self._collision_checking)


class EndEffectorPoseViaIK(ArmActionMode):
    def __init__(self, absolute_mode=True, frame=RelativeFrame.WORLD, collision_checking=False):
        super().__init__(absolute_mode, frame, collision_checking)

    def _go(self, scene, action):
        assert_action_shape(action, (7,))
        assert_unit_quaternion(action[3:])
        try:
            go_by_ik(scene, action)
        except IKError as error:
            raise InvalidActionError(
                "Could not perform IK via Jacobian; most likely due to current end-effector pose being too far from the given target pose."
            ) from error

    if variant() == "ignoring":

        def action(self, scene, action, ignore_collisions=True):
            self._go(scene, action)

    else:

        def action(self, scene, action):  # type: ignore[misc]
            self._go(scene, action)

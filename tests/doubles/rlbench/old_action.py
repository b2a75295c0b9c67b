"""How RLBench 1.1 acts by an enumerated mode; in the real one this is part of ``task_environment``."""

from rlbench.action_modes import ArmActionMode
from rlbench.moves import follow, go_by_ik, turn_gripper
from rlbench.task_environment import InvalidActionError


def act(scene, mode, action):
    """The arm, then the gripper."""
    pose = action[:7]
    if mode is ArmActionMode.ABS_EE_POSE_WORLD_FRAME:
        go_by_ik(scene, pose)
    elif mode in (ArmActionMode.ABS_EE_POSE_PLAN_WORLD_FRAME, ArmActionMode.ABS_EE_POSE_PLAN_WORLD_FRAME_WITH_COLLISION_CHECK):
        if not scene.check_target_in_workspace(pose[:3]):
            raise InvalidActionError("Target is outside of workspace.")
        checks = mode is ArmActionMode.ABS_EE_POSE_PLAN_WORLD_FRAME_WITH_COLLISION_CHECK
        follow(scene, scene.robot.arm.get_path(pose[:3], quaternion=pose[3:], ignore_collisions=not checks))
    else:
        raise RuntimeError("Unrecognised action mode.")
    turn_gripper(scene, action[7])

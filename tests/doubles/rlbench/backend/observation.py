"""What is observed. A task or a recorder may write to what is there, and to nothing else."""

from rlbench_double import Strict

_CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
NAMES = (
    *(f"{camera}_{kind}" for camera in _CAMERAS for kind in ("rgb", "depth", "mask", "point_cloud")),
    *("joint_velocities", "joint_positions", "joint_forces", "gripper_open", "gripper_pose", "gripper_matrix"),
    *("gripper_joint_positions", "gripper_touch_forces", "task_low_dim_state", "misc"),
)


class Observation(Strict):
    def __init__(self, **values):
        if set(values) != set(NAMES):
            raise TypeError(f"__init__() got {sorted(set(values) ^ set(NAMES))}")
        for name, value in values.items():
            setattr(self, name, value)

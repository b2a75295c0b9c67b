"""What is to be observed. The defaults are RLBench's: everything, by the slow renderer."""

from pyrep.const import RenderMode
from rlbench_double import Misuse, Strict

from rlbench.noise_model import Identity


class CameraConfig(Strict):
    def __init__(
        self,
        rgb=True,
        rgb_noise=Identity(),
        depth=True,
        depth_noise=Identity(),
        point_cloud=True,
        mask=True,
        image_size=(128, 128),
        render_mode=RenderMode.OPENGL3,
        masks_as_one_channel=True,
        depth_in_meters=False,
    ):
        for flag in (rgb, depth, point_cloud, mask, masks_as_one_channel, depth_in_meters):
            if not isinstance(flag, bool):
                raise Misuse(f"a flag of a camera is {flag!r}")
        if not (isinstance(image_size, tuple) and len(image_size) == 2 and isinstance(render_mode, RenderMode)):
            raise Misuse(f"no camera: {image_size!r}, {render_mode!r}")
        self.rgb, self.rgb_noise = rgb, rgb_noise
        self.depth, self.depth_noise = depth, depth_noise
        self.point_cloud, self.mask = point_cloud, mask
        self.image_size, self.render_mode = image_size, render_mode
        self.masks_as_one_channel, self.depth_in_meters = masks_as_one_channel, depth_in_meters

    def set_all(self, value):
        self.rgb = self.depth = self.point_cloud = self.mask = value


class ObservationConfig(Strict):
    def __init__(
        self,
        left_shoulder_camera=None,
        right_shoulder_camera=None,
        overhead_camera=None,
        wrist_camera=None,
        front_camera=None,
        joint_velocities=True,
        joint_velocities_noise=Identity(),
        joint_positions=True,
        joint_positions_noise=Identity(),
        joint_forces=True,
        joint_forces_noise=Identity(),
        gripper_open=True,
        gripper_pose=True,
        gripper_matrix=False,
        gripper_joint_positions=False,
        gripper_touch_forces=False,
        wrist_camera_matrix=False,
        record_gripper_closing=False,
        task_low_dim_state=False,
    ):
        self.left_shoulder_camera = CameraConfig() if left_shoulder_camera is None else left_shoulder_camera
        self.right_shoulder_camera = CameraConfig() if right_shoulder_camera is None else right_shoulder_camera
        self.overhead_camera = CameraConfig() if overhead_camera is None else overhead_camera
        self.wrist_camera = CameraConfig() if wrist_camera is None else wrist_camera
        self.front_camera = CameraConfig() if front_camera is None else front_camera
        self.joint_velocities, self.joint_velocities_noise = joint_velocities, joint_velocities_noise
        self.joint_positions, self.joint_positions_noise = joint_positions, joint_positions_noise
        self.joint_forces, self.joint_forces_noise = joint_forces, joint_forces_noise
        self.gripper_open, self.gripper_pose, self.gripper_matrix = gripper_open, gripper_pose, gripper_matrix
        self.gripper_joint_positions, self.gripper_touch_forces = gripper_joint_positions, gripper_touch_forces
        self.wrist_camera_matrix, self.record_gripper_closing = wrist_camera_matrix, record_gripper_closing
        self.task_low_dim_state = task_low_dim_state

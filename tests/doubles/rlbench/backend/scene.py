"""What happens in an episode: where things are put, what is observed, how the expert acts."""

from __future__ import annotations

import numpy as np
import rlbench_double
from pyrep.backend._sim_cffi import HOME, world
from pyrep.errors import ConfigurationPathError
from pyrep.objects import VisionSensor
from rlbench_double import done, reached, variant

from rlbench.backend.exceptions import BoundaryError, DemoError, NoWaypointsError, WaypointError
from rlbench.backend.observation import NAMES, Observation
from rlbench.demo import Demo

_SENSORS = {
    "left_shoulder": "cam_over_shoulder_left",
    "right_shoulder": "cam_over_shoulder_right",
    "overhead": "cam_overhead",
    "wrist": "cam_wrist",
    "front": "cam_front",
}
_WORKSPACE = np.array([[-0.225, -0.655, 0.752], [0.725, 0.655, 1.752]])
_DOWN = HOME[3:]


class Scene(rlbench_double.Strict):
    def __init__(self, pyrep, robot, obs_config, robot_setup="panda"):
        self.pyrep, self.robot, self.task = pyrep, robot, None
        self._obs_config = obs_config
        self._sensors = {name: (VisionSensor(sensor), VisionSensor(sensor + "_mask")) for name, sensor in _SENSORS.items()}
        self._has_init_task = self._has_init_episode = False
        self._variation_index, self._attempts, self._joint_position_action = 0, 0, None
        for name, (sensor, mask) in self._sensors.items():
            self._set_up(getattr(obs_config, f"{name}_camera"), sensor, mask)

    def _set_up(self, conf, sensor, mask):
        if conf.rgb or conf.depth or conf.point_cloud:
            sensor.set_explicit_handling(1)
            sensor.set_resolution(conf.image_size)
            sensor.set_render_mode(conf.render_mode)
        else:
            sensor.remove()
        if conf.mask:
            mask.set_explicit_handling(1)
            mask.set_resolution(conf.image_size)
        else:
            mask.remove()

    def load(self, task):
        task.load()
        self.task, self._has_init_task, self._has_init_episode = task, False, False

    def unload(self):
        self.task = None
        world.balls.clear()

    def init_episode(self, index, randomly_place=True, max_attempts=5, place_demo=False):
        self._variation_index = index
        if not self._has_init_task:
            self.task.init_task()
            self._has_init_task = True
        self._attempts = 0
        while self._attempts < max_attempts:
            descriptions = self.task.init_episode(index)
            try:
                self.task.validate()
                break
            except (BoundaryError, WaypointError):
                self._attempts += 1
                if self._attempts >= max_attempts:
                    raise
        for _ in range(10):
            self.pyrep.step()
        self._has_init_episode = True
        return descriptions

    def reset(self):
        world.check()
        self.robot.gripper.release()
        world.balls.clear()
        world.tip, world.before, world.amount = HOME.copy(), HOME.copy(), 1.0
        if self._has_init_task:
            self.task.cleanup()

    def step(self):
        self.pyrep.step()
        self.task.step()

    def check_target_in_workspace(self, target_pos):
        return bool((np.array(target_pos) > _WORKSPACE[0]).all() and (np.array(target_pos) < _WORKSPACE[1]).all())

    def get_observation(self):
        reached("observe")
        conf, arm, gripper = self._obs_config, self.robot.arm, self.robot.gripper
        if conf.joint_forces:
            done["joint_forces"] += 1
        seen = dict.fromkeys(NAMES)
        for name, (sensor, mask) in self._sensors.items():
            camera = getattr(conf, f"{name}_camera")
            pictures = _pictures(camera, sensor)
            if camera.mask:
                mask.handle_explicitly()
            seen.update({f"{name}_{kind}": picture for kind, picture in zip(("rgb", "depth", "point_cloud"), pictures)})
        seen.update(
            joint_velocities=np.array(arm.get_joint_velocities()) if conf.joint_velocities else None,
            joint_positions=np.array(arm.get_joint_positions()) if conf.joint_positions else None,
            gripper_open=(1.0 if gripper.get_open_amount()[0] > 0.9 else 0.0) if conf.gripper_open else None,
            gripper_pose=np.array(arm.get_tip().get_pose()) if conf.gripper_pose else None,
            gripper_joint_positions=np.array(gripper.get_joint_positions()) if conf.gripper_joint_positions else None,
            gripper_touch_forces=np.zeros(6) if conf.gripper_touch_forces else None,
            task_low_dim_state=self.task.get_low_dim_state() if conf.task_low_dim_state else None,
            misc=self._get_misc(),
        )
        return self.task.decorate_observation(Observation(**seen))

    def get_demo(self, record=True, callable_each_step=None, randomly_place=True):
        waypoints = self.task.get_waypoints()
        if not waypoints:
            raise NoWaypointsError("No waypoints were found.", self.task)
        self._has_init_episode = False
        if record:
            gripper_open = world.amount
            demo = [self.get_observation()]
        for number, (position, opening) in enumerate(waypoints):
            try:
                path = self.robot.arm.get_path(position, quaternion=_DOWN, ignore_collisions=True)
            except ConfigurationPathError as error:
                raise DemoError(f"Could not get a path for waypoint {number}.", self.task) from error
            over = False
            while not over:
                over = path.step()
                self.task.step()
                # Not bound where nothing is recorded: RLBench's bug is kept.
                self._joint_position_action = np.append(np.zeros(7), gripper_open)
                demo.append(self.get_observation())
                if callable_each_step is not None:
                    callable_each_step(self.get_observation())
            if opening is not None:
                self._turn(opening)
                self._demo_end(demo)
        if not self.task.success()[0]:
            raise DemoError("Demo was completed, but was not successful.", self.task)
        made = Demo(demo)
        if variant() != "1.1":
            made.num_reset_attempts = self._attempts + 1
        return made

    def _turn(self, opening):
        if opening:
            self.robot.gripper.release()
        while not self.robot.gripper.actuate(opening, 0.04):
            self.step()
        self.step()
        if not opening:
            for thing in self.task.get_graspable_objects():
                self.robot.gripper.grasp(thing)

    def _demo_end(self, demo):
        demo.append(self.get_observation())

    def _get_misc(self):
        misc = {}
        for name, (sensor, _) in self._sensors.items():
            if sensor.still_exists():
                misc[f"{name}_camera_extrinsics"] = sensor.get_matrix()
                misc[f"{name}_camera_intrinsics"] = sensor.get_intrinsic_matrix()
                misc[f"{name}_camera_near"] = sensor.get_near_clipping_plane()
                misc[f"{name}_camera_far"] = sensor.get_far_clipping_plane()
        if variant() != "1.1":
            misc["variation_index"] = self._variation_index
            misc["joint_poses"] = [np.zeros(7) for _ in range(7)]
            if self._joint_position_action is not None:
                misc["joint_position_action"] = self._joint_position_action
        return misc


def _pictures(camera, sensor):
    """Colours, depth, points; each None where it is not asked for."""
    rgb = depth = points = None
    if camera.rgb or camera.depth:
        sensor.handle_explicitly()
        if camera.rgb:
            rgb = np.clip((camera.rgb_noise.apply(sensor.capture_rgb()) * 255.0).astype(np.uint8), 0, 255)
        if camera.depth or camera.point_cloud:
            depth = camera.depth_noise.apply(sensor.capture_depth(camera.depth_in_meters))
        if camera.point_cloud:
            near, far = sensor.get_near_clipping_plane(), sensor.get_far_clipping_plane()
            points = sensor.pointcloud_from_depth(depth if camera.depth_in_meters else near + depth * (far - near))
    return rgb, depth if camera.depth else None, points

"""What all action modes do in the end. Of the double only."""

import numpy as np


def follow(scene, path):
    """Along a path, up to success."""
    over = False
    while not over:
        over = path.step()
        scene.task.step()
        success, _ = scene.task.success()
        if success:
            break


def go_by_ik(scene, pose):
    """Straight there, in one go."""
    reached = scene.robot.arm.solve_ik_via_jacobian(pose[:3], quaternion=pose[3:])
    follow(scene, scene.robot.arm.get_path(reached[:3], quaternion=reached[3:], ignore_collisions=True))


def turn_gripper(scene, action):
    """Opens it, or closes it on what is there."""
    current = 1.0 if all(amount > 0.9 for amount in scene.robot.gripper.get_open_amount()) else 0.0
    wanted = float(np.float64(action) > 0.5)
    if current == wanted:
        return
    if wanted == 0.0:
        for thing in scene.task.get_graspable_objects():
            scene.robot.gripper.grasp(thing)
    else:
        scene.robot.gripper.release()
    while not scene.robot.gripper.actuate(wanted, velocity=0.2):
        scene.step()

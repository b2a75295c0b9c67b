"""Trees as RLBench's data set generator writes them, small and of random pictures: its classes are stood in for while they are pickled."""

import contextlib
import pickle
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
from PIL import Image

REAL = Path(__file__).parents[1] / "data" / "rlbench_tree"
EPISODE = REAL / "reach_target" / "variation0" / "episodes" / "episode1"
NOT_RECORDED = [f"{camera}_{kind}" for camera in ("front", "wrist") for kind in ("rgb", "depth", "mask", "point_cloud")]


class Demo:
    __module__ = "rlbench.demo"


class Observation:
    __module__ = "rlbench.backend.observation"


@contextlib.contextmanager
def rlbench_is_there():
    """For ``pickle``, both ways."""
    modules = {name: ModuleType(name) for name in ("rlbench", "rlbench.demo", "rlbench.backend", "rlbench.backend.observation")}
    modules["rlbench.demo"].Demo, modules["rlbench.backend.observation"].Observation = Demo, Observation
    with mock.patch.dict(sys.modules, modules):
        yield


def dumped(value, protocol=4):
    with rlbench_is_there():
        return pickle.dumps(value, protocol)


def loaded(path):
    """By Python's own pickle: what ours is compared with."""
    with rlbench_is_there():
        return pickle.loads(path.read_bytes())


def observation(i, total, cameras=("front", "wrist"), **changes):
    """Moves until the last frames, closes the gripper in the middle."""
    made, rng = Observation(), np.random.default_rng(i)
    misc = {"variation_index": 0}
    for camera in cameras:
        misc |= {f"{camera}_camera_{name}": value for name, value in (("near", np.float32(0.01)), ("far", 4.5))}
        misc |= {f"{camera}_camera_intrinsics": -np.eye(3), f"{camera}_camera_extrinsics": np.eye(4) + i}
    fields = {
        "gripper_open": float(i < total // 2),
        "gripper_pose": np.array([0.2, 0.0, 1.0 + i / 100, 0.0, 1.0, 0.0, 0.0]),
        "gripper_joint_positions": np.array([0.04, 0.05]),
        "joint_positions": rng.random(7),
        "joint_velocities": np.ones(7),
        "task_low_dim_state": np.arange(5.0),
        "misc": misc,
    }
    made.__dict__ = {**dict.fromkeys(NOT_RECORDED), **fields, **changes}
    return made


def demo(total=24, fields=None, **changes):
    made = Demo()
    made.__dict__ = {"_observations": [observation(i, total, **changes) for i in range(total)], "random_seed": None, **(fields or {})}
    return made


def write(root, made, place="reach_target/variation0/episodes/episode0", cameras=("front", "wrist"), size=8):
    """Writes an episode, with pictures of all its frames, and returns its folder."""
    folder, rng = root / place, np.random.default_rng(0)
    for camera in cameras:
        for kind in ("rgb", "depth"):
            (folder / f"{camera}_{kind}").mkdir(parents=True)
            for i in range(len(made._observations)):
                Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(folder / f"{camera}_{kind}" / f"{i}.png")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "low_dim_obs.pkl").write_bytes(dumped(made))
    return folder

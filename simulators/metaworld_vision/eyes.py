"""What a keyframe simulator shows: pictures of its cameras, where these stand, and where the hand is."""

from contextlib import nullcontext
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Field, Observation
from simulators.metaworld.fast import FastStep
from simulators.metaworld_vision import gl
from simulators.metaworld_vision.cameras import view
from simulators.metaworld_vision.canvas import canvas
from simulators.metaworld_vision.hand import Hand
from simulators.metaworld_vision.names import MARKED

PROPRIO = 6
"""numbers of ``obs``: gripper open, hand xyz in metres, opening of the fingers 0 to 1, time"""


def fields(cameras: tuple[str, ...], size: int, *, mask: bool) -> tuple[Field, ...]:
    """The observation."""
    found = [Field("obs", (PROPRIO,), unit="gripper open 0 or 1, hand metres, fingers' opening 0 to 1, time 1 to -1")]
    for camera in cameras:
        found += [
            Field(f"{camera}_rgb", (size, size, 3), "uint8"),
            Field(f"{camera}_depth", (size, size), "float32", "metres along the camera's axis"),
            Field(f"{camera}_intrinsics", (3, 3), "float64", "pixels"),
            Field(f"{camera}_extrinsics", (4, 4), "float64", "metres, camera to world"),
        ]
        found += [Field(f"{camera}_mask", (size, size), "int32", "body, -1: nothing")] if mask else []
    return (*found, Field("gripper_pose", (7,), "float64", "metres, quaternion xyzw"), Field("gripper_open", (), "float32"))


class Eyes:
    """Sees one hand and what is around it.

    Raises:
        ConfigError: no OpenGL draws here.
    """

    def __init__(self, hand: Hand, cameras: tuple[str, ...], size: int, *, markers: str, mask: bool) -> None:
        mujoco: Any = import_module("mujoco")
        gl.backend()  # what is missing is said before the first episode
        self.mujoco, self.hand, self.cameras, self.size, self.mask = mujoco, hand, cameras, size, mask
        self.sites = markers == "shown" or (markers == "auto" and hand.world.task in MARKED)
        self.scratch = mujoco.MjData(hand.model)
        """what is drawn: nothing here touches the data that is stepped, whose bits would change"""

    def see(self, time: float) -> Observation:
        """The observation; ``time`` is its last number but for the images."""
        self._copy()
        hand, data = self.hand, self.scratch
        pose = np.concatenate([hand.obs[:3], np.roll(data.xquat[hand.body], -1)])
        opened = np.float32(hand.open)
        seen: dict[str, NDArray] = {"obs": np.array([opened, *hand.obs[:4], time], np.float32)}
        views = [view(name, hand.model, data) for name in self.cameras]
        pictures = canvas(hand.model, self.size).draw(data, views, sites=self.sites, mask=self.mask)
        for name, at, picture in zip(self.cameras, views, pictures, strict=True):
            seen[f"{name}_rgb"], seen[f"{name}_depth"] = picture.rgb, picture.depth
            seen[f"{name}_intrinsics"], seen[f"{name}_extrinsics"] = at.intrinsics(self.size), at.extrinsics()
            if picture.mask is not None:
                seen[f"{name}_mask"] = picture.mask
        return {**seen, "gripper_pose": pose, "gripper_open": np.array(opened)}

    def _copy(self) -> None:
        """Where everything is, from the joints' positions: after a reset MuJoCo's data has nothing else."""
        hand, scratch = self.hand, self.scratch
        with _model_of_the_episode(hand.stepper):
            for name in ("qpos", "mocap_pos", "mocap_quat"):
                getattr(scratch, name)[:] = getattr(hand.data, name)
            for work in (self.mujoco.mj_kinematics, self.mujoco.mj_comPos, self.mujoco.mj_camlight):
                work(hand.model, scratch)


def _model_of_the_episode(stepper: Any) -> Any:
    """While it is open the model has the bodies and sites of this episode: simulators of a task share one."""
    return stepper.model_of_episode() if isinstance(stepper, FastStep) else nullcontext()

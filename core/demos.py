"""A demonstration: an episode by an expert, of which the poses between keyframes matter, not the way from one to the next."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from numpy.typing import NDArray


class Demo(NamedTuple):
    """T frames, of which F have a whole observation: the first, those at keyframes, the last, and some in between."""

    task: str
    """``metaworld_vision:reach-v3``"""
    motion: Mapping[str, NDArray]
    """(T, ...) of every frame: ``gripper_pose`` (7,) float64, metres and quaternion xyzw; ``gripper_open`` () float32; where the simulator
    tells them ``joint_velocities`` and others"""
    frames: NDArray
    """(F,) int64, ascending: which frames have an observation"""
    observations: Mapping[str, NDArray]
    """(F, ...) the fields of ``TaskSpec.observation``"""
    keyframes: NDArray
    """(k,) int64, ascending: frames whose poses are worth going to, the last one too"""
    actions: NDArray | None = None
    """(k, A) float32, what leads to each keyframe where the pose that was reached does not say it: in contact one aims beyond"""
    success: bool = True
    """the simulator said so at the end"""
    info: Mapping[str, str] = MappingProxyType({})
    """where it comes from: versions of the simulator, seed, variation ..."""

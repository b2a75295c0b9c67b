"""Rotations as quaternions, Euler angles and bins, which actors outside of a cluster need too: see ``outpost.policies.rotations``."""

from outpost.policies.rotations import GIMBAL, euler, from_bins, product, quaternion, to_bins

__all__ = ["GIMBAL", "euler", "from_bins", "product", "quaternion", "to_bins"]

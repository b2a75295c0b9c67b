"""PEARL-C2F-ARM, corrected, on door-close, faucet-open and window-close from images and 5 demonstrations each, small network."""

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset() -> RunConfig:
    return _vision.three("pearl3-c2farm-small", "pearl-corrected")

"""Reptile-C2F-ARM on door-close, faucet-open and window-close from images and 5 demonstrations each, small network."""

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset() -> RunConfig:
    return _vision.three("reptile3-c2farm-small", "reptile")

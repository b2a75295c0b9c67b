"""C2F-ARM on Meta-World button-press-topdown-v3 from images and 5 demonstrations, small network: minutes on two cores."""

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset() -> RunConfig:
    return _vision.small("c2farm-button-small", "button-press-topdown")

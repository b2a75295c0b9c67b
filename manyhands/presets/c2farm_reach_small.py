"""C2F-ARM on Meta-World reach-v3 from images and 5 demonstrations, small network: minutes on two cores."""

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset() -> RunConfig:
    return _vision.small("c2farm-reach-small", "reach")

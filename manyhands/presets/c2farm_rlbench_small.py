"""C2F-ARM on RLBench reach_target (or --tasks rlbench:push_button) from images and 5 demonstrations, small network, on two cores."""

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset() -> RunConfig:
    return _vision.small_rlbench("c2farm-rlbench-small", "rlbench:reach_target")

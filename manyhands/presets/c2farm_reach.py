"""C2F-ARM on Meta-World reach-v3 as published: two depths of 16 voxels, 64 channels, 128 rows, a step of training per keyframe."""

from dataclasses import replace

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset(name: str = "c2farm-reach", *, parity: bool = False) -> RunConfig:
    config = _vision.small(name, "reach", head_start=0, steps=5000)
    algo, evaluation = replace(_vision.FULL, batch_size=128, parity=parity), replace(config.evaluation, every_steps=500)
    return replace(config, algo=algo, evaluation=evaluation, replay=replace(config.replay, min_size=100))

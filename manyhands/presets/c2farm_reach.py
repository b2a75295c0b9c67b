"""C2F-ARM on Meta-World reach-v3 as published: two depths of 16 voxels, 64 channels, 128 rows, a step of training per keyframe."""

from dataclasses import replace

from manyhands.config import RunConfig
from manyhands.presets import _vision


def preset() -> RunConfig:
    config = _vision.small("c2farm-reach", "reach", head_start=0, steps=5000)
    evaluation = replace(config.evaluation, every_steps=500)
    return replace(config, algo=replace(_vision.FULL, batch_size=128), evaluation=evaluation, replay=replace(config.replay, min_size=100))

"""Reptile around SAC on the training tasks of ML10, goals hidden, small network: meta-learned, for `manyhands finetune --protocol ml10`."""

from dataclasses import replace
from typing import Any

from algos.reptile import Config as ReptileConfig
from manyhands.config import RunConfig
from manyhands.presets import _multi_task_sac

INNER_UPDATES = 10


def preset() -> RunConfig:
    """As ml10-mtsac-small, with as many updates, each on 128 transitions of one task; not measured."""
    config = _multi_task_sac.small("ml10-reptile-small", "ml10", multi_head=False, total_steps=1_000_000)
    settings: Any = config.algo
    iterations = int(config.total_steps * config.replay.updates_per_step) // INNER_UPDATES
    algo = ReptileConfig(settings=replace(settings, batch_size=128), inner_updates=INNER_UPDATES, meta_iterations=iterations)
    return replace(config, algorithm="reptile", algo=algo)

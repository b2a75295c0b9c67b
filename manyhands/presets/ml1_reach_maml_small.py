"""MAML on ML1 reach, Meta-World v3 but for episodes of 200 steps, with a small network: a quarter of an hour on two cores."""

from dataclasses import replace
from typing import Any

from manyhands.config import RunConfig
from manyhands.presets._on_policy import small_network


def preset() -> RunConfig:
    """By our own measurement, bench/results/ml1_reach_maml_small.md. Four times the usual budget, PPO outside as the paper has it."""
    config: Any = small_network("ml1-reach-maml-small", "ml1-reach", "maml", (100, 100))
    return replace(
        config,
        simulator=replace(config.simulator, horizon=200),
        algo=replace(config.algo, outer="ppo"),
        total_steps=8_000_000,
        evaluation=replace(config.evaluation, every_steps=400_000, episodes=20),
    )

"""RL2 on ML1 reach, Meta-World v3 but for episodes of 200 steps, with a small network: half an hour on two cores."""

from dataclasses import replace
from typing import Any

from manyhands.config import RunConfig
from manyhands.presets._on_policy import small_network


def preset() -> RunConfig:
    """By our own measurement, bench/results/ml1_reach_rl2_small.md. A trial is 2,000 steps, learned from in pieces of 200."""
    config: Any = small_network("ml1-reach-rl2-small", "ml1-reach", "rl2", (128,))
    return replace(
        config,
        simulator=replace(config.simulator, horizon=200),
        algo=replace(config.algo, lr=1e-3, epochs=5, minibatches=4, chunk=200, burn_in=0),
        total_steps=4_000_000,
        actors=replace(config.actors, simulators=20),
        evaluation=replace(config.evaluation, every_steps=400_000, episodes=20),
    )

"""PEARL on ML1 reach, Meta-World v3 but for episodes of 200 steps, with small networks: half an hour on two cores."""

from dataclasses import replace
from typing import Any

from manyhands.config import RunConfig
from manyhands.presets._meta_world import find


def preset() -> RunConfig:
    """By our own measurement, bench/results/ml1_reach_pearl_small.md."""
    config: Any = find("ml1-reach-pearl")
    horizon, K, sizes = 200, len(config.tasks), {"hidden": (128, 128, 128), "encoder_hidden": (64, 64, 64), "latent_dim": 5}
    rates = {"policy_lr": 1e-3, "critic_lr": 1e-3, "encoder_lr": 1e-3, "tau": 0.01, "gamma": 0.9, "kl_weight": 0.1}
    entropy = {"reward_scale": 1.0, "initial_alpha": 0.05}
    return replace(
        config,
        preset="ml1-reach-pearl-small",
        simulator=replace(config.simulator, horizon=horizon),
        algo=replace(config.algo, **sizes, **rates, **entropy, meta_batch=10, batch_size=128, recent=2 * horizon),
        total_steps=300_000,
        replay=replace(config.replay, capacity=10_000, updates_per_step=0.1, min_size=2 * horizon * K, max_lead_steps=100 * K),
        learner=replace(config.learner, threads=1),
        evaluation=replace(config.evaluation, every_steps=30_000),
    )

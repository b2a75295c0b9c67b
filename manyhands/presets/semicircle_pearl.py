"""PEARL on the dense semicircle: finds hidden goals within a few episodes, after minutes on one core; 40 goals to train on, 20 to test."""

from functools import partial

from actors.worker import Config as ActorConfig
from algos.pearl import Config as PearlConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import EvaluationConfig, ReplayConfig, RunConfig
from simulators.semicircle import Options


def preset() -> RunConfig:
    """By our own measurement, bench/results/semicircle_pearl.md."""
    sized = partial(PearlConfig, hidden=(64, 64, 64), encoder_hidden=(64, 64, 64), latent_dim=5, meta_batch=10, batch_size=64)
    return RunConfig(
        preset="semicircle-pearl",
        tasks=tuple(f"semicircle:dense@{goal}" for goal in range(40)),
        simulator=Options(),
        algorithm="pearl",
        algo=sized(kl_weight=0.1, gamma=0.9, tau=0.01, policy_lr=1e-3, critic_lr=1e-3, encoder_lr=1e-3),
        total_steps=60_000,
        actors=ActorConfig(actors=1, simulators=1, chunk=20, random_steps=0),
        replay=ReplayConfig(capacity=10_000, updates_per_step=0.1, min_size=3200, max_lead_steps=1600),
        learner=LearnerConfig(threads=1),
        evaluation=EvaluationConfig(every_steps=10_000, episodes=1, adaptation=5),
    )

"""SAC learns: Pendulum swings up within 10,000 env steps, through the real run."""

import dataclasses

import numpy as np
import pytest

from actors.worker import Config as ActorConfig
from algos.sac import Config as SacConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import EvaluationConfig, ReplayConfig, RunConfig
from simulators.gym import Options
from tests.system.tiny import evaluations, run_through

GOOD = -200
"""A policy that swings up and balances has -100 to -200 over 200 steps; one that does not, -800 to -1600."""
CONFIG = RunConfig(
    preset="pendulum",
    tasks=("gym:Pendulum-v1",),
    simulator=Options(horizon=200),
    algo=SacConfig(hidden=(128, 128), batch_size=128, policy_lr=1e-3, critic_lr=1e-3, alpha_lr=1e-3),
    total_steps=10_000,
    actors=ActorConfig(actors=1, simulators=4, chunk=20, random_steps=1000),
    replay=ReplayConfig(capacity=20_000, updates_per_step=1.0, min_size=1000, max_lead_steps=200),
    learner=LearnerConfig(threads=1),
    evaluation=EvaluationConfig(every_steps=2500, episodes=10),
)


@pytest.mark.learning
@pytest.mark.timeout(1800)
def test_pendulum_swings_up(tmp_path):
    pytest.importorskip("gymnasium")
    best = []
    for seed in range(3):
        folder = run_through(dataclasses.replace(CONFIG, seed=seed).check(), tmp_path)
        returns = {row["step"]: row["eval/return"] for row in evaluations(folder)}
        print(f"seed {seed}: {returns}")  # noqa: T201 - run by hand, with -s
        best.append(max(returns.values()))
    assert np.median(best) >= GOOD, best

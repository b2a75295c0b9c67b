"""SAC on Meta-World reach-v3 with a fresh goal in every episode: the demo, about a minute on two cores."""

from actors.worker import Config as ActorConfig
from algos.sac import Config as SacConfig
from manyhands.config import CheckpointConfig, EvaluationConfig, ReplayConfig, RunConfig
from simulators.metaworld import Options


def preset() -> RunConfig:
    return RunConfig(
        preset="reach-sac",
        tasks=("metaworld:reach-v3",),
        simulator=Options(goals=0, horizon=500),
        algo=SacConfig(gamma=0.9, n_step=3, policy_lr=1e-3, critic_lr=1e-3, alpha_lr=1e-3, tau=0.01, initial_alpha=0.2, normalize_obs=True),
        total_steps=400_000,
        actors=ActorConfig(actors=2, simulators=16, chunk=25, random_steps=8000),
        replay=ReplayConfig(updates_per_step=1 / 16, min_size=8000, max_lead_steps=4000),
        evaluation=EvaluationConfig(every_steps=16_000, episodes=20, horizon=500, target_success=0.95),
        checkpoint=CheckpointConfig(every_s=5),
    )

"""C2F-ARM on drawn blocks, from 5 demonstrations: be at the red ball. Needs no physics and no GL; minutes on two cores."""

from actors.worker import Config as ActorConfig
from algos.c2farm import Config as C2farmConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import CheckpointConfig, DemosConfig, EvaluationConfig, ReplayConfig, RunConfig
from simulators.blocks import Options


def preset() -> RunConfig:
    return RunConfig(
        preset="blocks-c2farm",
        tasks=("blocks:touch",),
        simulator=Options(size=64, rotation=False),
        algorithm="c2farm",
        algo=C2farmConfig(channels=16, batch_size=16),
        total_steps=300,
        actors=ActorConfig(actors=1, simulators=1, chunk=0, random_steps=0),
        replay=ReplayConfig(capacity=5000, updates_per_step=1, min_size=0, max_lead_steps=0, head_start=50),
        demos=DemosConfig(count=5),
        learner=LearnerConfig(compile="eager"),
        evaluation=EvaluationConfig(every_steps=50, episodes=20, simulators=4, target_success=0.95),
        checkpoint=CheckpointConfig(every_s=30),
    )

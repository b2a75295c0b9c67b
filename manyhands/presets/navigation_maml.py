"""MAML on 2-D point navigation, 20 steps: after ten episodes and one gradient step the point heads for an unseen goal; half a minute."""

from actors.worker import Config as ActorConfig
from algos.maml import Config as MamlConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import EvaluationConfig, RunConfig
from simulators.navigation import Options

EPISODES = 10
"""before the gradient step, and after it"""


def preset() -> RunConfig:
    return RunConfig(
        preset="navigation-maml",
        tasks=("navigation:point",),
        simulator=Options(horizon=20, repeat=2 * EPISODES),
        algorithm="maml",
        algo=MamlConfig(hidden=(32, 32), episodes=EPISODES, inner_lr=0.1, lr=3e-3),
        total_steps=400_000,
        actors=ActorConfig(actors=1, simulators=20, processes=1),
        learner=LearnerConfig(compile="eager"),
        evaluation=EvaluationConfig(every_steps=80_000, episodes=40, adaptation=EPISODES),
    )

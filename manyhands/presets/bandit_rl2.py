"""RL2 on Bernoulli bandits of 5 arms, 10 pulls: learns to explore in a minute on one core; the best possible return is 6.66."""

from actors.worker import Config as ActorConfig
from algos.rl2 import Config as Rl2Config
from learner.settings import Config as LearnerConfig
from manyhands.config import EvaluationConfig, RunConfig
from simulators.bandit import Options


def preset() -> RunConfig:
    return RunConfig(
        preset="bandit-rl2",
        tasks=("bandit:bernoulli",),
        simulator=Options(arms=5, horizon=10),
        algorithm="rl2",
        algo=Rl2Config(episodes=1, hidden=64, lr=3e-3, entropy=0.01, gae_lambda=0.3, epochs=5),
        total_steps=1_000_000,
        actors=ActorConfig(actors=1, simulators=512, processes=1),
        learner=LearnerConfig(compile="eager"),
        evaluation=EvaluationConfig(every_steps=200_000, episodes=1000, simulators=200),
    )

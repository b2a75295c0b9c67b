"""RL2 on Bernoulli bandits of 5 arms, 100 pulls, where exploring pays: ten minutes on one core; indices come to 78.3, greedy to 75.9."""

from actors.worker import Config as ActorConfig
from algos.rl2 import Config as Rl2Config
from learner.settings import Config as LearnerConfig
from manyhands.config import EvaluationConfig, RunConfig
from simulators.bandit import Options


def preset() -> RunConfig:
    return RunConfig(
        preset="bandit-rl2-100",
        tasks=("bandit:bernoulli",),
        simulator=Options(arms=5, horizon=100),
        algorithm="rl2",
        algo=Rl2Config(episodes=1, hidden=64, gamma=1.0, lr=4e-3, entropy=0.01, epochs=4, minibatches=2, memory_baseline=True),
        total_steps=20_000_000,
        actors=ActorConfig(actors=1, simulators=512, processes=1),
        learner=LearnerConfig(compile="eager"),
        evaluation=EvaluationConfig(every_steps=2_000_000, episodes=2000, simulators=200),
    )

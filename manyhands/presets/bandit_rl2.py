"""RL2 on Bernoulli bandits of 5 arms, 10 pulls: learns to explore in a minute or two on one core; the best possible return is 6.66."""

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
        algo=Rl2Config(episodes=1, hidden=64, gamma=1.0, lr=1e-2, entropy=0.03, epochs=4, minibatches=1),
        total_steps=1_000_000,
        actors=ActorConfig(actors=1, simulators=512, processes=1),
        learner=LearnerConfig(compile="eager"),
        evaluation=EvaluationConfig(every_steps=200_000, episodes=2000, simulators=200),
    )

"""PEARL on ML1, ML10 and ML45: appendix E.8 of the Meta-World paper, and Rakelly et al. 2019 for what it leaves open.

A meta-training task is one goal of one class, with a replay of its own: 50 goals of ML1, 20 of each class of ML10, 10 of each of ML45. The
paper's 22,500 env steps per 4,000 updates are one ratio here, held step by step; its KL weight of 0.1, which is of a sum over 16 tasks, is
1.6 of their mean.
"""

from actors.worker import Config as ActorConfig
from algos.pearl import Config as PearlConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import CheckpointConfig, EvaluationConfig, ReplayConfig, RunConfig
from manyhands.presets._on_policy import EPISODES, TOTAL, protocol_of
from simulators.metaworld import Options

GOALS = {"ml1": 50, "ml10": 20, "ml45": 10}
"""of each class"""


def preset(name: str, benchmark: str, method: str, setting: str) -> RunConfig:
    protocol, suite = protocol_of(benchmark, setting), benchmark.partition("-")[0]
    tasks = tuple(f"{task}@{goal}" for task in protocol.train_tasks for goal in range(GOALS[suite]))
    K, total, horizon = len(tasks), TOTAL[suite], protocol.horizon
    return RunConfig(
        preset=name,
        tasks=tasks,
        simulator=Options(**protocol.options("train")),
        algorithm="pearl",
        algo=PearlConfig(recent=2 * horizon),
        total_steps=total,
        actors=ActorConfig(actors=1, simulators=1, chunk=50, processes=0, random_steps=0),
        replay=ReplayConfig(capacity=1_000_000 // K, updates_per_step=4000 / 22_500, min_size=4 * horizon * K, max_lead_steps=100 * K),
        learner=LearnerConfig(eager_first=0),
        evaluation=EvaluationConfig(every_steps=total // 5, episodes=1, adaptation=EPISODES, simulators=1, processes=0),
        checkpoint=CheckpointConfig(every_s=300),
    )

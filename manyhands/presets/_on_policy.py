"""The on-policy methods of the Meta-World paper's Table 1 at full budget: appendix E.5 (MT-PPO), E.6 (MT-TRPO), E.7 (TE), E.9 (RL2) and
E.10 (MAML).

The setting 2019 has the paper's numbers, and ours where it gives none; v3 has those of current public runs on Meta-World 3. A batch is ten
episodes of each task, or of each goal of a meta-batch; a meta-batch has as many goals of each class, so that of ML45 has 45, not 20 or 40.
"""

from dataclasses import replace
from typing import Any

from actors.worker import Config as ActorConfig
from algos import maml, ppo, rl2, task_embedding, trpo
from learner.settings import Config as LearnerConfig
from manyhands.config import CheckpointConfig, EvaluationConfig, RunConfig
from protocols.metaworld import Protocol, find
from simulators.metaworld import Options

EPISODES = 10
"""of a task per round, or of a goal before and after each step of adaptation"""
TOTAL = {"mt10": 20_000_000, "mt50": 100_000_000, "ml1": 2_000_000, "ml10": 20_000_000, "ml45": 90_000_000}
META_BATCH = {"maml": 20, "rl2": 40}
ALGORITHM = {"mtppo": "ppo", "mttrpo": "trpo", "te": "task_embedding", "maml": "maml", "rl2": "rl2"}

PAPER = {
    "mtppo": ppo.Config(hidden=(64, 64), episodes=1, init_std=2.0, entropy=0.002),
    "mttrpo": trpo.Config(episodes=1, init_std=2.0, delta=0.01),
    "te": task_embedding.Config(episodes=1, latent=6, window=20, embedding_max_std=2.0, init_std=2.0),
    "maml": maml.Config(episodes=EPISODES, inner_lr=0.05, outer="ppo"),
    "rl2": rl2.Config(episodes=EPISODES, cell="lstm", init_std=2.0, lr=1e-3, seen_reward_scale=0.01),
}
CURRENT = {
    "mtppo": ppo.Config(hidden=(400, 400, 400), episodes=2, epochs=16, entropy=5e-3),
    "mttrpo": trpo.Config(hidden=(400, 400, 400), episodes=2),
    "te": task_embedding.Config(episodes=2),
    "maml": maml.Config(hidden=(512, 512), episodes=EPISODES, inner_lr=0.1, outer="trpo", gae_lambda=1.0),
    "rl2": rl2.Config(episodes=EPISODES, encoder=(256, 256), lr=5e-4, chunk=250, burn_in=50, minibatches=1, entropy=5e-3),
}
"""of the setting v3"""


def protocol_of(benchmark: str, setting: str) -> Protocol:
    """``ml1-reach`` is the protocol ``ml1-reach-v3``."""
    return find(f"{benchmark}-v3" if benchmark.startswith("ml1-") else benchmark, setting)


def preset(name: str, benchmark: str, method: str, setting: str) -> RunConfig:
    protocol, paper = protocol_of(benchmark, setting), setting == "2019"
    algo: Any = (PAPER if paper else CURRENT)[method]
    K, meta = len(protocol.train_tasks), method in META_BATCH
    simulators = max(1, META_BATCH[method] // K) if meta else EPISODES
    trial = algo.episodes * (1 + algo.inner_steps if method == "maml" else 1) if meta else 1
    options: dict[str, Any] = {**protocol.options("train"), "repeat": trial}
    total = TOTAL[benchmark.partition("-")[0]]
    evaluation = EvaluationConfig(every_steps=total // 10, episodes=protocol.test_goals, in_turn=True, simulators=5, processes=0)
    if meta:
        evaluation = EvaluationConfig(every_steps=total // 10, episodes=10, adaptation=EPISODES, simulators=5, processes=0)
    return RunConfig(
        preset=name,
        tasks=protocol.train_tasks,
        simulator=Options(**options),
        algorithm=ALGORITHM[method],
        algo=algo,
        total_steps=total,
        actors=ActorConfig(actors=1, simulators=simulators, processes=0),
        learner=LearnerConfig(compile="eager"),
        evaluation=evaluation,
        checkpoint=CheckpointConfig(every_s=300),
    )


def small_network(name: str, benchmark: str, method: str, hidden: tuple[int, ...]) -> RunConfig:
    """The setting v3 with a small policy, a declared reduction: all else, the budget too, is that of the full preset."""
    config: Any = preset(name, benchmark, method, "v3")
    evaluation = replace(config.evaluation, every_steps=config.total_steps // 20)
    algo: dict[str, Any] = {"encoder": hidden, "hidden": hidden[-1]} if method == "rl2" else {"hidden": hidden}
    return replace(config, algo=replace(config.algo, **algo), learner=replace(config.learner, threads=1), evaluation=evaluation)

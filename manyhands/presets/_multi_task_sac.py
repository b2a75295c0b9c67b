"""What the MT-SAC and MTMH-SAC presets share: the paper's tables, the settings of Meta-World's protocols, and the small budget.

Sources: Meta-World (Yu et al. 2019), appendix E.3 and E.4: 3 x 400 units, 128 transitions per task, K env steps per update, Adam 3e-4,
discount 0.99, uniform actions for 1000 steps (taken per task), a temperature per task. What the paper leaves open (Polyak factor, replay
size, clipping and Adam's epsilon of the setting v3) is as in current public multi-task SAC on Meta-World: 0.005, 1e5 transitions per
task, norm 1, 1e-5.
"""

from dataclasses import replace

from actors.worker import Config as ActorConfig
from algos.sac import Config as SacConfig
from learner.settings import Config as LearnerConfig
from manyhands.config import CheckpointConfig, EvaluationConfig, ReplayConfig, RunConfig
from protocols.metaworld import find
from simulators.metaworld import Options

SIMULATORS = 10
"""per task, so that one vector step pays for ten updates"""
CHUNK = 50
"""transitions; under Ray one call of the actor makes one of each simulator, and two calls may be ahead of the learner"""


def multi_task_sac(preset: str, suite: str, setting: str, *, multi_head: bool, total_steps: int) -> RunConfig:
    """The published settings at full budget."""
    protocol = find(suite, setting)
    K, paper, goals = len(protocol.train_tasks), setting == "2019", protocol.test_goals
    warm_up = (1000 if paper else 4000) * K
    algo = SacConfig(hidden=(400, 400, 400), batch_size=128, multi_head=multi_head)
    return RunConfig(
        preset=preset,
        tasks=protocol.train_tasks,
        simulator=Options(**protocol.options("train")),
        algo=algo if paper else replace(algo, max_grad_norm=1.0, adam_eps=1e-5),
        total_steps=total_steps,
        actors=ActorConfig(actors=1, simulators=SIMULATORS, chunk=CHUNK, processes=0, random_steps=warm_up),
        replay=ReplayConfig(capacity=105_000, updates_per_step=1 / K, min_size=warm_up, max_lead_steps=2 * CHUNK * SIMULATORS * K),
        learner=LearnerConfig(eager_first=0),
        evaluation=EvaluationConfig(every_steps=50_000 * K, episodes=goals, in_turn=True, simulators=5, processes=0),
        checkpoint=CheckpointConfig(every_s=300),
    )


def small(preset: str, suite: str, *, multi_head: bool, total_steps: int) -> RunConfig:
    """The setting v3 with the network, step sizes and returns of reach-sac: a declared reduction that learns within an hour on two cores.

    Numbers are our own measurements, see bench/results/mt10_small.md.
    """
    full = multi_task_sac(preset, suite, "v3", multi_head=multi_head, total_steps=total_steps)
    K = len(full.tasks)
    rates = {"policy_lr": 1e-3, "critic_lr": 1e-3, "alpha_lr": 1e-3, "tau": 0.01, "initial_alpha": 0.2}
    algo = SacConfig(
        **{"hidden": (256, 256), "gamma": 0.9, "n_step": 3, "normalize_obs": True, **rates, "batch_size": 32, "multi_head": multi_head}
    )
    return replace(
        full,
        algo=algo,
        actors=replace(full.actors, simulators=2, random_steps=1000 * K),
        replay=replace(full.replay, updates_per_step=1 / K, min_size=1000 * K, max_lead_steps=2 * CHUNK * 2 * K),
        evaluation=replace(full.evaluation, every_steps=20_000 * K, episodes=10),
        checkpoint=CheckpointConfig(every_s=60),
    )

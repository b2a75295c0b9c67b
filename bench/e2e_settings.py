"""What SB3 is told in ``bench/end_to_end.py``: everything is derived from the RunConfig that manyhands trains by, nothing is copied."""

import dataclasses
from fractions import Fraction
from typing import Any

from core.seeding import SeedTree
from manyhands.arguments import parse_train
from manyhands.config import RunConfig

CARRIED = (
    *("hidden", "batch_size", "gamma", "n_step", "tau", "policy_lr", "critic_lr", "alpha_lr"),
    *("initial_alpha", "target_entropy_scale", "reward_scale", "normalize_obs"),
)
"""settings of our SAC that SB3's has, too"""
SHIPPED = {
    "gamma": 0.99,
    "n_step": 1,
    "tau": 0.005,
    "policy_lr": 3e-4,
    "critic_lr": 3e-4,
    "alpha_lr": 3e-4,
    "initial_alpha": 1.0,
    "target_entropy_scale": 1.0,
    "reward_scale": 1.0,
    "normalize_obs": False,
}
"""SB3's defaults"""
MODES = {"varied": 0, "fixed": 1}
"""goals of the simulator: 0 is a fresh goal in every episode"""
NO_END = 10_000_000
"""env steps: a run ends by its success or by the time limit"""
EPISODES = 10
"""per evaluation, all of which must succeed"""
DIFFERENCES = (
    "SB3 halves the loss of the critics, which Adam cancels, and moves the temperature before the critics.",
    "SB3 normalises observations by statistics of all it has collected and clips them at 10; we by those of all batches drawn, unclipped.",
    "SB3 evaluates between two training steps, its own way; manyhands evaluates beside training.",
    "manyhands collects while it compiles (up to replay.max_lead_steps more): counted from the first update it begins with more data.",
    "SB3 acts at random and collects without updates for the same number of env steps (`learning_starts`).",
)


def train_arguments(preset: str, mode: str, seed: int, extra: list[str]) -> list[str]:
    """The command line of ``manyhands train`` but for the folder of the runs."""
    return [
        *(preset, "--seed", str(seed), "--simulator.goals", str(MODES[mode]), "--total-steps", str(NO_END)),
        *("--evaluation.episodes", str(EPISODES), "--evaluation.target-success", "1.0", *extra),
    ]


def run_config(preset: str, mode: str, seed: int, extra: list[str]) -> RunConfig:
    """What manyhands makes of that command line."""
    config = parse_train(train_arguments(preset, mode, seed, extra)).config
    if config.algorithm != "sac" or len(config.tasks) != 1:
        raise SystemExit(f"{preset} is {config.algorithm} on {len(config.tasks)} tasks; this bench compares SAC on one task")
    return config


def sb3_settings(config: RunConfig, *, shipped: bool = False) -> dict[str, Any]:
    """Plain data for ``e2e_sb3``. ``shipped``: only network, batch, update ratio and simulators are ours, all else is SB3's default."""
    algo: Any = config.algo
    vector = config.actors.actors * config.actors.simulators
    ratio = Fraction(config.replay.updates_per_step).limit_denominator(10_000) * vector  # updates per step of all simulators
    return {
        "task": config.tasks[0],
        "seed": config.seed,
        "simulators": simulator_seeds(config),
        "options": config.simulator_options,
        "evaluation": {
            "simulators": evaluation_seeds(config),
            "options": config.evaluation_options,
            "every_steps": config.evaluation.every_steps,
            "target": config.evaluation.target_success,
        },
        "train_freq": ratio.denominator,
        "gradient_steps": ratio.numerator,
        "buffer_size": config.replay.capacity,
        "learning_starts": 100 if shipped else max(config.replay.min_size, config.actors.random_steps),
        "algo": {name: getattr(algo, name) for name in CARRIED} | (SHIPPED if shipped else {}),
        "probe_steps": 0,
    }


def not_carried(config: RunConfig) -> list[str]:
    """Settings of ours that differ from their default and that SB3 is not told of, for the results."""
    default = type(config.algo)()
    missing = [f.name for f in dataclasses.fields(config.algo) if f.name not in CARRIED]  # type: ignore[arg-type]
    odd = [f"algo.{name} = {getattr(config.algo, name)}" for name in missing if getattr(config.algo, name) != getattr(default, name)]
    if config.actors.random_steps != config.replay.min_size:
        odd.append(f"actors.random_steps = {config.actors.random_steps}, replay.min_size = {config.replay.min_size}: SB3 has one number")
    return odd


def simulator_seeds(config: RunConfig) -> list[int]:
    """Those of ``manyhands.build.actor``: SB3 meets the same goals."""
    task = SeedTree(config.seed).child("task", 0)
    actors = [task.child("actor", i) for i in range(config.actors.actors)]
    return [actor.child("simulator", i).integer() for actor in actors for i in range(config.actors.simulators)]


def evaluation_seeds(config: RunConfig) -> list[int]:
    """Those of ``manyhands.build.evaluator``: the same ten goals for both sides, in every evaluation."""
    tree = SeedTree(config.seed).child("task", 0).child("evaluation")
    return [tree.child("simulator", i).integer() for i in range(config.evaluation.episodes)]

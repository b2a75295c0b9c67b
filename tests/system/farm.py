"""The smallest real run that sees: blocks of 16 pixels, two depths of 4 voxels, networks of 4 channels, a demonstration or two."""

import dataclasses
from pathlib import Path

import numpy as np

from actors.worker import Config as ActorConfig
from algos.c2farm import Config as C2farmConfig
from algos.lib.image_context import Config as InferredConfig
from manyhands.config import DemosConfig, EvaluationConfig, ReplayConfig, RunConfig
from simulators.blocks import Options
from tests.system.tiny import BASE, replayed

FARM = C2farmConfig(voxels=4, channels=4, batch_size=4, room=128, explore=0.3)
INFERRED = dataclasses.replace(FARM, inferred=InferredConfig(latent=2, context=2, recent=3, trial=2))
FARMED = dataclasses.replace(
    BASE,
    tasks=("blocks:touch",),
    simulator=Options(size=16, rotation=False, horizon=4),
    algorithm="c2farm",
    algo=FARM,
    total_steps=60,
    actors=ActorConfig(actors=1, simulators=2, chunk=0, random_steps=0),
    replay=ReplayConfig(capacity=500, updates_per_step=0.5, min_size=0, max_lead_steps=0, head_start=4),
    demos=DemosConfig(count=2),
    evaluation=EvaluationConfig(every_steps=0, episodes=2),
)
TWO = ("blocks:touch", "blocks:press")
EXACT = ("learner", "published", "actor-0", "fleet")


def farmed(**changes) -> RunConfig:
    """``farmed(total_steps=100, actors={"simulators": 3})``."""
    parts = {k: dataclasses.replace(getattr(FARMED, k), **v) if isinstance(v, dict) else v for k, v in changes.items()}
    return dataclasses.replace(FARMED, **parts).check()


def columns(folder: Path, step: int | None = None) -> dict[str, bytes]:
    """The rows of the first task by name: between columns of other widths there are bytes that mean nothing."""
    rows = replayed(folder, step)
    return {name: np.ascontiguousarray(rows[name]).tobytes() for name in rows.dtype.names or ()}

"""MT-PPO on MT10, Meta-World v3, with a small network: full budget, within two hours on a core."""

from manyhands.config import RunConfig
from manyhands.presets._on_policy import small_network


def preset() -> RunConfig:
    return small_network("mt10-mtppo-small", "mt10", "mtppo", (128, 128))

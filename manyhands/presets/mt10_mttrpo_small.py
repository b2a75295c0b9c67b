"""MT-TRPO on MT10, Meta-World v3, with a small network: full budget, within two hours on a core."""

from manyhands.config import RunConfig
from manyhands.presets._on_policy import small_network


def preset() -> RunConfig:
    return small_network("mt10-mttrpo-small", "mt10", "mttrpo", (128, 128))

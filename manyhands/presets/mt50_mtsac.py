"""MT-SAC on MT50, Meta-World v3: 50 goals per task, reward v2, 500 steps; a GPU's work."""

from manyhands.config import RunConfig
from manyhands.presets._multi_task_sac import multi_task_sac


def preset() -> RunConfig:
    return multi_task_sac("mt50-mtsac", "mt50", "v3", multi_head=False, total_steps=100_000_000)

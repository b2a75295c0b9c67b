"""MT-SAC on MT50, Meta-World v3, with a small network and 40,000 steps per task: within an hour on two cores."""

from manyhands.config import RunConfig
from manyhands.presets._multi_task_sac import small


def preset() -> RunConfig:
    return small("mt50-mtsac-small", "mt50", multi_head=False, total_steps=2_000_000)

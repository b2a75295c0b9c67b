"""MT-SAC on MT10, Meta-World v3, with a small network and 100,000 steps per task: within an hour on two cores."""

from manyhands.config import RunConfig
from manyhands.presets._multi_task_sac import small


def preset() -> RunConfig:
    return small("mt10-mtsac-small", "mt10", multi_head=False, total_steps=1_000_000)

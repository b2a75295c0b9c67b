"""MT-SAC on MT50 as the Meta-World paper has it (appendix E.3): fixed goals, reward v1, 150 steps; a GPU's work."""

from manyhands.config import RunConfig
from manyhands.presets._multi_task_sac import multi_task_sac


def preset() -> RunConfig:
    return multi_task_sac("mt50-mtsac-2019", "mt50", "2019", multi_head=False, total_steps=100_000_000)

"""MTMH-SAC on MT10 as the Meta-World paper has it (appendix E.4): fixed goals, reward v1, 150 steps; a GPU's work."""

from manyhands.config import RunConfig
from manyhands.presets._multi_task_sac import multi_task_sac


def preset() -> RunConfig:
    return multi_task_sac("mt10-mtmhsac-2019", "mt10", "2019", multi_head=True, total_steps=20_000_000)

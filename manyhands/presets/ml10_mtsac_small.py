"""MT-SAC on the training tasks of ML10, goals hidden, small network: what `manyhands finetune --protocol ml10` begins with."""

from manyhands.config import RunConfig
from manyhands.presets._multi_task_sac import small


def preset() -> RunConfig:
    """Numbers are those of mt10-mtsac-small; not measured on ML10."""
    return small("ml10-mtsac-small", "ml10", multi_head=False, total_steps=1_000_000)

"""What a Keeper is told, as JSON: which run it keeps, where that lies, and what part of a learner node it takes."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError
from manyhands.placement import RESERVE

FILE = "cluster.json"
"""in the run's folder, so that the run can be handed to a cluster again"""


@dataclass(frozen=True)
class Order:
    """Of one run."""

    run: str
    """id"""
    root: str
    """folder of the runs, on storage that every learner node has at the same path"""
    learner: float = 1.0
    """of the resource ``learner`` of a node"""
    gpus: float = 0.0
    """of a GPU, or whole ones"""

    @property
    def resources(self) -> dict[str, float]:
        """By ray's names."""
        return {"learner": self.learner, **({"GPU": self.gpus} if self.gpus else {})}

    @property
    def memory_fraction(self) -> float | None:
        """Of a GPU's memory; None where the learner has the GPU for itself."""
        return round((1 - RESERVE) * self.gpus, 4) if 0 < self.gpus < 1 else None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Order":
        data: dict[str, Any] = json.loads(text)
        return cls(**data)


def check_share(learner: float, gpus: float, device: str) -> None:
    """Raises ConfigError for a share that cannot be, or that does not go with ``learner.device``."""
    if learner <= 0:
        raise ConfigError(f"--share is {learner}; it must be more than 0: 1 is a learner node for itself, 0.25 a quarter of one")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ConfigError(f"--gpus is {gpus}. Allowed: 0, a share of one GPU such as 0.25, or whole ones: 1, 2 ...")
    if device.startswith("cuda:"):
        raise ConfigError(f"learner.device is {device}, but the cluster chooses the GPU; fix: --learner.device auto")
    if device == "cuda" and not gpus:
        raise ConfigError("learner.device is cuda but --gpus is 0; fix: --gpus 1, or a share such as --gpus 0.25")
    if device == "cpu" and gpus:
        raise ConfigError(f"learner.device is cpu but --gpus is {gpus}; fix: --gpus 0")

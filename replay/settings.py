"""Settings of replay: how much is kept, what it outlives, and how often it is learned from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core.errors import ConfigError
from core.limiter import SamplesPerInsert
from replay.memory import SHM

Level = Literal["off", "process", "host"]
LEVELS = get_args(Level)


@dataclass(frozen=True)
class Config:
    """What is kept, and how often it is learned from."""

    capacity: int = 200_000
    """rows per task"""
    updates_per_step: float = 1.0
    """learner updates per env step stored, held exactly"""
    min_size: int = 1000
    """transitions stored before the first update"""
    max_lead_steps: int = 2000
    """env steps that collection may run ahead of the updates they entitle to"""
    head_start: int = 0
    """updates before the first env step, from demonstrations alone"""
    spill: str = ""
    """folder of a disk that holds the rows, where memory does not suffice; empty: shared memory"""
    journal: Level = "process"
    """what rows that replay has acknowledged outlive, see docs/guarantees.md. off: actors and ingest; after the end of the run's driver or
    learner it goes on with those of its last checkpoint. process: the end of any process. host: that of the machine too, where its disk
    outlives it. Nothing to it where a run repeats itself bit by bit, or learns from rounds"""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ConfigError(f"replay.capacity is {self.capacity}; it must be at least 1 row")
        if self.journal not in LEVELS:
            raise ConfigError(f"replay.journal is {self.journal!r}; allowed: {', '.join(LEVELS)}")
        if self.spill and not self.folder.is_absolute():
            raise ConfigError(f"replay.spill is {self.spill!r}; components have other working directories: it must begin with /")
        SamplesPerInsert(self.updates_per_step, self.min_size, self.max_lead_steps, self.head_start)  # says what is wrong with the others

    @property
    def folder(self) -> Path:
        """Where the file of a run's ring lies."""
        return Path(self.spill or SHM)

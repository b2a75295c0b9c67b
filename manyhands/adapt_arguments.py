"""What ``manyhands adapt`` takes, as a dataclass that tyro reads. Beside ``arguments``."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.errors import ConfigError
from manyhands.arguments import ShowArguments


@dataclass(frozen=True)
class AdaptArguments(ShowArguments):
    """A run's policy adapts to goals, and is looked at after 0, 1, 2, 5, 10 episodes: success, and the gain over none."""

    protocol: str = ""
    """the test tasks and test goals of ml10, ml45 or ml1-TASK; without it goals of the run's own tasks, as in training: fresh, or those of
    a frozen set or named by the tasks, which it has trained on"""
    setting: Literal["v3", "2019"] | None = None
    """of the protocol, v3 by default; 2019: horizon 150, reward v1"""
    held_out: bool = False
    """the goals that the run's simulator keeps apart for tests, each in a trial of its own; for simulators with the option split"""
    episodes: int = 10
    """that it adapts in, with exploration, per goal"""
    look_episodes: int = 1
    """of each look, without exploration and without a trace; a simulator that repeats itself needs one"""
    goals: int | None = None
    """per task: the first so many of a protocol, all by default; of the run's own tasks 20 by default; trials of each goal held out, or
    named by a task, 1 by default"""
    which: Literal["last", "best"] = "last"
    """policy of the run's end, or of its best evaluation during training"""
    step: int | None = None
    """which checkpoint; the newest by default"""
    seed: int = 0
    """of fresh goals, which differ from those of training whatever it is, and of exploration"""
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """that step simulators side by side"""
    out: Path | None = None
    """every episode, one JSON object per line, beside the file in the run's folder"""

    def check(self) -> None:
        """Raises ConfigError where options do not go together or cannot be."""
        least_of = {"episodes": 1, "look_episodes": 1, "goals": 1, "seed": 0, "processes": 1}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}. Allowed: {least} and up")
        if self.setting and not self.protocol:
            raise ConfigError("--setting has no meaning here: it goes with --protocol")
        if self.held_out and self.protocol:
            raise ConfigError("--held-out has no meaning here: a protocol has test goals of its own")

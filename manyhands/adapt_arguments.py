"""What ``manyhands adapt`` takes, as a dataclass that tyro reads. Beside ``arguments``."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.errors import ConfigError
from manyhands.arguments import ShowArguments

Family = Literal["finetune", "reptile", "context"]
EPISODES, JUDGED = 10, 20
STEPS = (0, 100, 500, 2000)
GRADIENTS = ("steps", "jointly")
"""options of the methods that learn on"""
WITHOUT_GRADIENTS = ("look_episodes", "goals", "which", "step", "setting")
"""and those that mean nothing to them"""


@dataclass(frozen=True)
class AdaptArguments(ShowArguments):
    """A run's policy adapts to goals, and is looked at after 0, 1, 2, 5, 10 episodes: success, and the gain over none. Or to new tasks."""

    tasks: tuple[str, ...] = ()
    """new tasks of the run's simulator, also by the beginnings of their names, with a --method"""
    method: Family | None = None
    """how it adapts to new tasks. finetune: its networks learn on; reptile: the same for runs of reptile, from theta; context: no network
    changes, what it infers of the task does, for PEARL-C2F-ARM and PEARL"""
    demos: int = 0
    """demonstrations of each new task, collected by the simulator's expert where they are not there yet: learned from, or with context
    remembered from before the first episode"""
    steps: tuple[int, ...] | None = None
    """finetune, reptile: env steps on the new task at which it is judged, ascending, 0 100 500 2000 by default"""
    jointly: bool = False
    """finetune, reptile: it learns beside the tasks of its training, from their demonstrations too"""
    protocol: str = ""
    """the test tasks and test goals of ml10, ml45 or ml1-TASK; without it goals of the run's own tasks, as in training: fresh, or those of
    a frozen set or named by the tasks, which it has trained on"""
    setting: Literal["v3", "2019"] | None = None
    """of the protocol, v3 by default; 2019: horizon 150, reward v1"""
    held_out: bool = False
    """the goals that the run's simulator keeps apart for tests, each in a trial of its own; for simulators with the option split. With
    --tasks the first so many of each as there are trials, or with finetune and reptile episodes"""
    episodes: int | None = None
    """that it adapts in, with exploration, per goal, 10 by default; with finetune and reptile those of each judgement, 20 by default"""
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
        least_of = {"episodes": 1, "look_episodes": 1, "goals": 1, "seed": 0, "processes": 1, "demos": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}. Allowed: {least} and up")
        if self.setting and not self.protocol:
            raise ConfigError("--setting has no meaning here: it goes with --protocol")
        if self.held_out and self.protocol:
            raise ConfigError("--held-out has no meaning here: a protocol has test goals of its own")
        self._check_new_tasks()

    def _check_new_tasks(self) -> None:
        if not self.tasks:
            given = [name for name in ("method", "demos", *GRADIENTS) if getattr(self, name)]
            if given:
                raise ConfigError(f"--{given[0]} has no meaning here: it goes with --tasks")
            return
        if self.protocol:
            raise ConfigError("--tasks and --protocol do not go together: a protocol has tasks of its own. Fix: leave one of them out")
        if self.method is None:
            raise ConfigError(
                "--tasks needs --method. Allowed: finetune, reptile (of a run of reptile), context (of PEARL-C2F-ARM or PEARL)"
            )
        wrong = GRADIENTS if self.method == "context" else WITHOUT_GRADIENTS
        for name in wrong:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                allowed = "finetune or reptile" if self.method == "context" else "context"
                raise ConfigError(f"--{name.replace('_', '-')} has no meaning with --method {self.method}: it goes with {allowed}")

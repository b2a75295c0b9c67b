"""What ``manyhands finetune`` takes, as a dataclass that tyro reads. Beside ``arguments``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import ConfigError
from manyhands.arguments import ShowArguments

Method = Literal["all", "actor", "last-layer", "policy", "scratch", "mixed"]
LEAST = {
    "episodes": 1,
    "adaptation": 0,
    "train_goals": 1,
    "critic_warm_up": 0,
    "processes": 1,
    "demos": 0,
    "head_start": 0,
    "min_size": 0,
    "batch_size": 1,
}


@dataclass(frozen=True)
class FinetuneArguments(ShowArguments):
    """Fine-tuning on new tasks: curves of success over env steps."""

    method: Method = "all"
    """all: everything is taken over and learns on; actor: critics stay as they are; last-layer: only output layers learn; policy: only the
    policy is taken over, critics begin anew; scratch: nothing is; mixed: as all, beside the run's own tasks. sac has all of
    them, pearl neither actor nor last-layer, the others, c2farm too, all, scratch and mixed"""
    protocol: str = ""
    """its test tasks, training on their training goals, judged on their test goals: ml10, ml45, mt1-TASK, ml1-TASK"""
    tasks: tuple[str, ...] = ()
    """which tasks; with --protocol some of its test tasks, without it any that the run's simulators have, also by the beginnings of their
    names"""
    demos: int = 0
    """c2farm: demonstrations of the new task, collected by the simulator's expert where they are not there yet; with mixed the run's own
    tasks have as many as they had"""
    head_start: int | None = None
    """c2farm: updates on the demonstrations before the first env step; as in the run by default, 0 where a task has no demonstrations"""
    min_size: int | None = None
    """env steps of each task before the first update; as in the run by default, but 100 where it began with demonstrations and a new
    task has none"""
    updates_per_step: float | None = None
    """of the whole run, off-policy; by default so many that each step of a task is learned from as often as in the run; of c2farm
    at most 1"""
    batch_size: int | None = None
    """rows of each task in an update, off-policy; by default as in the run; a task that c2farm learns by itself: those of all of the run's
    tasks, at most 60"""
    steps: tuple[int, ...] = (0, 5000, 50_000)
    """env steps on the task at which it is judged, ascending; the last ends it. On-policy the whole rounds that they have room for"""
    goals: int | None = None
    """of a protocol, per task: the first so many; all by default"""
    train_goals: int | None = None
    """of a run whose tasks are goals, as PEARL's: so many of each new task; by default as many as the run had of each"""
    adaptation: int | None = None
    """episodes that a policy which adapts has before it is judged, and it is judged without them too; by default as the protocol says, or
    as the run evaluates; 0: none"""
    episodes: int = 20
    """without a protocol: episodes of each judgement, or trials; where the run's tasks are goals, shared among them"""
    held_out: bool = False
    """without a protocol: judged on the first --episodes goals that the simulator keeps apart from training, in turn: metaworld_vision"""
    seeds: tuple[int, ...] = (0,)
    """of the new runs"""
    critic_warm_up: int | None = None
    """sac: updates at the start in which only critics learn, where they do and something is taken over; 1000 by default"""
    processes: int = 1
    """that judge a protocol's goals"""
    out: Path | None = None
    """every judged episode, one JSON object per line; also in the folders of the runs"""

    def check(self) -> None:
        """Raises ConfigError where options do not go together or cannot be."""
        if not self.steps or min(self.steps) < 0 or list(self.steps) != sorted(set(self.steps)) or self.steps[-1] == 0:
            raise ConfigError(f"--steps is {' '.join(map(str, self.steps))}; write ascending env steps, the last above 0: 0 5000 50000")
        if not self.protocol and not self.tasks:
            raise ConfigError("finetune needs --protocol ml10, or --tasks metaworld:drawer-open-v3 ...")
        if self.goals is not None and not self.protocol:
            raise ConfigError("--goals has no meaning here: it goes with --protocol")
        if self.held_out and self.protocol:
            raise ConfigError("--held-out has no meaning here: a protocol has test goals of its own")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"--seeds is {' '.join(map(str, self.seeds))}; write each seed once, from 0 on")
        for name, least in LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}. Allowed: {least} and up")

    @property
    def first_steps(self) -> int:
        """Of the first judgement after training has begun."""
        return next(steps for steps in self.steps if steps)

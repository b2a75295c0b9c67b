"""Meta-World as a simulator: ``metaworld:reach-v3``. Physics of the package, goals frozen here, a step many times faster than stock's.

The fast step has the bits of stock's (``native/``, held to it by tests); a task or machine that cannot have it is stepped by stock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.contracts import BlockArrays
from core.errors import ConfigError
from simulators._options import impossible, validate
from simulators.metaworld.tasks import TASKS

STOCK_HORIZON = 500
"""env steps after which the stock environment refuses to go on"""
GOALS = 50
"""in a frozen split"""


@dataclass(frozen=True)
class Options:
    """What one can ask of a Meta-World task."""

    reward: Literal["dense", "sparse"] = "dense"
    """sparse: 1 where the success criterion holds, else 0"""
    reward_version: Literal["v1", "v2"] = "v2"
    """v1 is of the 2019 paper's kind, v2 lies in 0 to 10; results under one cannot be compared with the other's"""
    success_rule: Literal["of_reward", "v2"] = "of_reward"
    """of_reward: stock's, which judges by other quantities under v1, where two tasks can never succeed; v2: the same under both"""
    horizon: int = STOCK_HORIZON
    """env steps after which an episode is truncated; 150 in the 2019 paper"""
    goals: int = GOALS
    """the first so many of the frozen split: 1 is one fixed goal, 50 is Meta-World's, 0 is a fresh goal in every episode"""
    split: Literal["train", "test"] = "train"
    """which frozen goals"""
    order: Literal["drawn", "in_turn"] = "drawn"
    """drawn: an episode's goal is drawn from (seed, variation); in_turn: it is variation // repeat, modulo goals"""
    repeat: int = 1
    """episodes in a row that share a goal: a trial of meta-RL"""
    hide_goal: bool = False
    """zeros in place of the goal, the last three numbers of ``obs``"""
    frames: Literal[1, 2] = 2
    """2 is stock's observation of 39 numbers, of which 18 are the previous frame; 1 leaves those out"""
    reset_every: int = 1
    """episodes between resets: those in between begin where the last one ended, with its goal"""
    step: Literal["auto", "fast", "stock"] = "auto"
    """auto takes the fast step where it can be had; both have the same bits"""

    def __post_init__(self) -> None:
        validate(self, "metaworld", horizon=1, goals=0, repeat=1, reset_every=1)
        if self.horizon > STOCK_HORIZON:
            raise impossible("metaworld", "horizon", self.horizon, f"1 to {STOCK_HORIZON}")
        if self.goals > GOALS:
            raise impossible("metaworld", "goals", self.goals, f"0 to {GOALS}")
        check_turns("metaworld", self.order, self.goals)


def check_turns(simulator: str, order: str, goals: int) -> None:
    """Raises ConfigError where goals are asked for in turn that are drawn anew."""
    if order == "in_turn" and not goals:
        raise ConfigError(f"option 'order' of simulator {simulator} is 'in_turn', but goals is 0: fresh goals have no turn. Set goals")


def tasks() -> tuple[str, ...]:
    """The 50 tasks."""
    return TASKS


def named_goals(options: Any) -> int:
    """How many goals can be named, as in ``reach-v3@7``: those of the split; none where each episode has a fresh one."""
    return options.goals


def make(task: str, seed: int, goal: int | None = None, **options: Any) -> Any:
    """One task; with ``goal`` every episode has that one of the split.

    Raises:
        MissingExtra: Meta-World is not installed.
        ConfigError: the fast step was asked for and cannot be had.
    """
    from simulators.metaworld.simulator import MetaWorld

    return MetaWorld(task, seed, Options(**options), goal)


def block(simulators: Sequence[Any], arrays: BlockArrays) -> Any:
    """Steps them all with one call; None where one of them has no fast step."""
    from simulators.metaworld.simulator import block

    return block(simulators, arrays)

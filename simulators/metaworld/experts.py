"""Meta-World's own scripted policies, one per task: a source of demonstrations, and the sanity row of every protocol.

They read the 39-number observation of the stock environment with the goal visible: where the goal is hidden they move towards the origin.
A scripted policy knows where it goes from the observation alone, so one may be used for any number of simulators.
"""

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import MissingExtra, unknown
from simulators.metaworld.tasks import TASKS

OBSERVED = 39
"""numbers that a scripted policy reads: 18 now, 18 one step ago, the goal"""
TOO_HIGH = "Constant(s) may be too high."
"""what Meta-World warns of in nearly every step; the clip below is the answer"""


def expert(task: str) -> Callable[[NDArray], NDArray[np.float32]]:
    """The scripted policy of a task: observation (39,), float32 or float64, to action (4,), float32 in [-1, 1].

    Raises:
        ConfigError: the task is unknown.
        MissingExtra: Meta-World is not installed.
    """
    return _clipped(_policy(task))


def waypoint(task: str) -> Callable[[NDArray], NDArray[np.float64]]:
    """Where the scripted policy of a task is going: observation (39,) to (3,) metres. It goes to the goal where it says nothing else.

    Raises:
        ConfigError: the task is unknown.
        MissingExtra: Meta-World is not installed.
    """
    policy = _policy(task)

    def target(obs: NDArray) -> NDArray[np.float64]:
        seen = np.array(obs, np.float64)
        return np.array(policy._desired_pos(policy._parse_obs(seen)) if hasattr(policy, "_desired_pos") else seen[-3:], np.float64)

    return target


def _policy(task: str) -> Any:
    if task not in TASKS:
        raise unknown("task of simulator metaworld", task, TASKS)
    try:
        from metaworld.policies import ENV_POLICY_MAP
    except ImportError as missing:
        raise MissingExtra(f"the scripted experts cannot be loaded ({missing}): pip install metaworld") from missing
    warnings.filterwarnings("ignore", message=re.escape(TOO_HIGH))
    return ENV_POLICY_MAP[task]()


def _clipped(policy: Any) -> Callable[[NDArray], NDArray[np.float32]]:
    def act(obs: NDArray) -> NDArray[np.float32]:
        if obs.shape != (OBSERVED,):
            raise ValueError(f"an expert reads an observation ({OBSERVED},), not {obs.shape}")
        # A copy: the policies of some tasks, doors among them, change what they are given.
        return np.clip(policy.get_action(np.array(obs, np.float64)), -1.0, 1.0, dtype=np.float32)

    return act

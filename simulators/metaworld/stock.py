"""Meta-World's own environment: where models, resets and random vectors come from, and the step where there is no faster one.

What an episode looks like is set by one random vector (where goal and object are), frozen here before a reset, which is what
Meta-World's ``set_task`` does; its ``reset(seed=...)`` does nothing. Stock's reset runs ``reset_model`` twice. That is kept: without
the first run 14 of the 50 tasks begin elsewhere, because they move the door or handle of the model only after the hand has been
brought home.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import MissingExtra, SimulatorError

BAD_NUMBERS = slice(4, 8)
"""MuJoCo's warning counters BADQPOS, BADQVEL, BADQACC, BADCTRL (``mujoco.mjtWarning``)"""
_COMPILED: dict[str, tuple[Any, Any]] = {}
"""XML file -> (model, data) as stock makes them; only ever copied"""


@dataclass(frozen=True)
class Stepping:
    """How a task is stepped: what both the stock environment and the fast step are told."""

    reward_version: str = "v2"
    success_version: str = "v2"
    """stock's is always the reward's"""
    hide_goal: bool = False
    sparse: bool = False
    """the reward is the success flag"""
    horizon: int = 500
    """env steps"""


def version() -> str:
    """Of Meta-World.

    Raises:
        MissingExtra: it is not installed.
    """
    from importlib import metadata

    try:
        return metadata.version("metaworld")
    except metadata.PackageNotFoundError as missing:
        raise MissingExtra("simulator metaworld needs its package: pip install metaworld") from missing


def environment(task: str, reward_version: str, *, hide_goal: bool, only: bool = False) -> Any:
    """The stock environment of a task, ready for ``begin``. ``only``: no other is made in this process, so nothing is kept for it."""
    version()
    try:
        from metaworld.env_dict import ENV_CLS_MAP
    except ImportError as missing:
        raise MissingExtra(f"simulator metaworld cannot be loaded ({missing}): pip install metaworld") from missing
    stock = ENV_CLS_MAP[task]
    quick = type(stock.__name__, (stock,), {"_initialize_simulation": _initialize_simulation})
    env = (stock if only else quick)(reward_function_version=reward_version)
    env._set_task_called = env.seeded_rand_vec = True
    env._partially_observable = hide_goal
    # Stock caches the bounds by which a step clips what it observes; those of a hidden goal would set a visible one to zero.
    env.__dict__.pop("sawyer_observation_space", None)
    return env


def begin(env: Any, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Resets to the episode of a random vector; returns its first observation (39,)."""
    env._freeze_rand_vec, env._last_rand_vec = True, vector.copy()
    return env.reset()[0]


def draw(env: Any, seed: int) -> NDArray[np.float64]:
    """The random vector that stock draws with this seed, after its own rejection of impossible ones."""
    env._freeze_rand_vec = False
    env.seed(seed)
    with hand_left_alone(env):
        env.reset_model()
    return env._last_rand_vec.copy()


@contextmanager
def hand_left_alone(env: Any) -> Iterator[None]:
    """Resets in here only draw: they leave out the 250 physics steps that bring the hand home, which no draw depends on."""
    env._reset_hand = partial(env._reset_hand, steps=0)
    try:
        yield
    finally:
        del env._reset_hand


def _initialize_simulation(env: Any) -> tuple[Any, Any]:
    """Stock's way to (model, data), but a task's XML is compiled once per process: that is most of the time of making a simulator."""
    if env.fullpath not in _COMPILED:
        _COMPILED[env.fullpath] = type(env).__mro__[1]._initialize_simulation(env)
    model, data = _COMPILED[env.fullpath]
    model = copy.copy(model)
    return model, type(data)(model)


class StockStep:
    """Steps the stock environment itself: for tasks, machines and tests without the fast step."""

    def __init__(self, task: str, how: Stepping) -> None:
        self.env = environment(task, how.reward_version, hide_goal=how.hide_goal)
        self.how, self.t = how, 0
        self.data = self.env.data

    def begin(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """See ``begin`` above."""
        self.t = 0
        self._last = begin(self.env, vector)
        self._check("reset")
        return self._last

    def go_on(self) -> NDArray[np.float64]:
        """Begins an episode where the last one ended."""
        self.t = self.env.curr_path_length = 0
        return self._last

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool]:
        """Observation (39,), reward, success, truncated.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        obs, reward, _, _, info = self.env.step(action)
        self._last = obs
        self.t += 1
        self._check(f"step {self.t}")
        success = bool(info["success"])
        if self.how.success_version != self.how.reward_version:
            success = self._judged(action)
        return obs, float(success) if self.how.sparse else float(reward), success, self.t >= self.how.horizon

    def draw(self, seed: int) -> NDArray[np.float64]:
        """See ``draw`` above."""
        return draw(self.env, seed)

    def close(self) -> None:
        self.env.close()

    def _judged(self, action: NDArray[np.float32]) -> bool:
        """Success by the rule of the other reward version, at the observation just made."""
        self.env.reward_function_version = self.how.success_version
        _, info = self.env.evaluate_state(self.env._last_stable_obs, action)
        self.env.reward_function_version = self.how.reward_version
        return bool(info["success"])

    def _check(self, when: str) -> None:
        """MuJoCo answers unstable physics with a silent reset and a count; stock's ``_did_see_sim_exception`` is never set."""
        if self.data.warning.number[BAD_NUMBERS].any():
            raise SimulatorError(f"the physics became unstable at {when}", retryable=True)

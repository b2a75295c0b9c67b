"""Any Gymnasium environment with a bounded continuous action as a simulator: ``gym:Pendulum-v1``."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, MissingExtra
from core.types import Field, Observation, Step, TaskSpec
from simulators._options import validate


@dataclass(frozen=True)
class Options:
    """What one can ask of a Gymnasium environment."""

    horizon: int = 0
    """env steps after which an episode is truncated; 0: what the environment is registered with"""

    def __post_init__(self) -> None:
        validate(self, "gym", horizon=0)


def tasks() -> tuple[str, ...]:
    """Empty: the ids are known to Gymnasium and its plugins only; an unknown one is found out when it is made."""
    return ()


def make(task: str, seed: int, **options: Any) -> "Gym":
    """The environment with id ``task``.

    Raises:
        ConfigError: no such id, no bounded continuous action, no time limit.
        MissingExtra: gymnasium, or a package this environment needs, is not installed.
    """
    return Gym(task, seed, Options(**options))


class Gym:
    """One Gymnasium environment, its time limit replaced by our own. obs (O,): its observation, flattened to float32."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        gymnasium, registered = _registered(task)
        self.seed, self.t = seed, 0
        self.horizon = options.horizon or (registered.max_episode_steps or 0)
        if not self.horizon:
            raise ConfigError(f"gym:{task} has no time limit of its own. Give it one: horizon=<env steps>")
        self.spaces = gymnasium.spaces.utils
        self.env: Any = _open(task, gymnasium)
        low, high = _bounds(task, self.env.action_space, gymnasium.spaces.Box)
        self.middle, self.half = (high + low) / 2, (high - low) / 2
        fields = (Field("obs", (self.spaces.flatdim(self.env.observation_space),)),)
        labels = (("simulator", "gym"), ("gymnasium", gymnasium.__version__), ("horizon", str(self.horizon)))
        self.spec = TaskSpec(f"gym:{task}", fields, len(low), self.horizon, labels)

    def reset(self, variation: int) -> Observation:
        """Seeds the environment from (seed, variation): every episode can be made again alone."""
        self.t = 0
        seed = np.random.SeedSequence([self.seed, variation]).generate_state(1)[0] >> 1
        obs, _ = self.env.reset(seed=int(seed))
        return self._flat(obs)

    def step(self, action: NDArray[np.float32]) -> Step:
        """One env step; the action is scaled from [-1, 1] to the environment's bounds."""
        self.t += 1
        space = self.env.action_space
        obs, reward, terminated, truncated, info = self.env.step(
            (self.middle + self.half * action).astype(space.dtype).reshape(space.shape)
        )
        truncated = not terminated and (bool(truncated) or self.t >= self.horizon)
        return Step(self._flat(obs), float(reward), bool(terminated), truncated, bool(info.get("success", False)))

    def close(self) -> None:
        """Closes the environment once."""
        if self.env is not None:
            self.env.close()
        self.env = None

    def _flat(self, obs: Any) -> Observation:
        return {"obs": np.array(self.spaces.flatten(self.env.observation_space, obs), np.float32)}


def _registered(task: str) -> tuple[Any, Any]:
    """Gymnasium, and what it knows of an id."""
    try:
        import gymnasium
    except ImportError as missing:
        raise MissingExtra("simulator gym needs gymnasium: pip install 'manyhands[gym]'") from missing
    try:
        return gymnasium, gymnasium.spec(task)
    except gymnasium.error.Error as wrong:
        raise ConfigError(f"gym:{task} is not an environment of this Gymnasium: {wrong}") from wrong


def _open(task: str, gymnasium: Any) -> Any:
    try:
        return gymnasium.make(task, max_episode_steps=-1, disable_env_checker=True)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as missing:
        raise MissingExtra(f"gym:{task} needs a package that is not installed: {missing}") from missing


def _bounds(task: str, space: Any, box: type) -> tuple[NDArray, NDArray]:
    """The flat lower and upper limits (A,) of the action."""
    if not isinstance(space, box) or not space.is_bounded():
        raise ConfigError(f"gym:{task} has the action space {space}. Allowed: a bounded continuous one (Box)")
    return space.low.ravel(), space.high.ravel()

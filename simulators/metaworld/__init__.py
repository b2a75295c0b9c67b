"""Meta-World as a simulator: ``metaworld:reach-v3``. The stock environment class, stepped without its Gymnasium wrappers.

What an episode looks like is set by one random vector (where goal and object are). Here it is drawn once per goal from our own seed
and then frozen, which is what Meta-World's ``set_task`` does; its ``reset(seed=...)`` does nothing. Stock's reset runs ``reset_model``
twice. That is kept: without the first run 14 of the 50 tasks begin elsewhere, because they move the door or handle of the model
only after the hand has been brought home.
"""

import copy
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import MissingExtra, SimulatorError
from core.types import Field, Observation, Step, TaskSpec
from simulators._options import impossible, validate
from simulators.metaworld.tasks import TASKS

STOCK_HORIZON = 500
"""env steps after which the stock environment refuses to go on"""
BAD_NUMBERS = slice(4, 8)
"""MuJoCo's warning counters BADQPOS, BADQVEL, BADQACC, BADCTRL (``mujoco.mjtWarning``)"""


@dataclass(frozen=True)
class Options:
    """What one can ask of a Meta-World task."""

    reward_version: Literal["v1", "v2"] = "v2"
    horizon: int = STOCK_HORIZON
    """env steps after which an episode is truncated"""
    goals: int = 50
    """size of the goal set: 1 is one fixed goal, 50 is Meta-World's, 0 is a fresh goal in every episode"""
    goal_seed: int = 0
    """which goal set; not the simulator's seed, so that all actors share the set"""
    hide_goal: bool = False
    """zeros in place of the goal, the last three numbers of ``obs``"""

    def __post_init__(self) -> None:
        validate(self, "metaworld", horizon=1, goals=0, goal_seed=0)
        if self.horizon > STOCK_HORIZON:
            raise impossible("metaworld", "horizon", self.horizon, f"1 to {STOCK_HORIZON}")


def tasks() -> tuple[str, ...]:
    """The 50 tasks."""
    return TASKS


def make(task: str, seed: int, **options: Any) -> "MetaWorld":
    """One task.

    Raises:
        MissingExtra: Meta-World is not installed.
    """
    return MetaWorld(task, seed, Options(**options))


class MetaWorld:
    """One Meta-World task. obs (39,): 18 numbers now, the same one step ago, goal (3,) in metres. action (4,): hand by 1 cm, gripper."""

    def __init__(self, task: str, seed: int, options: Options) -> None:
        self.task, self.seed, self.options, self.t = task, seed, options, 0
        self.env: Any
        self.env, version = _stock(task, options)
        self._unstable = self.env.data.warning.number[BAD_NUMBERS]
        self._vectors: dict[int, NDArray] = {}
        labels = {
            "simulator": "metaworld",
            "metaworld": version,
            "reward_version": options.reward_version,
            "horizon": str(options.horizon),
            "goals": str(options.goals),
            "goal_visible": str(not options.hide_goal).lower(),
        }
        unit = "metres, quaternions; gripper opening 0 to 1"
        self.spec = TaskSpec(f"metaworld:{task}", (Field("obs", (39,), unit=unit),), 4, options.horizon, tuple(labels.items()))

    def reset(self, variation: int) -> Observation:
        """Begins episode ``variation``: its goal is drawn from (seed, variation)."""
        self.t = 0
        vector = self._vector(variation)
        self.env._freeze_rand_vec, self.env._last_rand_vec = True, vector.copy()
        obs, _ = self.env.reset()
        self._check_stable()
        return {"obs": obs.astype(np.float32)}

    def step(self, action: NDArray[np.float32]) -> Step:
        """One env step of 12.5 ms. Meta-World never terminates.

        Raises:
            SimulatorError: retryable; the physics became unstable.
        """
        obs, reward, _, _, info = self.env.step(action)
        self.t += 1
        self._check_stable()
        return Step({"obs": obs.astype(np.float32)}, float(reward), False, self.t >= self.options.horizon, bool(info["success"]))

    def close(self) -> None:
        """Frees the model; a second call does nothing."""
        if self.env is not None:
            self.env.close()
        self.env = None

    def _vector(self, variation: int) -> NDArray[np.float64]:
        """The random vector of an episode; those of the goal set are drawn once and kept."""
        if self.options.goals == 0:
            return self._draw(1, self.seed, variation)
        index = int(np.random.default_rng([self.seed, variation]).integers(self.options.goals))
        if index not in self._vectors:
            self._vectors[index] = self._draw(0, self.options.goal_seed, index)
        return self._vectors[index]

    def _draw(self, *key: int) -> NDArray[np.float64]:
        """The vector stock draws with the seed of ``key``, after its own rejection of impossible ones."""
        seed = np.random.SeedSequence([zlib.crc32(self.task.encode()), *key]).generate_state(1)[0] >> 1
        self.env._freeze_rand_vec = False
        self.env.seed(int(seed))
        self.env.reset_model()
        return self.env._last_rand_vec.copy()

    def _check_stable(self) -> None:
        """MuJoCo answers unstable physics with a silent reset and a count; stock's ``_did_see_sim_exception`` is never set."""
        if self._unstable.any():
            raise SimulatorError(f"{self.spec.task}: the physics became unstable at step {self.t}", retryable=True)


_COMPILED: dict[str, tuple[Any, Any]] = {}
"""XML file -> (model, data) as stock makes them; only ever copied"""


def _initialize_simulation(env: Any) -> tuple[Any, Any]:
    """Stock's way to (model, data), but a task's XML is compiled once per process: that is most of the time of making a simulator."""
    if env.fullpath not in _COMPILED:
        _COMPILED[env.fullpath] = type(env).__mro__[1]._initialize_simulation(env)
    model, data = _COMPILED[env.fullpath]
    model = copy.copy(model)
    return model, type(data)(model)


def _stock(task: str, options: Options) -> tuple[Any, str]:
    """The stock environment, goal visible or hidden, and the version of Meta-World."""
    try:
        from importlib.metadata import version

        from metaworld.env_dict import ENV_CLS_MAP
    except ImportError as missing:
        raise MissingExtra(f"simulator metaworld cannot be loaded ({missing}): pip install metaworld") from missing
    stock = ENV_CLS_MAP[task]
    quick = type(stock.__name__, (stock,), {"_initialize_simulation": _initialize_simulation})
    env = quick(reward_function_version=options.reward_version)
    env._set_task_called = env.seeded_rand_vec = True
    env._partially_observable = options.hide_goal
    # Stock caches the bounds by which a step clips what it observes; those of a hidden goal would set a visible one to zero.
    env.__dict__.pop("sawyer_observation_space", None)
    return env, version("metaworld")

"""The fast step: the same physics, observation, reward and success as stock's, to the last bit, without its Python; resets by snapshot.

Where a reset leads to depends on the task and its random vector only, so it is simulated once (stock runs 500 physics steps and more) and
then copied. Simulators of one task in one process share the model, 21 MB; each puts its own body and site positions in before it steps.
"""

import ctypes
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.contracts import BlockArrays
from core.errors import SimulatorError
from simulators.metaworld import native, stock
from simulators.metaworld.stock import Stepping

_COMMON = ("_target_pos", "obj_init_pos", "init_tcp", "hand_init_pos")
"""the stock environment's attributes that come first in the constants of an episode, three numbers each"""
_KEPT = 512
"""snapshots kept per task, 5 kB each"""


class Snapshot(NamedTuple):
    """Where a reset led to."""

    state: NDArray[np.float64]
    """MuJoCo's integration state"""
    constants: NDArray[np.float64]
    """what the reward reads of the episode"""
    body_pos: NDArray[np.float64]
    site_pos: NDArray[np.float64]
    obs: NDArray[np.float64]
    """(39,)"""


@cache
def origin(task: str) -> "Origin":
    """One per task and process."""
    return Origin(task)


class Origin:
    """The stock environment that resets for all simulators of a task in this process."""

    def __init__(self, task: str) -> None:
        import mujoco

        self.mujoco, self.library = mujoco, native.library()
        self.index = native.task_index()[task]
        # Resets do not depend on the reward version, but one task remembers only under v1 what v1's reward reads.
        self.env = stock.environment(task, "v1", hide_goal=False, only=True)
        model = self.model = self.env.model
        self.pristine = model.body_pos.copy(), model.site_pos.copy()
        self.attributes = self.library.metaworld_attributes(self.index).decode().split()
        self.shared = self.library.metaworld_share(model._address)
        self.lock = Lock()
        """the model is shared and a step lets go of the interpreter: simulators of one task take turns"""
        self._snapshots: OrderedDict[bytes, Snapshot] = OrderedDict()

    def snapshot(self, vector: NDArray[np.float64]) -> Snapshot:
        """Where the reset with this random vector leads to."""
        key = vector.tobytes()
        with self.lock:
            if key not in self._snapshots:
                self._snapshots[key] = self._reset(vector)
            self._snapshots.move_to_end(key)
            if len(self._snapshots) > _KEPT:
                self._snapshots.popitem(last=False)
            return self._snapshots[key]

    def _reset(self, vector: NDArray[np.float64]) -> Snapshot:
        self._take_model()
        obs = stock.begin(self.env, vector)
        if self.env.data.warning.number[stock.BAD_NUMBERS].any():
            raise SimulatorError("the physics became unstable at reset", retryable=True)
        kind = self.mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(self.mujoco.mj_stateSize(self.model, kind))
        self.mujoco.mj_getState(self.model, self.env.data, state, kind)
        return Snapshot(state, self._constants(), self.model.body_pos.copy(), self.model.site_pos.copy(), obs)

    def draw(self, seed: int) -> NDArray[np.float64]:
        """See ``stock.draw``."""
        with self.lock:
            self._take_model()
            return stock.draw(self.env, seed)

    def _take_model(self) -> None:
        """The model as it was made, so that a reset never depends on the episode before; the simulators put theirs in again."""
        self.library.metaworld_disown(self.shared)
        self.model.body_pos[:], self.model.site_pos[:] = self.pristine

    def _constants(self) -> NDArray[np.float64]:
        """As in native/simulator.hpp; NaN where the environment has no such attribute, so that a mistake shows."""
        constants = np.full(3 * len(_COMMON) + native.MAX_EXTRAS, np.nan)
        for i, name in enumerate(_COMMON):
            value = getattr(self.env, name, None)
            if value is not None:
                constants[3 * i : 3 * i + 3] = value
        extras = [np.ravel(np.asarray(getattr(self.env, name), np.float64)) for name in self.attributes]
        if extras:
            flat = np.concatenate(extras)
            constants[3 * len(_COMMON) :][: len(flat)] = flat
        return constants

    def settings(self, how: Stepping) -> native.Settings:
        env, space = self.env, self.env.sawyer_observation_space
        versions = int(how.reward_version[1]), int(how.success_version[1])
        made = native.Settings(self.index, *versions, how.hide_goal, how.sparse, how.horizon, env.action_scale)
        for name, array in (("mocap_low", env.mocap_low), ("mocap_high", env.mocap_high), ("low", space.low), ("high", space.high)):
            getattr(made, name)[:] = array.tolist()
        return made


class FastStep:
    """One simulator with data of its own and the model of its ``Origin``. Same methods as ``stock.StockStep``."""

    def __init__(self, task: str, how: Stepping) -> None:
        self.origin, self.hide_goal = origin(task), how.hide_goal
        self.library = self.origin.library
        self.data = self.origin.mujoco.MjData(self.origin.model)
        self.handle = self.library.metaworld_make(self.origin.shared, self.data._address, self.origin.settings(how))
        if not self.handle:
            raise SimulatorError(self.library.metaworld_message().decode(), retryable=False)
        self._obs, self._result = np.empty(native.OBS), np.empty(3)
        self._to = self._obs.ctypes.data, self._result.ctypes.data
        self.snapshot: Snapshot | None = None
        """where the episode began; its arrays are read by the library"""

    def begin(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Begins the episode of a random vector; returns its first observation (39,)."""
        snapshot = self.origin.snapshot(vector)
        with self.origin.lock:
            self._open()
            self.library.metaworld_begin(self.handle, *(part.ctypes.data for part in snapshot))
            self.snapshot = snapshot
            return self._last()

    def go_on(self) -> NDArray[np.float64]:
        """Begins an episode where the last one ended."""
        with self.origin.lock:
            self._open(begun=True)
            self.library.metaworld_go_on(self.handle)
            return self._last()

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool]:
        """Observation (39,), reward, success, truncated.

        Raises:
            SimulatorError: retryable where the physics became unstable; not where stock itself would raise.
        """
        action = np.ascontiguousarray(action, np.float32)
        if action.shape != (4,):
            raise SimulatorError(f"an action of shape {action.shape}. Allowed: (4,)", retryable=False)
        with self.origin.lock:
            self._open(begun=True)
            fault = self.library.metaworld_step(self.handle, action.ctypes.data, *self._to)
            if fault:
                raise broken(fault)
            reward, success, truncated = self._result.tolist()
            return self._obs.copy(), reward, bool(success), bool(truncated)

    @contextmanager
    def model_of_episode(self) -> Iterator[None]:
        """Inside, the shared model has this episode's bodies and sites in it, and nobody steps: for who draws it."""
        origin, snapshot = self.origin, self.snapshot
        with origin.lock:
            self._open(begun=True)
            self.library.metaworld_disown(origin.shared)
            if snapshot is not None:
                origin.model.body_pos[:], origin.model.site_pos[:] = snapshot.body_pos, snapshot.site_pos
            yield

    def draw(self, seed: int) -> NDArray[np.float64]:
        """See ``stock.draw``."""
        return self.origin.draw(seed)

    def close(self) -> None:
        """Frees it; a second call does nothing."""
        if self.handle is not None:
            self.library.metaworld_free(self.handle)
        self.handle = self.snapshot = None

    def _last(self) -> NDArray[np.float64]:
        self.library.metaworld_last(self.handle, self._to[0])
        return self._obs.copy()

    def _open(self, *, begun: bool = False) -> None:
        if self.handle is None or (begun and self.snapshot is None):
            what = "closed" if self.handle is None else "stepped before its first reset"
            raise SimulatorError(f"the simulator was {what}", retryable=False)


class FastBlock:
    """Many simulators of one process stepped by one call, straight from and into the pool's shared memory; by one thread."""

    def __init__(self, steps: Sequence[FastStep], frames: int, arrays: BlockArrays) -> None:
        self.library = steps[0].library
        handles = (ctypes.c_void_p * len(steps))(*(step.handle for step in steps))
        observed = arrays.closing["obs"], arrays.obs["obs"]
        shared = arrays.action, *observed, arrays.reward, arrays.success, arrays.truncated, arrays.progress
        self._kept = steps, arrays, handles
        self._block = native.Block(len(steps), frames, handles, *(array.ctypes.data for array in shared), arrays.first_slot)
        self._fault = ctypes.c_int()
        self._call = ctypes.byref(self._block), ctypes.byref(self._fault)

    def step(self) -> bool:
        """One step of every simulator. Returns whether an episode ended.

        Raises:
            SimulatorError: as ``FastStep.step``, or an observation or reward is not finite.
        """
        ended = self.library.metaworld_step_block(*self._call)
        if self._fault.value:
            raise broken(self._fault.value)
        return ended > 0


def broken(fault: int) -> SimulatorError:
    """What a fault of the library means."""
    if fault == native.UNSTABLE:
        return SimulatorError("the physics became unstable", retryable=True)
    if fault == native.NOT_FINITE:
        return SimulatorError("an observation or reward is not finite", retryable=False)
    return SimulatorError(f"the reward is not defined here, as in stock: {native.library().metaworld_message().decode()}", retryable=False)

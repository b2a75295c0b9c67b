"""On-policy data from the ring: the whole episodes that one version of the weights has acted, of every simulator, in order.

Rows of any other version are never read: what is stale cannot be learned from.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from core.rows import REST, STEP, opening_rows, repeated
from core.types import Round, Rounds
from replay.ring import Ring
from replay.sampler import EmptyReplayError

BOOKKEEPING = ("action", "reward")


def rows_of_round(dtype: np.dtype, plan: Rounds, simulators: int, horizon: int) -> int:
    """Rows of a task that its round takes, and one phase more: parts of it may be played twice, after a loss."""
    return (plan.phases + 1) * simulators * plan.episodes * (opening_rows(dtype) + horizon + 1)


class _Found(NamedTuple):
    """Rows of one task and version: n of them."""

    place: NDArray[np.int64]
    """(n,) in the ring's rows of the task"""
    at: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    """simulator, episode and step, (n,) each"""


class RoundSource:
    """Reads rounds of a run; drawn from by nobody else, written between two reads only.

    Args:
        simulators: N of one task, of all actors together.
        per_actor: of them in one actor.
        horizon: T, longest episode.
        extra: names of the algorithm's own columns.
    """

    def __init__(self, ring: Ring, plan: Rounds, *, simulators: int, per_actor: int, horizon: int, extra: tuple[str, ...] = ()) -> None:
        self._ring, self._plan, self._extra = ring, plan, extra
        self._simulators, self._per_actor = simulators, per_actor
        dtype, K = ring.layout.dtype, ring.layout.tasks
        self._frame = repeated(dtype)
        self._lead = (plan.phases, K, simulators, plan.episodes, horizon)
        obs_dim = dtype["obs"].shape[0] + (self._frame + dtype[REST].shape[0] if self._frame else 0)
        self._columns = {"obs": np.zeros((*self._lead, obs_dim), np.float32), "valid": np.zeros(self._lead, np.float32)}
        self._columns |= {name: np.zeros((*self._lead, *dtype[name].shape), np.float32) for name in (*BOOKKEEPING, *extra)}

    def read(self, version: int) -> Round:
        """The round so far: its phases up to that of ``version``; zeros where later ones will be. Valid until the next call.

        Raises:
            EmptyReplayError: an episode of it is missing.
        """
        phase = version % self._plan.phases
        for column in self._columns.values():
            column.fill(0)
        for p in range(phase + 1):
            for k in range(self._ring.layout.tasks):
                self._fill(p, k, version - phase + p)
        tensors = {name: torch.from_numpy(column) for name, column in self._columns.items()}
        own = {name: tensors.pop(name) for name in self._extra}
        return Round(**tensors, extra=own)

    def _fill(self, phase: int, task: int, version: int) -> None:
        """Writes what one version acted in one task to its place in the round."""
        ring, found = self._ring, self._find(task, version)
        records, at = ring.rows[task][found.place], (phase, task, *found.at)
        for name in (*BOOKKEEPING, *self._extra):
            self._columns[name][at] = records[name]
        self._columns["valid"][at] = 1
        if F := self._frame:
            before = ring.rows[task][(found.place - 1) % ring.layout.capacity]
            self._columns["obs"][at] = np.concatenate([records["obs"], before["obs"], records[REST]], -1)
            assert records["obs"].shape[-1] == F
        else:
            self._columns["obs"][at] = records["obs"]

    def _find(self, task: int, version: int) -> _Found:
        """The newest E episodes of each simulator: where a part was played twice, its later attempt."""
        ring, E = self._ring, self._plan.episodes
        stop, capacity = int(ring.state().rows[task]), ring.layout.capacity
        place = np.arange(max(0, stop - capacity), stop) % capacity
        records = ring.rows[task]
        place = place[(ring.kinds[task][place] == STEP) & (records["version"][place] == version)]
        writer, slot = records["writer"][place].astype(np.int64), records["slot"][place]
        simulator = writer // ring.layout.tasks * self._per_actor + slot % self._per_actor
        t, number = records["t"][place].astype(np.int64), records["episode"][place]
        order = np.lexsort((t, number, simulator))
        place, simulator, t, number = place[order], simulator[order], t[order], number[order]
        first = np.ones(len(place), bool)
        first[1:] = (simulator[1:] != simulator[:-1]) | (number[1:] != number[:-1])
        count = np.bincount(simulator[first], minlength=self._simulators)
        if (count < E).any():
            lacking = int(count.argmin())
            raise EmptyReplayError(f"round of weights {version}: task {task}, simulator {lacking} has {count[lacking]} of {E} episodes")
        rank = np.cumsum(first) - 1 - np.repeat(np.cumsum(count) - count, np.bincount(simulator, minlength=self._simulators))
        episode = rank - (count - E)[simulator]
        newest = episode >= 0
        return _Found(place[newest], (simulator[newest], episode[newest], t[newest]))

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what is read depends on the ring and the version alone."""
        return {}

    def load_state_dict(self, state: object) -> None:
        """There is nothing to restore."""

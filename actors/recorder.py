"""Actor side: turns the steps of N simulators into chunks of replay rows, one open chunk and one open episode per simulator."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.rows import CLOSING, OPENING, REST, STEP, encoded_columns, opening_rows, repeated
from core.types import Chunk, Observation

EPISODES_PER_INCARNATION = 1_000_000
"""room in the numbering, so that a restarted actor never repeats an episode number of its predecessor"""


class Recorder:
    """Rows are written column by column for all simulators at once; a chunk is cut when it is full or its episode ends.

    The first chunk of an episode is shorter, by another length for every simulator: simulators in lockstep would else all send at the same
    step, and the learner would wait for data in between.

    Args:
        dtype: the row type of ``core.rows``.
        slots: N simulators.
        chunk: transitions per chunk; 0 sends whole episodes only.
        horizon: longest episode, env steps.
        tasks: (N,) of each simulator.
    """

    def __init__(
        self, dtype: np.dtype, *, slots: int, chunk: int, horizon: int, writer: int, incarnation: int, tasks: NDArray[np.int64]
    ) -> None:
        self.writer, self.incarnation, self.tasks = writer, incarnation, tasks
        self.length = min(chunk, horizon) if chunk > 0 else horizon
        self.frame, self.first = repeated(dtype), opening_rows(dtype)
        self.rows = np.zeros((slots, self.first + self.length + 1), dtype)
        self.rows["writer"] = writer
        self.rows["slot"] = np.arange(slots)[:, None]
        self.rows["kind"][:, : self.first] = OPENING
        self.columns = {name: self.rows[name] for name in dtype.names or ()}
        self.observed = ("obs", *encoded_columns(dtype))
        """columns of an observation: those that the simulators show, or ``obs`` and what the algorithm has made of the others"""
        self.lane = np.arange(slots)
        self.first_limit = np.maximum(1, self.length * (self.lane + 1) // slots) if chunk > 0 else np.full(slots, self.length)
        self.limit = self.first_limit.copy()
        self.filled = np.zeros(slots, np.int64)
        self.t = np.zeros(slots, np.int64)
        first = incarnation * EPISODES_PER_INCARNATION
        self.episode = np.arange(first, first + slots, dtype=np.int64)
        self.next_episode, self.sequence = first + slots, 0

    def begin(
        self, obs: Observation, action: NDArray[np.float32], version: int, extra: Mapping[str, NDArray] = MappingProxyType({})
    ) -> None:
        """The first half of a row: what was seen and done, and the algorithm's own columns. Leading axis N.

        Args:
            extra: what encodes the observation too, where an algorithm does that.
        """
        at = (self.lane, self.first + self.filled)
        self._observe(at, obs)
        if self.first and len(fresh := np.flatnonzero(self.filled == 0)):
            self.columns["obs"][fresh, 0] = obs["obs"][fresh, self.frame : 2 * self.frame]
        self.columns["action"][at] = action
        self.columns["version"][at] = version
        self.columns["episode"][at] = self.episode
        self.columns["t"][at] = self.t
        for name, value in extra.items():
            self.columns[name][at] = value

    def _observe(self, at: tuple[Any, Any], obs: Observation) -> None:
        """Writes to (slots, rows) ``at``, without the frame that the row before has."""
        for name in self.observed:
            if name in obs:
                self.columns[name][at] = obs[name][..., : self.frame] if self.frame and name == "obs" else obs[name]
        if self.frame:
            self.columns[REST][at] = obs["obs"][..., 2 * self.frame :]

    def end(self, reward: NDArray, terminated: NDArray, truncated: NDArray, success: NDArray) -> None:
        """The second half: what came of it."""
        at = (self.lane, self.first + self.filled)
        self.columns["reward"][at] = reward
        self.columns["terminated"][at] = terminated
        self.columns["truncated"][at] = truncated
        self.columns["success"][at] = success
        self.columns["kind"][at] = STEP
        self.filled += 1
        self.t += 1

    def full(self) -> NDArray[np.bool_]:
        """(N,) whose chunk has to be cut now."""
        return self.filled >= self.limit

    def cut(self, slot: int, closing: Observation) -> Chunk:
        """Closes the open chunk of one simulator with the observation (N, ...) after its last action; what that lacks is zeros."""
        stop = self.first + int(self.filled[slot])
        row = self.rows[slot, stop]
        for name in self.observed:
            row[name] = 0
        self._observe((slot, stop), {name: value[slot] for name, value in closing.items()})
        for name in ("action", "reward", "terminated", "truncated", "success"):
            row[name] = 0
        row["kind"] = CLOSING
        self._mark(row, self.t[slot], self.rows[slot, stop - 1])
        if self.first:
            self._mark(self.rows[slot, 0], self.rows["t"][slot, 1] - 1, self.rows[slot, 1])
        chunk = Chunk(self.writer, self.incarnation, self.sequence, int(self.tasks[slot]), self.rows[slot, : stop + 1].copy())
        self.sequence += 1
        self.filled[slot], self.limit[slot] = 0, self.length
        return chunk

    def _mark(self, row: Any, t: int, like: Any) -> None:
        """Says of an opening or closing row where it belongs."""
        row["t"], row["episode"], row["version"] = t, like["episode"], like["version"]

    def new_episode(self, slot: int) -> None:
        self.filled[slot] = self.t[slot] = 0
        self.limit[slot] = self.first_limit[slot]
        self.episode[slot] = self.next_episode
        self.next_episode += 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": np.frombuffer(self.rows.tobytes(), np.uint8).copy(),
            "filled": self.filled,
            "limit": self.limit,
            "t": self.t,
            "episode": self.episode,
            "next_episode": self.next_episode,
            "sequence": self.sequence,
            "incarnation": self.incarnation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows[...] = np.frombuffer(np.ascontiguousarray(state["rows"]).tobytes(), self.rows.dtype).reshape(self.rows.shape)
        for name in ("filled", "limit", "t", "episode"):
            getattr(self, name)[...] = state[name]
        self.next_episode, self.sequence, self.incarnation = state["next_episode"], state["sequence"], state["incarnation"]

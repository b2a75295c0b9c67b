"""Turns what one simulator does into chunks of replay rows, as ``actors.recorder`` does on the cluster, from a described row type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from outpost.wire import undescribe

STEP, CLOSING, OPENING = 0, 1, 3
"""values of the column ``kind``, see ``core.rows``"""
REST = "obs_rest"
_RESULTS = ("action", "reward", "terminated", "truncated", "success")


class Recorder:
    """The open chunk of one simulator.

    Args:
        rows: what the gateway says of them: ``row`` (their type), ``observed`` (columns of an observation), ``frame`` (numbers that the
            row before supplies), ``chunk`` (transitions; 0: whole episodes), ``horizon``.
        slot: its number among so many of this client; the first chunk of an episode is shorter, by another length for each.
    """

    def __init__(self, rows: Mapping[str, Any], writer: int, slot: int, slots: int) -> None:
        dtype, chunk, horizon = undescribe(rows["row"]), rows["chunk"], rows["horizon"]
        self.frame, self.observed = rows["frame"], tuple(rows["observed"])
        self.first = int(self.frame > 0)
        self.length = min(chunk, horizon) if chunk > 0 else horizon
        self.first_limit = max(1, self.length * (slot + 1) // slots) if chunk > 0 else self.length
        self.rows = np.zeros(self.first + self.length + 1, dtype)
        self.rows["writer"], self.rows["slot"] = writer, slot
        self.rows["kind"][: self.first] = OPENING
        self.new_episode(0)

    def new_episode(self, number: int) -> None:
        """What is in the open chunk is forgotten."""
        self.filled = self.t = 0
        self.limit, self.episode = self.first_limit, number

    def begin(self, obs: Mapping[str, Any], action: Any, version: int, columns: Mapping[str, Any]) -> None:
        """The first half of a row: what was seen and done, and the algorithm's own columns; nothing leads them."""
        row = self.rows[self.first + self.filled]
        self._observe(row, obs)
        if self.first and self.filled == 0:
            self.rows["obs"][0] = obs["obs"][self.frame : 2 * self.frame]
        row["action"], row["version"], row["episode"], row["t"] = action, version, self.episode, self.t
        for name, value in columns.items():
            row[name] = value

    def end(self, reward: float, terminated: bool, truncated: bool, success: bool) -> None:
        """The second half: what came of it."""
        row = self.rows[self.first + self.filled]
        row["reward"], row["terminated"], row["truncated"], row["success"], row["kind"] = reward, terminated, truncated, success, STEP
        self.filled += 1
        self.t += 1

    def full(self) -> bool:
        """Whether the chunk has to be cut now."""
        return self.filled >= self.limit

    def cut(self, closing: Mapping[str, Any]) -> np.ndarray:
        """The rows of the chunk, closed with the observation after its last action; what that lacks is zeros."""
        stop = self.first + self.filled
        row = self.rows[stop]
        for name in (*self.observed, *_RESULTS):
            row[name] = 0
        self._observe(row, closing)
        row["kind"] = CLOSING
        self._mark(row, self.t, self.rows[stop - 1])
        if self.first:
            self._mark(self.rows[0], int(self.rows["t"][1]) - 1, self.rows[1])
        self.filled, self.limit = 0, self.length
        return self.rows[: stop + 1].copy()

    def _observe(self, row: Any, obs: Mapping[str, Any]) -> None:
        """Without the frame that the row before has."""
        for name in self.observed:
            if name in obs:
                row[name] = obs[name][: self.frame] if self.frame and name == "obs" else obs[name]
        if self.frame:
            row[REST] = obs["obs"][2 * self.frame :]

    @staticmethod
    def _mark(row: Any, t: int, like: Any) -> None:
        row["t"], row["episode"], row["version"] = t, like["episode"], like["version"]

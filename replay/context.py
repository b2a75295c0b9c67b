"""What an algorithm that infers its task draws beside the batch: single transitions of each task, (observation, action, reward)."""

import numpy as np
import torch

from core.rows import encoded_columns, opening_rows, repeated
from core.types import Stream
from replay.layout import column
from replay.views import ColumnViews
from replay.windows import observation, observed_words


class Context:
    """Where in a batch's buffer the N = T * C transitions lie, and how they are read there.

    Args:
        tasks: T.
        at: word of the buffer at which they begin.
    """

    def __init__(self, dtype: np.dtype, tasks: int, plan: Stream, at: int) -> None:
        self._shape, self._at = (tasks, plan.context), at
        self._repeated, self._width = repeated(dtype), observed_words(dtype)
        self.rows = opening_rows(dtype) + 1
        """that the window of a transition spans"""
        before = opening_rows(dtype) * dtype.itemsize // 4
        encoded = encoded_columns(dtype)
        self._own = ColumnViews(dtype, (*encoded, "action", "reward") if encoded else (), before)
        self._words = {name: before + column(dtype, name)[1] // 4 for name in ("obs", "action", "reward")}
        self._row_words, self._action_dim = dtype.itemsize // 4, dtype["action"].shape[0]
        self.words = self._words["reward"] + 1
        """of one window: perhaps the row before, and the transition up to its reward"""
        self.size = tasks * plan.context * self.words
        """words of all"""

    def gathered(self, buffer: torch.Tensor) -> torch.Tensor:
        """(N, words of a window), a view of the buffer: where the gather writes."""
        return buffer[self._at : self._at + self.size].view(-1, self.words)

    def assemble(self, buffer: torch.Tensor) -> torch.Tensor:
        """(T, C, O + A + 1) from the buffer, or from a copy of it on any device."""
        windows = self.gathered(buffer).view(*self._shape, self.words)
        obs = observation(windows, self._words["obs"], self._width, self._repeated, self._row_words)
        action, reward = self._words["action"], self._words["reward"]
        return torch.cat([*obs, windows[..., action : action + self._action_dim], windows[..., reward : reward + 1]], -1)

    def columns(self, buffer: torch.Tensor) -> dict[str, torch.Tensor] | tuple[()]:
        """Name -> (T, C, ...): action, reward and what encodes the observation, where an algorithm does that."""
        return self._own.of(self.gathered(buffer).view(*self._shape, self.words))

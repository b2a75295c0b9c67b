"""From gathered windows to a batch: views of packed rows, and n-step returns where more than one env step is folded.

All of a batch lies in one flat buffer, so that a learner may copy that buffer to its device as one piece and view it there (``views``).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from core.rows import STEP
from core.types import Batch, Stream
from replay.layout import column


class Windows:
    """The reused buffer of N = K * B windows of n + 1 rows, and what is computed from it."""

    def __init__(self, dtype: np.dtype, tasks: int, plan: Stream, *, pin: bool) -> None:
        self._dtype, self._shape, self._plan = dtype, (tasks, plan.batch_size), plan
        self._obs_dim, self._action_dim = dtype["obs"].shape[0], dtype["action"].shape[0]
        N, n = tasks * plan.batch_size, plan.n_step
        self._row_words = dtype.itemsize // 4
        self.words = n * self._row_words + column(dtype, "action")[1] // 4
        """of one window: n rows, then the observation of the one that ends it"""
        self.buffer = torch.zeros(N * self.words + (N if n == 1 else N * (2 + self._obs_dim)), dtype=torch.float32, pin_memory=pin)
        """All words of a batch, float32: windows, bootstrap, and with n > 1 reward and next observation"""
        self.gathered = self.buffer[: N * self.words].view(N, self.words)
        """(N, words of a window): where the gather writes"""
        strides = (4 * self.words * plan.batch_size, 4 * self.words, dtype.itemsize)
        raw = self.buffer.numpy()
        self.records: NDArray = np.ndarray((*self._shape, n), dtype, raw.data, 0, strides)
        """(K, B, n) records"""
        item, at = column(dtype, "obs")
        self.observations: NDArray = np.ndarray((*self._shape, n + 1, *item.shape), item.base, raw.data, at, (*strides, 4))
        """(K, B, n + 1, O)"""
        self.batch = self.views(self.buffer)
        self._bootstrap = self.batch.bootstrap.numpy()
        self._terminated = self.records["terminated"][:, :, 0]
        self._bootstrap.fill(plan.gamma)
        self._plain = True
        if n > 1:
            self._reward, self._next_obs = self.batch.reward.numpy(), self.batch.next_obs.numpy()

    def views(self, buffer: torch.Tensor) -> Batch:
        """The batch within ``buffer`` or within a copy of it on any device. Only views: made once, they follow each draw."""
        K, B = self._shape
        n, words = self._plan.n_step, self.words
        end = K * B * words

        def part(name: str, width: int, at: int) -> torch.Tensor:
            word = at * self._row_words + column(self._dtype, name)[1] // 4
            return buffer.as_strided((K, B, width), (B * words, words, 1), word)

        def tail(width: int, at: int) -> torch.Tensor:
            return buffer.as_strided((K, B, width), (B * width, width, 1), end + at * K * B)

        obs, action = part("obs", self._obs_dim, 0), part("action", self._action_dim, 0)
        bootstrap = tail(1, 0).squeeze(-1)
        if n == 1:
            return Batch(obs, action, part("reward", 1, 0).squeeze(-1), part("obs", self._obs_dim, 1), bootstrap)
        return Batch(obs, action, tail(1, 1).squeeze(-1), tail(self._obs_dim, 2), bootstrap)

    def fold(self) -> Batch:
        """Fills what is not a view of the gathered rows."""
        if self._plan.n_step == 1:
            self._one_step()
        else:
            self._n_step()
        return self.batch

    def _one_step(self) -> None:
        """bootstrap = gamma * (1 - terminated); most batches of robot tasks hold no terminal row at all."""
        terminated = self._terminated
        if terminated.any():
            np.multiply(terminated, np.float32(-self._plan.gamma), out=self._bootstrap)
            self._bootstrap += np.float32(self._plan.gamma)
            self._plain = False
        elif not self._plain:
            self._bootstrap.fill(self._plan.gamma)
            self._plain = True

    def _n_step(self) -> None:
        """Folds rewards until the episode ends, the chunk closes or n steps are full.

        What lies behind a closing row belongs to something else and may even be written at this moment: it is selected away, never
        multiplied by zero.
        """
        n, gamma, rows = self._plan.n_step, self._plan.gamma, self.records
        stop = rows["terminated"] | rows["truncated"]
        stop[..., :-1] |= rows["kind"][..., 1:] != STEP  # the last one of a window needs no stop
        going = np.ones(self._shape, bool)
        steps = np.ones(self._shape, np.int64)
        terminated = rows["terminated"][..., 0].copy()
        self._reward[...] = rows["reward"][..., 0]
        for k in range(1, n):
            going &= ~stop[..., k - 1]
            gained = np.where(going, rows["reward"][..., k], np.float32(0))
            self._reward += np.float32(gamma**k) * gained
            terminated |= going & rows["terminated"][..., k]
            steps += going
        discounts = np.power(gamma, np.arange(n + 1)).astype(np.float32)
        np.multiply(discounts[steps], ~terminated, out=self._bootstrap)
        K, B = self._shape
        self._next_obs[...] = self.observations[np.arange(K)[:, None], np.arange(B), steps]

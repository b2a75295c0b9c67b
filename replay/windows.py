"""From gathered windows to a batch: views of packed rows, and n-step returns where more than one env step is folded.

All of a batch lies in one flat buffer, so that a learner may copy that buffer to its device as one piece and view it there (``views``).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from core.rows import STEP
from core.types import Batch, Stream


class Windows:
    """The reused buffer of N = K * B windows of n + 1 rows, and what is computed from it."""

    def __init__(self, dtype: np.dtype, tasks: int, plan: Stream, *, pin: bool) -> None:
        self._dtype, self._shape, self._plan = dtype, (tasks, plan.batch_size), plan
        self._obs_dim, self._action_dim = dtype["obs"].shape[0], dtype["action"].shape[0]
        self._row_words, N, n = dtype.itemsize // 4, tasks * plan.batch_size, plan.n_step
        extra = N if n == 1 else N * (2 + self._obs_dim)
        words = N * (n + 1) * self._row_words
        self.buffer = torch.zeros(words + extra, dtype=torch.float32, pin_memory=pin)
        """All words of a batch, float32: windows, bootstrap, and with n > 1 reward and next observation"""
        self.gathered = self.buffer[:words].view(N, (n + 1) * self._row_words)
        """(N, words of a window): where the gather writes"""
        self.records: NDArray = self.gathered.numpy().view(np.uint8).view(dtype).reshape(*self._shape, n + 1)
        """(K, B, n + 1) records"""
        self.batch = self.views(self.buffer)
        self._bootstrap = self.batch.bootstrap.numpy()
        self._terminated = self.records["terminated"]
        self._bootstrap.fill(plan.gamma)
        self._plain = True
        if n > 1:
            self._reward, self._next_obs = self.batch.reward.numpy(), self.batch.next_obs.numpy()

    def views(self, buffer: torch.Tensor) -> Batch:
        """The batch within ``buffer`` or within a copy of it on any device. Only views: made once, they follow each draw."""
        K, B = self._shape
        n, row = self._plan.n_step, self._row_words
        end = K * B * (n + 1) * row

        def column(name: str, width: int, at: int) -> torch.Tensor:
            word = at * row + self._dtype.fields[name][1] // 4
            window = (n + 1) * row
            return buffer.as_strided((K, B, width), (B * window, window, 1), word)

        def tail(width: int, at: int) -> torch.Tensor:
            return buffer.as_strided((K, B, width), (B * width, width, 1), end + at * K * B)

        obs, action = column("obs", self._obs_dim, 0), column("action", self._action_dim, 0)
        bootstrap = tail(1, 0).squeeze(-1)
        if n == 1:
            return Batch(obs, action, column("reward", 1, 0).squeeze(-1), column("obs", self._obs_dim, 1), bootstrap)
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
        terminated = self._terminated[:, :, 0]
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
        stop[..., :-1] |= rows["kind"][..., 1:] != STEP
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
        self._next_obs[...] = rows["obs"][np.arange(K)[:, None], np.arange(B), steps]

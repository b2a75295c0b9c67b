"""From gathered windows to a batch: views of packed rows, and n-step returns where more than one env step is folded.

All of a batch lies in one flat buffer, so that a learner may copy that buffer to its device as one piece and assemble it there.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from core.rows import REST, STEP, encoded_columns, extra_columns, opening_rows, repeated
from core.types import Batch, Stream
from replay.layout import column
from replay.views import ColumnViews


def rows_read(dtype: np.dtype, plan: Stream) -> int:
    """Consecutive rows that one draw reads, the ``window`` of a ring: n steps, the row that ends them, and the one before where needed."""
    return opening_rows(dtype) + plan.n_step + 1


class Windows:
    """The reused buffer of N = K * B windows, and what is computed from it. Positions in a window count from its first transition; the
    row before that, if any, is there for its frame only."""

    def __init__(self, dtype: np.dtype, tasks: int, plan: Stream, *, pin: bool, behind: int = 0) -> None:
        """
        Args:
            behind: words of the buffer that are kept free behind the windows, for what else a batch has.
        """
        self._dtype, self._shape, self._plan = dtype, (tasks, plan.batch_size), plan
        self._repeated, before = repeated(dtype), opening_rows(dtype)
        N, n = tasks * plan.batch_size, plan.n_step
        self._row_words = dtype.itemsize // 4
        self._first = before * self._row_words
        """word of a window at which its first transition begins"""
        self.words = self._first + n * self._row_words + column(dtype, "action")[1] // 4
        """of one window: n rows and perhaps one in front, then the observation of the one that ends it"""
        self.size = N * self.words + (N if n == 1 else 2 * N)
        """words of the windows, of bootstrap, and with n > 1 of reward"""
        self.buffer = torch.zeros(self.size + behind, dtype=torch.float32, pin_memory=pin)
        """All words of a batch, float32: these, then what is kept free"""
        self.gathered = self.buffer[: N * self.words].view(N, self.words)
        """(N, words of a window): where the gather writes"""
        strides = (4 * self.words * plan.batch_size, 4 * self.words, dtype.itemsize)
        raw = self.buffer.numpy()
        self.records: NDArray = np.ndarray((*self._shape, n), dtype, raw.data, 4 * self._first, strides)
        """(K, B, n) records"""
        at, self._width = column(dtype, "obs")[1], observed_words(dtype)
        self._words = {name: self._first + column(dtype, name)[1] // 4 for name in ("obs", "action", "reward")}
        """where in a window the first transition has them: plain numbers, for whoever traces ``assemble``"""
        self._action_dim = dtype["action"].shape[0]
        encoded = encoded_columns(dtype)
        self._here = ColumnViews(dtype, (*encoded, *extra_columns(dtype)), self._first)
        self._there = ColumnViews(dtype, encoded, self._first + n * self._row_words)
        self.observations: NDArray = np.ndarray((*self._shape, n + 1, self._width), "f4", raw.data, 4 * self._first + at, (*strides, 4))
        """(K, B, n + 1, O - F), as the rows have them"""
        self._observed: NDArray = np.ndarray(
            (*self._shape, n + 1, column(dtype, "action")[1] // 4), np.uint32, raw.data, 4 * self._first, (*strides, 4)
        )
        """(K, B, n + 1, words): all that stands for an observation, which is what lies in front of the action"""
        self._reward, bootstrap = self._tails(self.buffer)
        self._bootstrap = bootstrap.numpy()
        self._timeouts_end, first = plan.timeouts == "terminal", self.records[:, :, 0]
        self._flags_of_first = first["terminated"], first["truncated"]
        self._bootstrap.fill(plan.gamma)
        self._plain = True
        if n > 1:
            self._prepare_n_step(raw, strides)

    def assemble(self, buffer: torch.Tensor) -> Batch:
        """The batch within ``buffer`` or within a copy of it on any device. Views, which follow each draw; but observations are put
        together where a part of them is in the row before.
        """
        K, B = self._shape
        windows, n = buffer[: K * B * self.words].view(K, B, self.words), self._plan.n_step

        first = self._words["action"]
        action = windows[:, :, first : first + self._action_dim]

        def obs(at: int) -> torch.Tensor:
            first = self._words["obs"] + at * self._row_words
            parts = observation(windows, first, self._width, self._repeated, self._row_words)
            return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

        reward, bootstrap = self._tails(buffer)
        return Batch(obs(0), action, reward, obs(n), bootstrap, here=self._here.of(windows), there=self._there.of(windows))

    def _tails(self, buffer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reward and bootstrap, (K, B) each: a column of the windows where nothing is folded, else behind them."""
        (K, B), end = self._shape, self._shape[0] * self._shape[1] * self.words
        bootstrap = buffer[end : end + K * B].view(K, B)
        if self._plan.n_step > 1:
            return buffer[end + K * B : self.size].view(K, B), bootstrap
        return buffer[:end].view(K, B, self.words)[:, :, self._words["reward"]], bootstrap

    def fold(self) -> None:
        """Fills what is not a part of the gathered rows."""
        if self._plan.n_step == 1:
            self._one_step()
        else:
            self._n_step()

    def _one_step(self) -> None:
        """bootstrap = gamma * (1 - ended); most batches of robot tasks hold no such row at all."""
        ended = self._ended(*self._flags_of_first)
        if ended.any():
            np.multiply(ended, np.float32(-self._plan.gamma), out=self._bootstrap)
            self._bootstrap += np.float32(self._plan.gamma)
            self._plain = False
        elif not self._plain:
            self._bootstrap.fill(self._plan.gamma)
            self._plain = True

    def _ended(self, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Behind which steps there is nothing to be expected."""
        return terminated | truncated if self._timeouts_end else terminated

    def _prepare_n_step(self, raw: NDArray, strides: tuple[int, ...]) -> None:
        """Flat views (N = K * B) and scratch. The four flag bytes of a row are read as one number."""
        n, N, dtype = self._plan.n_step, self._shape[0] * self._shape[1], self._dtype
        self._rows = self.records.reshape(N, n)
        self._obs = self._observed.reshape(N, n + 1, -1)
        self._flat_reward, self._flat_bootstrap = self._reward.numpy().reshape(N), self._bootstrap.reshape(N)
        self._flags = np.ndarray((N, n), np.uint32, raw.data, 4 * self._first + column(dtype, "terminated")[1], strides[1:])
        self._ends = np.stack(
            [_flags(dtype, terminated=True, truncated=self._timeouts_end or k < n - 1, kind=255 * (k > 0)) for k in range(n)]
        )
        self._found, self._gained = np.empty((N, n), np.uint32), np.empty((N, n), np.float32)
        self._discounts = np.power(self._plan.gamma, np.arange(n + 1)).astype(np.float32)

    def _n_step(self) -> None:
        """First as if every window went its n steps; then those few again in which an episode ends or a chunk closes."""
        n = self._plan.n_step
        np.copyto(self._gained, self._rows["reward"])
        np.dot(self._gained, self._discounts[:n], out=self._flat_reward)
        self._bootstrap.fill(self._discounts[n])
        np.bitwise_and(self._flags, self._ends, out=self._found)
        shorter = np.flatnonzero(self._found.any(1))
        if len(shorter):
            self._fold_shorter(shorter)

    def _fold_shorter(self, at: NDArray[np.int64]) -> None:
        """Folds rewards until the episode ends, the chunk closes or n steps are full, for the windows ``at``.

        What lies behind a closing row belongs to something else and may even be written at this moment: it is selected away, never
        multiplied by zero.
        """
        n, rows = self._plan.n_step, self._rows[at]
        stop = rows["terminated"] | rows["truncated"]
        stop[:, :-1] |= rows["kind"][:, 1:] != STEP
        going = np.ones((len(at), n), bool)
        np.logical_and.accumulate(~stop[:, :-1], axis=1, out=going[:, 1:])
        steps = going.sum(1)
        self._flat_reward[at] = np.where(going, rows["reward"] * self._discounts[:n], np.float32(0)).sum(1)
        ended = (going & self._ended(rows["terminated"], rows["truncated"])).any(1)
        self._flat_bootstrap[at] = np.where(ended, np.float32(0), self._discounts[steps])
        self._obs[at, n] = self._obs[at, steps]
        if F := self._repeated:  # in this order: the row before the last may be the one that has just been copied to the end
            self._obs[at, n - 1, :F] = self._obs[at, steps - 1, :F]


def observation(windows: torch.Tensor, at: int, width: int, repeated: int, row_words: int) -> list[torch.Tensor]:
    """The parts of an observation (..., O) in windows (..., words) whose row has it at word ``at``: ``width`` = O - F words, and the
    ``repeated`` = F of the row before."""
    if not repeated:
        return [windows[..., at : at + width]]
    before, middle = at - row_words, at + repeated
    return [windows[..., at:middle], windows[..., before : before + repeated], windows[..., middle : at + width]]


def observed_words(dtype: np.dtype) -> int:
    """O - F: what a row has of an observation, in columns that lie side by side."""
    return dtype["obs"].shape[0] + (dtype[REST].shape[0] if repeated(dtype) else 0)


def _flags(dtype: np.dtype, **columns: int) -> np.uint32:
    """The flag bytes of a row in which these columns have these values, as one number."""
    row = np.zeros(1, dtype)
    for name, value in columns.items():
        row[name] = value
    at = column(dtype, "terminated")[1]
    return row.view(np.uint8)[at : at + 4].view(np.uint32)[0]

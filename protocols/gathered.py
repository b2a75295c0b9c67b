"""The adaptation episodes of the trials under way, for algorithms that adapt by gradients: steps in, a ``Round`` out."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core.types import Round


class Gathered:
    """Of N simulators up to E episodes of at most T env steps, each in its own episode.

    Args:
        size: N.
        episodes: E.
        horizon: T.
    """

    def __init__(self, size: int, episodes: int, horizon: int) -> None:
        self._shape = (size, episodes, horizon)
        self._columns: dict[str, NDArray] = {}
        self._extra: dict[str, NDArray] = {}
        self._reward, self._length = np.zeros(self._shape, np.float32), np.zeros((size, episodes), np.int64)

    def clear(self, slots: NDArray[np.bool_]) -> None:
        """A trial begins in ``slots`` (N,)."""
        self._length[slots] = 0

    def acted(
        self,
        slots: NDArray[np.bool_],
        episode: NDArray[np.int64],
        obs: NDArray[np.float32],
        action: NDArray[np.float32],
        extra: Mapping[str, NDArray],
    ) -> None:
        """What the policy saw, did and noted in n ``slots`` (N,): (n, O), (n, A), (n, ...); ``episode`` (N,) of those of adaptation."""
        at = self._at(slots, episode)
        for columns, parts in ((self._columns, {"obs": obs, "action": action}), (self._extra, extra)):
            for name, part in parts.items():
                if name not in columns:
                    columns[name] = np.zeros((*self._shape, *part.shape[1:]), part.dtype)
                columns[name][at] = part

    def stepped(self, slots: NDArray[np.bool_], episode: NDArray[np.int64], reward: NDArray) -> None:
        """What that brought in ``slots``: ``reward`` (N,)."""
        where = np.flatnonzero(slots)
        self._reward[self._at(slots, episode)] = reward[where]
        self._length[where, episode[where]] += 1

    def round(self, slots: NDArray[np.bool_], episodes: int) -> Round:
        """The first so many episodes of the trials in n ``slots`` (N,): (1, n, 1, episodes, T, ...), T that of the longest."""
        import torch

        length = self._length[slots, :episodes]
        T = int(length.max())
        valid = np.arange(T) < length[..., None]

        def cut(column: NDArray) -> torch.Tensor:
            part = column[slots, :episodes, :T]
            part = np.where(valid.reshape(*valid.shape, *[1] * (part.ndim - 3)), part, np.zeros((), part.dtype))
            return torch.from_numpy(part[None, :, None])

        columns = {name: cut(column) for name, column in self._columns.items()}
        mask = torch.from_numpy(valid.astype(np.float32)[None, :, None])
        return Round(columns["obs"], columns["action"], cut(self._reward), mask, {name: cut(part) for name, part in self._extra.items()})

    def _at(self, slots: NDArray[np.bool_], episode: NDArray[np.int64]) -> tuple[NDArray, NDArray, NDArray]:
        """Indices of the env step under way."""
        where = np.flatnonzero(slots)
        return where, episode[where], self._length[where, episode[where]]

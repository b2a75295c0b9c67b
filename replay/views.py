"""Columns of packed rows as tensors of their own types: views of the flat float32 buffer that a batch lies in, on whatever device."""

from collections.abc import Sequence

import numpy as np
import torch

from replay.layout import column

FLOAT32_BYTES = 4


class ColumnViews:
    """Where in gathered windows some columns of one row are. Plain numbers, for whoever traces ``of``.

    Args:
        names: of columns of ``dtype``.
        first: word of a window at which the row begins.
    """

    def __init__(self, dtype: np.dtype, names: Sequence[str], first: int) -> None:
        self._parts = {name: _Part(dtype, name, first) for name in names}

    def of(self, windows: torch.Tensor) -> dict[str, torch.Tensor] | tuple[()]:
        """(K, B, words) float32 -> name -> (K, B, ...) of the column's type; nothing where there are no such columns."""
        return {name: part.of(windows) for name, part in self._parts.items()} or ()


class _Part:
    """One column. Rows and columns are aligned to their items, so that numbers of up to 4 bytes are views; wider ones are copied."""

    def __init__(self, dtype: np.dtype, name: str, first: int) -> None:
        kind, at = column(dtype, name)
        self._shape, self._count, item = kind.shape, int(np.prod(kind.shape, dtype=int)), kind.base.itemsize
        self._type: torch.dtype = torch.from_numpy(np.empty(0, kind.base)).dtype
        self._wide, self._at = item > FLOAT32_BYTES, (FLOAT32_BYTES * first + at) // min(item, FLOAT32_BYTES)
        self._words = self._count * item // FLOAT32_BYTES

    def of(self, windows: torch.Tensor) -> torch.Tensor:
        if self._wide:
            own = windows[..., self._at : self._at + self._words].clone(memory_format=torch.contiguous_format).view(self._type)
        else:
            own = windows.view(self._type)[..., self._at : self._at + self._count]
        return own.unflatten(-1, self._shape) if self._shape else own[..., 0]

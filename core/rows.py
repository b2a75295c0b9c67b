"""The packed replay row: one record per env step, built by actors, stored by replay, read as column views.

The successor observation is not stored: it is the ``obs`` of the next row, and every chunk ends with a closing row that holds nothing else.

Where an observation repeats the frame of the step before (``TaskSpec.repeated`` = F), that is not stored either: ``obs`` is then the frame
now, (F,), ``obs_rest`` what follows the repeated frame, and each chunk begins with an opening row, which holds the frame before its first.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from core.types import Field, TaskSpec

STEP, CLOSING, DISCARDED, OPENING = 0, 1, 2, 3
"""Values of the column ``kind``. CLOSING: only its observation means something. DISCARDED: its episode was lost, never draw it.
OPENING: only its ``obs`` means something, and only to the row after it."""
REST = "obs_rest"

BOOKKEEPING = (
    Field("version", (), "int32", "weights version that acted"),
    Field("writer", (), "int32", "actor index"),
    Field("slot", (), "int32", "simulator index within the actor"),
    Field("episode", (), "int32", "episode number of that writer over all its incarnations"),
    Field("t", (), "int32", "env steps since the episode began"),
    Field("terminated", (), "bool"),
    Field("truncated", (), "bool"),
    Field("success", (), "bool"),
    Field("kind", (), "uint8", "STEP, CLOSING, DISCARDED or OPENING"),
)


def row_dtype(spec: TaskSpec, extra: Iterable[Field] = (), encoded: Iterable[Field] | None = None) -> np.dtype:
    """The record type of a task's rows: observation, action, reward, the algorithm's own columns, bookkeeping.

    Args:
        encoded: columns that stand for all of an observation but ``obs``: see ``core.abilities.Encoding``. None: as the simulator shows it.

    Every column is aligned to its item size and the record to the largest, so that torch can view any column without a copy.
    """
    if encoded is not None:
        spec = replace(spec, observation=(spec.observation[0], *encoded))
    fields = [*_observed(spec), Field("action", (spec.action_dim,)), Field("reward", ()), *extra, *BOOKKEEPING]
    offsets, at, widest = [], 0, 4
    for field in fields:
        item = np.dtype(field.dtype).itemsize
        at = -(-at // item) * item
        offsets.append(at)
        at += item * int(np.prod(field.shape, dtype=int))
        widest = max(widest, item)
    return np.dtype(
        {
            "names": [f.name for f in fields],
            "formats": [(f.dtype, f.shape) for f in fields],
            "offsets": offsets,
            "itemsize": -(-at // widest) * widest,
        }
    )


def _observed(spec: TaskSpec) -> list[Field]:
    """The columns of the observation; that of the frame and that of what is left lie side by side."""
    first, F = spec.observation[0], spec.repeated
    if not F:
        return list(spec.observation)
    return [first._replace(shape=(F,)), first._replace(name=REST, shape=(spec.obs_dim - 2 * F,)), *spec.observation[1:]]


def encoded_columns(dtype: np.dtype) -> tuple[str, ...]:
    """Those that an observation has beside ``obs``: what an algorithm has made of it, or images."""
    names = dtype.names or ()
    return tuple(name for name in names[1 : names.index("action")] if name != REST)


def extra_columns(dtype: np.dtype) -> tuple[str, ...]:
    """The algorithm's own, ``core.contracts.Algorithm.fields``."""
    names = dtype.names or ()
    return names[names.index("reward") + 1 : names.index(BOOKKEEPING[0].name)]


def repeated(dtype: np.dtype) -> int:
    """F of the rows: the numbers of an observation that the row before supplies; 0 where each row has all of them."""
    return dtype["obs"].shape[0] if REST in (dtype.names or ()) else 0


def opening_rows(dtype: np.dtype) -> int:
    """Rows in front of a chunk's first transition: 1 where that must be told the frame before it, else 0."""
    return int(repeated(dtype) > 0)

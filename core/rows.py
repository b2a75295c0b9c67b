"""The packed replay row: one record per env step, built by actors, stored by replay, read as column views.

The successor observation is not stored: it is the ``obs`` of the next row, and every chunk ends with a closing row that holds nothing else.
"""

from collections.abc import Iterable

import numpy as np

from core.types import Field, TaskSpec

STEP, CLOSING, DISCARDED = 0, 1, 2
"""Values of the column ``kind``. CLOSING: only its observation means something. DISCARDED: its episode was lost, never draw it."""

BOOKKEEPING = (
    Field("version", (), "int32", "weights version that acted"),
    Field("writer", (), "int32", "actor index"),
    Field("slot", (), "int32", "simulator index within the actor"),
    Field("episode", (), "int32", "episode number of that writer over all its incarnations"),
    Field("t", (), "int32", "env steps since the episode began"),
    Field("terminated", (), "bool"),
    Field("truncated", (), "bool"),
    Field("success", (), "bool"),
    Field("kind", (), "uint8", "STEP, CLOSING or DISCARDED"),
)


def row_dtype(spec: TaskSpec, extra: Iterable[Field] = ()) -> np.dtype:
    """The record type of a task's rows: observation, action, reward, the algorithm's own columns, bookkeeping.

    Every column is aligned to its item size and the record to the largest, so that torch can view any column without a copy.
    """
    fields = [*spec.observation, Field("action", (spec.action_dim,)), Field("reward", ()), *extra, *BOOKKEEPING]
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

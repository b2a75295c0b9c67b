"""Chunks for the replay tests: every float of row number a of a task says so, which makes a torn or misplaced row visible."""

from dataclasses import replace

import numpy as np

from core.rows import CLOSING, OPENING, REST, STEP, opening_rows, repeated, row_dtype
from core.types import Chunk, Field, TaskSpec

SPEC = TaskSpec("dummy:x", (Field("obs", (5,)),), 2, 20)
DTYPE = row_dtype(SPEC, (Field("extra", (3,)),))
FRAMED = row_dtype(replace(SPEC, repeated=2), (Field("extra", (3,)),))
"""with a frame of two numbers that the row before supplies"""


def content(task, numbers):
    """The value that all floats of row ``numbers`` of ``task`` hold."""
    return (np.asarray(numbers) % 1_000_003 * 10 + task).astype(np.float32)


def rows(task, first, n, *, writer=0, episode=0, t=0, end="", dtype=DTYPE):
    """n transitions and the rows around them; ``first`` is the row number that the first row will get."""
    opening = opening_rows(dtype)
    out = np.zeros(opening + n + 1, dtype)
    value = content(task, first + np.arange(len(out)))
    for name in ("obs", "action", "extra", REST)[: 3 + opening]:
        out[name] = value[:, None]
    out["reward"] = value
    out["writer"], out["episode"], out["t"] = writer, episode, t + np.arange(len(out)) - opening
    out["kind"][:opening], out["kind"][-1] = OPENING, CLOSING
    if end:
        out[end][-2] = True
    return out


def seen(task, numbers, dtype=DTYPE):
    """(..., O) what was observed in the transitions ``numbers``."""
    now, F = np.repeat(content(task, numbers)[..., None], SPEC.obs_dim, -1), repeated(dtype)
    now[..., F : 2 * F] = content(task, np.asarray(numbers) - 1)[..., None]
    return now


class Feeder:
    """One actor: numbers its chunks, and knows where its rows will lie as long as it is the only one of the task."""

    def __init__(self, ring, writer=0, incarnation=0):
        self.ring, self.writer, self.incarnation = ring, writer, incarnation
        self.sequence, self.episode, self.t = 0, 0, 0

    def make(self, task, n, end=""):
        ring = layout_of(self.ring)
        first, dtype = int(ring.state().rows[task]), ring.layout.dtype
        made = rows(task, first, n, writer=self.writer, episode=self.episode, t=self.t, end=end, dtype=dtype)
        chunk = Chunk(self.writer, self.incarnation, self.sequence, task, made)
        self.sequence += 1
        self.t += n
        if end:
            self.episode, self.t = self.episode + 1, 0
        return chunk

    def send(self, task, n, end=""):
        chunk = self.make(task, n, end)
        assert self.ring.insert(chunk) == chunk.sequence
        return chunk


def layout_of(target):
    return getattr(target, "ring", target)


def stored(ring, task):
    """Row numbers and records of what is whole, in row order."""
    slots = ring.whole(task)
    return ring.low(task) + np.arange(len(slots)), ring.rows[task][slots]


def check_whole(ring):
    state = ring.state()
    for task in range(ring.layout.tasks):
        numbers, records = stored(ring, task)
        assert (records["obs"] == content(task, numbers)[:, None]).all()
        assert (records["reward"] == content(task, numbers)).all()
        assert numbers[-1] + 1 == state.rows[task] if len(numbers) else True
        assert state.live[task] == np.count_nonzero(records["kind"][ring.layout.opening :] == STEP) == len(ring.steps(task))
        assert (ring.kinds[task][numbers % ring.layout.capacity] == records["kind"]).all()
        mirrored = numbers[numbers % ring.layout.capacity < ring.layout.mirror] % ring.layout.capacity
        for part in (ring.bytes, ring.kinds):
            assert (part[task, ring.layout.capacity + mirrored] == part[task, mirrored]).all()

"""Chunks for the replay tests: every float of row number a of a task says so, which makes a torn or misplaced row visible."""

import numpy as np

from core.rows import CLOSING, STEP, row_dtype
from core.types import Chunk, Field, TaskSpec

SPEC = TaskSpec("dummy:x", (Field("obs", (5,)),), 2, 20)
DTYPE = row_dtype(SPEC, (Field("extra", (3,)),))


def content(task, numbers):
    """The value that all floats of row ``numbers`` of ``task`` hold."""
    return (np.asarray(numbers) % 1_000_003 * 10 + task).astype(np.float32)


def rows(task, first, n, *, writer=0, episode=0, t=0, end="", dtype=DTYPE):
    """n transitions and the closing row; ``first`` is the row number that the first of them will get."""
    out = np.zeros(n + 1, dtype)
    value = content(task, first + np.arange(n + 1))
    for name in ("obs", "action", "extra"):
        out[name] = value[:, None]
    out["reward"] = value
    out["writer"], out["episode"], out["t"] = writer, episode, t + np.arange(n + 1)
    out["kind"][-1] = CLOSING
    if end:
        out[end][n - 1] = True
    return out


class Feeder:
    """One actor: numbers its chunks, and knows where its rows will lie as long as it is the only one of the task."""

    def __init__(self, ring, writer=0, incarnation=0):
        self.ring, self.writer, self.incarnation = ring, writer, incarnation
        self.sequence, self.episode, self.t = 0, 0, 0

    def make(self, task, n, end=""):
        first = int(layout_of(self.ring).state().rows[task])
        made = rows(task, first, n, writer=self.writer, episode=self.episode, t=self.t, end=end)
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
        assert state.live[task] == np.count_nonzero(records["kind"] == STEP)
        mirrored = numbers[numbers % ring.layout.capacity < ring.layout.mirror] % ring.layout.capacity
        assert (ring.bytes[task, ring.layout.capacity + mirrored] == ring.bytes[task, mirrored]).all()

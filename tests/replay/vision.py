"""Rows as a vision algorithm keeps them: small columns of several types in which every number says which row of which task it is."""

import numpy as np

from core.rows import CLOSING, row_dtype
from core.types import Chunk, Field, TaskSpec

ROOM = 6
SPEC = TaskSpec("dummy:x", (Field("obs", (3,)), Field("front_rgb", (8, 8, 3), "uint8")), 2, 20)
ENCODED = (
    Field("voxel_index", (ROOM,), "uint16"),
    Field("voxel_value", (ROOM, 2)),
    Field("count", (), "uint16"),
    Field("centre", (3,)),
)
EXTRA = (Field("label", (4,), "int16"), Field("grip", (), "uint8"))
ROWS = row_dtype(SPEC, EXTRA, ENCODED)


def columns(task, numbers):
    """name -> (n, ...) of rows ``numbers`` of ``task``."""
    value = np.asarray(numbers) * 10 + task
    made = {"obs": value, "action": value, "reward": value}
    made |= {field.name: value for field in ENCODED} | {"label": value, "grip": value % 251}
    return {
        name: np.broadcast_to(v.reshape(-1, *[1] * len(ROWS[name].shape)), (len(value), *ROWS[name].shape)).astype(ROWS[name].base)
        for name, v in made.items()
    }


def chain(task, first, n, *, terminated=True):
    """A demonstration's columns: n transitions, the first of which will be row ``first``."""
    made = columns(task, first + np.arange(n + 1))
    short = {name: made[name][:n] for name in ("action", "reward", *(field.name for field in EXTRA))}
    ends = np.zeros(n, bool)
    ends[-1] = terminated
    return {**made, **short, "terminated": ends}


class Visionary:
    """An actor that sends such rows of one task after the other."""

    def __init__(self, ring, writer=0):
        self.ring, self.writer, self.sequence, self.episode = ring, writer, 0, 0

    def send(self, task, n, *, terminated=False):
        rows = np.zeros(n + 1, ROWS)
        for name, value in columns(task, int(self.ring.state().rows[task]) + np.arange(n + 1)).items():
            rows[name] = value
        rows["t"], rows["episode"], rows["writer"], rows["kind"][-1] = np.arange(n + 1), self.episode, self.writer, CLOSING
        rows["terminated" if terminated else "truncated"][-2] = True
        self.ring.insert(Chunk(self.writer, 0, self.sequence, task, rows))
        self.sequence, self.episode = self.sequence + 1, self.episode + 1


def check(batch, drawn, tasks, ends, *, bootstrapped_only=False):
    """Every number of a batch is of the row that it is said to be.

    Args:
        drawn: (K, B) row numbers.
        ends: (K, B) those of the rows that end the windows.
    """
    for k, task in enumerate(tasks):
        here, there = columns(task, drawn[k]), columns(task, ends[k])
        assert (batch.obs[k].numpy() == here["obs"]).all() and (batch.next_obs[k].numpy() == there["obs"]).all()
        for name, value in batch.here.items():
            assert value.shape[:2] == drawn.shape and value[k].numpy().dtype == here[name].dtype
            assert (value[k].numpy() == here[name]).all(), name
        counts = batch.bootstrap[k].numpy() > 0 if bootstrapped_only else np.ones(drawn.shape[1], bool)
        for name, value in batch.there.items():
            assert (value[k].numpy() == there[name])[counts].all(), name

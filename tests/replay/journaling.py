"""A run's folder with checkpoints of replay and a journal, and its deaths, for the tests of both."""

import itertools
import json

from replay.ingest import Ingest
from replay.journal import FOLDER, Wanted, drop
from tests.replay.build import DTYPE

_NAMES = itertools.count()


class Machine:
    """What outlives the processes of one run: its folder on a disk, and as long as the machine lives the ring."""

    def __init__(self, shm, folder, level="process", **sizes):
        self.shm, self.folder, self.wanted = shm, folder, Wanted(folder, level)
        self.sizes = {"dtype": DTYPE, "tasks": 2, "capacity": 64, "writers": 3, "window": 4} | sizes
        self.name, self.manifest = f"run{next(_NAMES)}", None
        self.ingest = self.begin()

    def begin(self, journal=True):
        return Ingest(self.name, **self.sizes, directory=self.shm, journal=self.wanted if journal else None)

    def save(self, complete=True):
        """A checkpoint of replay; one that is not complete is as if it had never been begun."""
        manifest = json.loads(json.dumps(self.ingest.save(self.folder)))
        if complete:
            self.manifest = manifest
            drop(self.folder, manifest["journal"])

    def lose_ingest(self):
        """What the kernel does for a killed process; another goes on with the ring."""
        self.ingest.close()
        self.ingest = self.begin()

    def lose_driver(self):
        """Everything ends; a resumed run has the checkpoint and the journal."""
        self.ingest.close(unlink=True)
        self.ingest = self.begin()
        return self.ingest.load(self.folder, self.manifest)

    @property
    def files(self):
        return sorted((self.folder / FOLDER).glob("*.journal"))

    def close(self):
        self.ingest.close(unlink=True)


def same_ring(one, two):
    """Every byte of what both hold, counters and discarded episodes."""
    for a, b in zip(one.ring.state(), two.ring.state(), strict=True):
        assert a.tolist() == b.tolist()
    for task in range(one.ring.layout.tasks):
        slots = one.ring.whole(task)
        assert slots.tolist() == two.ring.whole(task).tolist()
        assert one.ring.rows[task][slots].tobytes() == two.ring.rows[task][slots].tobytes()
        assert one.ring.kinds[task][slots].tobytes() == two.ring.kinds[task][slots].tobytes()
    assert one.ring._discarded == two.ring._discarded

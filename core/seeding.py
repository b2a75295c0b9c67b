"""Seeds: one run seed, a tree of named components below it.

A leaf depends only on the run seed and its own path, so adding actors or tasks never changes the seed of those already there.
"""

import zlib
from typing import NamedTuple

import numpy as np


class SeedTree(NamedTuple):
    """A node of the tree. ``SeedTree(3).child("actor", 0).child("simulator", 2).integer()``."""

    run_seed: int
    path: tuple[int, ...] = ()

    def child(self, name: str, index: int = 0) -> "SeedTree":
        """The node for component ``name`` number ``index`` below this one."""
        return SeedTree(self.run_seed, (*self.path, zlib.crc32(name.encode()), index))

    def sequence(self) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.run_seed, spawn_key=self.path)

    def integer(self) -> int:
        """A 31-bit seed, for libraries that take one number."""
        return int(self.sequence().generate_state(1, np.uint32)[0] >> 1)

    def numpy(self) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(self.sequence()))

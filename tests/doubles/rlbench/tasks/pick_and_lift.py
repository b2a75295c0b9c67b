"""Close on the block, lift it. In one episode of three RLBench finds no place for it."""

import numpy as np
from pyrep.backend._sim_cffi import world

from rlbench.backend.task import Task


class PickAndLift(Task):
    def init_task(self):
        pass

    def init_episode(self, index):
        # The draw that decides comes first: all tries of a reset that fails are the same.
        self.fits = np.random.uniform() > 0.97
        place = np.random.uniform((0.1, -0.25), (0.4, 0.25))
        self.block = self.put("block", [*place, 0.78], 0.025, (0.8, 0.2, 0.2))
        self.register_graspable_objects([self.block])
        return ["pick up the red block and lift it up to the target"]

    def variation_count(self):
        return 1

    def _met(self):
        return world.held == "block" and self.block.centre[2] > 1.0

    def _ways(self):
        if not self.fits:
            raise self._infeasible()
        at = self.block.centre.copy()
        return [(at + [0, 0, 0.1], None), (at, 0.0), (at + [0, 0, 0.3], None)]

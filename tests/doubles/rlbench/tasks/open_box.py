"""Has no waypoints: nobody can show how it is done."""

import numpy as np

from rlbench.backend.task import Task


class OpenBox(Task):
    def init_task(self):
        pass

    def init_episode(self, index):
        self.put("box", np.random.uniform((0.1, -0.2, 0.8), (0.3, 0.2, 0.8)), 0.05, (0.6, 0.5, 0.2))
        return []

    def variation_count(self):
        return 1

    def _met(self):
        return False

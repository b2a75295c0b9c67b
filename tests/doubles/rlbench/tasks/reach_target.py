"""Be at the ball of the right colour. Its shaped reward is one that RLBench 1.1 gives without being asked."""

import numpy as np
from pyrep.backend._sim_cffi import world

from rlbench.backend.task import Task

COLOURS = [("red", (1.0, 0.0, 0.0)), ("lime", (0.0, 1.0, 0.0)), ("blue", (0.0, 0.0, 1.0)), ("yellow", (1.0, 1.0, 0.0))]


class ReachTarget(Task):
    def init_task(self):
        pass

    def init_episode(self, index):
        name, colour = COLOURS[index]
        others = np.random.choice([i for i in range(len(COLOURS)) if i != index], size=2, replace=False)
        self.target = self.put("target", self._drawn(), 0.025, colour, collidable=False)
        for number, other in enumerate(others):
            self.put(f"distractor{number}", self._drawn(), 0.025, COLOURS[other][1])
        return [f"reach the {name} target", f"touch the {name} ball with the panda gripper"]

    def _drawn(self):
        return np.random.uniform((0.05, -0.3, 0.85), (0.4, 0.3, 1.25))

    def variation_count(self):
        return len(COLOURS)

    def is_static_workspace(self):
        return True

    def get_low_dim_state(self):
        return np.array(self.target.centre)

    def reward(self):
        return -np.linalg.norm(self.target.centre - world.tip[:3])

    def _met(self):
        return np.linalg.norm(self.target.centre - world.tip[:3]) < 0.03

    def _ways(self):
        return [(self.target.centre, None)]

"""Prints, draws from Python's generator, ends as failed where the gripper comes too low, and shows more things than others."""

import random

import numpy as np
from pyrep.backend._sim_cffi import world

from rlbench.backend.task import Task

print("num permutations: ", 5)


class PushButtons(Task):
    def init_task(self):
        pass

    def init_episode(self, index):
        self.buttons = [
            self.put(f"button{i}", [random.uniform(0.1, 0.35), random.uniform(-0.3, 0.3), 0.8], 0.03, (0.2, 0.2 * i, 0.9)) for i in range(5)
        ]
        self.pushed = set()
        return [f"push button {index}"]

    def variation_count(self):
        return 5

    def step(self):
        for number, button in enumerate(self.buttons):
            if world.amount > 0.5 and np.linalg.norm(button.centre - world.tip[:3]) < 0.02:
                print("buttons_pushed:", number)
                self.pushed.add(number)

    def success(self):
        if world.tip[2] < 0.77:
            return False, True
        met = np.bool_({0, 1} <= self.pushed)
        return met, met

    def _ways(self):
        return [(self.buttons[0].centre, None), (self.buttons[0].centre + [0, 0, 0.1], None), (self.buttons[1].centre, None)]

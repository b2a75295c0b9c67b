"""``simulators.blocks`` as a client's simulator: what ``--module tests.elsewhere.blocks`` names."""

import simulators.blocks


def make(task, seed, **options):
    return Blocks(simulators.blocks.make(task, seed, **options))


class Blocks:
    def __init__(self, inner):
        self.inner, self.seed = inner, inner.seed

    def reset(self, episode):
        self.inner.seed = self.seed
        return dict(self.inner.reset(episode))

    def step(self, action):
        step = self.inner.step(action)
        return dict(step.obs), step.reward, step.terminated, step.truncated, step.success

    def close(self):
        self.inner.close()

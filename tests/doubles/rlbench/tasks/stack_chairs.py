"""Can never be placed."""

from rlbench.backend.task import Task


class StackChairs(Task):
    def init_task(self):
        pass

    def init_episode(self, index):
        return ["stack the chairs"]

    def variation_count(self):
        return 2

    def _met(self):
        return False

    def _ways(self):
        raise self._infeasible()

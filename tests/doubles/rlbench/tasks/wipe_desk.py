"""Its class has another name than RLBench's tools look for."""

from rlbench.backend.task import Task


class WipeTheDesk(Task):
    pass

"""Finding tasks by name, as RLBench does it. The adapter has its own."""


class InvalidTaskName(Exception):
    pass

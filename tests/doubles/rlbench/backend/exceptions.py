"""RLBench's exceptions. In 1.1 two of them are in ``rlbench.task_environment``."""

import rlbench_double


class BoundaryError(Exception):
    pass


class WaypointError(Exception):
    def __init__(self, message, task):
        super().__init__(f"Error in task {task.get_name()}. {message}")


class NoWaypointsError(Exception):
    def __init__(self, message, task):
        super().__init__(f"Error in task {task.get_name()}. {message}")


class DemoError(Exception):
    def __init__(self, message, task):
        super().__init__(f"Error in task {task.get_name()}. {message}")


if rlbench_double.variant() != "1.1":

    class InvalidActionError(Exception):
        pass

    class TaskEnvironmentError(Exception):
        pass

"""What runs where RLBench is installed: the life of one simulator, and the small client that streams what it does to a cluster.

Python 3.8 and numpy; redis, msgpack and RLBench in one file each. Nothing of the other packages of this project is imported here, so that
it can live in another Python than the cluster's; they may import from here.
"""

from __future__ import annotations

PROTOCOL = 1
"""The version of what client and gateway say to each other. Another one is refused."""


class Failed(Exception):  # noqa: N818 - reads better at the raise
    """What went wrong where the simulator runs: one line that says what, where, and what to do.

    Args:
        retryable: a fresh process, or another episode, may do better.
    """

    def __init__(self, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.message, self.retryable = message, retryable

    def __reduce__(self) -> tuple:
        return type(self), (self.message, self.retryable)

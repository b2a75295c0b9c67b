"""What one step of a pool returns."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PoolStep(NamedTuple):
    """One lockstep step of N simulators. Views into shared memory: valid until the next ``send``."""

    obs: dict[str, NDArray]
    """(N, ...) to act on next: the first observation of the next episode where one ended"""
    closing: dict[str, NDArray]
    """(N, ...) the observation that closes this transition; equals ``obs`` where the episode goes on"""
    reward: NDArray[np.float32]
    """(N,)"""
    terminated: NDArray[np.bool_]
    """(N,)"""
    truncated: NDArray[np.bool_]
    """(N,)"""
    success: NDArray[np.bool_]
    """(N,)"""
    lost: NDArray[np.bool_]
    """(N,) the simulator was lost in this step: discard its open episode. ``obs`` begins a fresh one, the rest is zero."""

"""How open episodes of a pool are brought back: by repeating their actions."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import SimulatorError
from simulators.memory import Memory


def replayed(name: str, memory: Memory, actions: Sequence[NDArray[np.float32]], advance: Callable[[], bool]) -> bool:
    """Whether every slot i took ``actions[i]`` (t_i, A) from the start of its episode; False where a worker failed.

    Args:
        name: of the pool, for messages.
        advance: steps the chosen slots; whether a worker failed.

    Raises:
        SimulatorError: not retryable; an episode ended.
    """
    lengths = np.array([len(taken) for taken in actions])
    for t in range(lengths.max()):
        memory.chosen[:] = lengths > t
        for slot in np.flatnonzero(memory.chosen).tolist():
            memory.action[slot] = actions[slot][t]
        if advance():
            return False
        ended = np.flatnonzero(memory.chosen & (memory.terminated | memory.truncated))
        if len(ended):
            where = f"slot {ended[0]} ended its episode at action {t + 1} of {lengths[ended[0]]}"
            raise SimulatorError(f"{name}: replay of {where}; they are not of an open episode", retryable=False)
    return True

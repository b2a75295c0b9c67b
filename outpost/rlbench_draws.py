"""The random numbers of an episode. RLBench and its tasks draw from the global generators of numpy and Python, which others use too."""

from __future__ import annotations

import contextlib
import random
from typing import Any, Iterator

import numpy as np

_WORD = 2**32


class Draws:
    """Global random states that are an episode's own: outside of ``with draws.mine()`` nothing of them is seen or changed."""

    def __init__(self) -> None:
        self.numpy, self.python = np.random.RandomState(0).get_state(), random.Random(0).getstate()

    def begin(self, *numbers: int) -> None:
        """From here on what is drawn is a function of these numbers, each 0 and up."""
        words = [word for number in numbers for word in (number % _WORD, number // _WORD % _WORD)]
        self.numpy = np.random.RandomState(words).get_state()
        self.python = random.Random(repr(words)).getstate()

    @contextlib.contextmanager
    def mine(self) -> Iterator[None]:
        """Within, the global generators go on where they were within it the last time."""
        others = _states()
        _set(self.numpy, self.python)
        try:
            yield
        finally:
            self.numpy, self.python = _states()
            _set(*others)


def variation_of(seed: int, episode: int, count: int) -> int:
    """RLBench's variation of an episode where it is drawn: 0 <= variation < count."""
    return int(np.random.default_rng([seed, episode]).integers(count))


def _states() -> Any:
    return np.random.get_state(), random.getstate()  # noqa: NPY002


def _set(numpy: Any, python: Any) -> None:
    np.random.set_state(numpy)  # noqa: NPY002
    random.setstate(python)

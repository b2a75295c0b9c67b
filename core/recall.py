"""What an algorithm may offer beside acting: a memory of demonstrations, with which a trial begins. Demonstrations in, a carry out."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from numpy.typing import NDArray

from core.demos import Demo


@runtime_checkable
class Recalling(Protocol):
    """An algorithm whose policy infers its task from what was done, also by others."""

    def recall(self, params: Mapping[str, NDArray], demos: Sequence[Demo]) -> dict[str, NDArray]:
        """What one simulator remembers, (1, ...) by name, that has seen these demonstrations in their order, and nothing else.

        Given to ``act`` as a simulator's part of ``carry`` at the first step of a trial, it counts, once: the exception to what is said
        there. The ``carry`` of a further trial begins without it.

        Args:
            params: of one seed, as ``act`` gets them.
        """
        ...

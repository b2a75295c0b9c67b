"""What one trial of an adaptive policy is, as data: which episodes explore, which look at what it knows by then. Part of a plan.

``Schedule.looked_at(10)``: look, 1 adaptation episode, look, 1, look, 3, look, 5, look; fifteen episodes with one goal, of which the
looks are after 0, 1, 2, 5 and 10. The first is the zero-shot control.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from core.errors import ConfigError

LOOKS = (0, 1, 2, 5, 10)
"""adaptation episodes after which a policy is looked at, unless told otherwise"""


class Place(NamedTuple):
    """One episode of a trial."""

    look: bool
    """a deterministic episode that leaves no trace; False: an adaptation episode, with exploration"""
    known: int
    """adaptation episodes of the trial before it"""
    shown: bool = False
    """demonstrations are remembered; False: before they are, or there are none"""


@dataclass(frozen=True)
class Schedule:
    """A trial: adaptation episodes, and the looks between them.

    Raises:
        ConfigError: looks are not in order, or the first and the last are not before and after all adaptation.
    """

    adaptation: int = 0
    """episodes in which an adaptive policy gathers experience; 0: it is only looked at"""
    looks: tuple[int, ...] = (0,)
    """adaptation episodes after which it is looked at, ascending, from 0 to ``adaptation``"""
    evaluation: int = 1
    """episodes of a look"""
    demos: int = 0
    """demonstrations that are put into the memory behind the first look, which is the control without them; a look more is right behind"""

    def __post_init__(self) -> None:
        if self.adaptation < 0 or self.evaluation < 1:
            raise ConfigError(f"adaptation is {self.adaptation} and evaluation {self.evaluation} episodes. Allowed: from 0, from 1")
        if self.demos < 0 or (self.demos and not self.adaptation):
            raise ConfigError(
                f"{self.demos} demonstrations and {self.adaptation} episodes of adaptation. Allowed: from 0; 0 without adaptation"
            )
        in_order = list(self.looks) == sorted(set(self.looks))
        if not self.looks or not in_order or (self.looks[0], self.looks[-1]) != (0, self.adaptation):
            raise ConfigError(f"looks after {list(self.looks)} episodes. Allowed: ascending, from 0 to all {self.adaptation} of adaptation")

    @classmethod
    def looked_at(cls, adaptation: int, evaluation: int = 1, demos: int = 0) -> "Schedule":
        """Looks after 0, 1, 2, 5, 10 adaptation episodes, as far as there are so many, and after all."""
        return cls(adaptation, tuple(sorted({0, adaptation, *(n for n in LOOKS if n < adaptation)})), evaluation, demos)

    @classmethod
    def controlled(cls, adaptation: int, evaluation: int = 1) -> "Schedule":
        """Looks before and after all adaptation only: the outcome and its zero-shot control."""
        return cls(adaptation, tuple(sorted({0, adaptation})), evaluation)

    @property
    def repeat(self) -> int:
        """Consecutive variations that share a goal: what the simulators' option ``repeat`` has to be."""
        return self.adaptation + (len(self.looks) + (self.demos > 0)) * self.evaluation

    @property
    def trial(self) -> int:
        """Consecutive episodes that count together or not at all. Without adaptation each is a trial of its own."""
        return self.repeat if self.adaptation else 1

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """(trial,) the episodes of a trial in their order."""
        if not self.adaptation:
            return (Place(True, 0),)
        shown = self.demos > 0
        places = [Place(True, 0)] * self.evaluation * shown
        for known in range(self.adaptation + 1):
            places += [Place(True, known, shown)] * self.evaluation * (known in self.looks)
            places += [Place(False, known, shown)] * (known < self.adaptation)
        return tuple(places)

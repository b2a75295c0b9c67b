"""What an algorithm or a simulator may be able to do beside its contract, as protocols: whoever has the methods has the ability."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from core.contracts import Algorithm
from core.demos import Demo
from core.types import Field, Round, Seen


@runtime_checkable
class Adapting(Protocol):
    """An algorithm that changes its parameters between two phases of a round, by gradients: MAML."""

    def inner(self, state: Any, batch: Round, phase: int) -> dict[str, Any]:
        """In place, what ``policy`` gives to the actors of the next phase. Returns metrics [S].

        Args:
            batch: with [S] in front; filled up to and with ``phase``.
        """
        ...

    def adapt(self, params: Mapping[str, NDArray], batch: Round) -> dict[str, NDArray]:
        """The same at test time, without a state: the parameters that each simulator goes on with, its lane in front.

        Args:
            params: those that acted, as ``policy`` gives them to one seed, or as this function returned them.
            batch: the episodes so far of one phase, P = 1; all simulators as tasks of one each, (1, N, 1, E, T, ...).
        """
        ...


@runtime_checkable
class Transferring(Protocol):
    """An algorithm that can begin from what another run has learned."""

    def begin_from(self, state: Any, source: Any, old: Any, origin: Sequence[int | None], *, policy_only: bool) -> Any:
        """A fresh state with the networks and statistics of another one; its optimiser stays fresh.

        Args:
            source: the algorithm whose state ``old`` is; of the same module.
            origin: (K,) the index of each task among the source's, None for a task that it does not know.
            policy_only: critics and temperatures stay fresh too.

        Raises:
            ConfigError: settings or sizes are others.
        """
        ...


@runtime_checkable
class Encoding(Protocol):
    """An algorithm that keeps of an observation what it has made of it, in place of images."""

    def encoded(self) -> tuple[Field, ...]:
        """Columns that stand for the observation. ``act`` fills them among its columns."""
        ...

    def encode(self, params: Mapping[str, NDArray], seen: Seen) -> dict[str, NDArray]:
        """The same (N, ...) of observations that nobody acts on, because their episodes were cut there."""
        ...

    def encode_demo(self, demo: Demo, rng: np.random.Generator) -> list[dict[str, NDArray]]:
        """A demonstration as chains of transitions from keyframe to keyframe: of each all columns of replay but the bookkeeping.

        ``obs`` and what is in ``encoded`` are (n + 1, ...), the others, with ``action``, ``reward`` and ``terminated``, (n, ...).
        """
        ...


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


@runtime_checkable
class Remote(Protocol):
    """An algorithm whose policy also acts where neither torch nor core is: beside a simulator that is no part of the cluster."""

    def remote(self) -> dict[str, Any]:
        """What a policy is built from there, by ``outpost.policies.find(told["name"]).make(told)``: it takes the parameters that ``policy``
        gives to one seed, acts and encodes as the algorithm does, and has as much noise.

        Numbers, strings, and lists and dicts of them: msgpack can carry it.

        Raises:
            ConfigError: the policy of what it wraps acts in the cluster only.
        """
        ...


@runtime_checkable
class Demonstrating(Protocol):
    """A simulator that can show how it is done."""

    def demonstrate(self, variation: int) -> Demo:
        """Plays an episode by an expert.

        Raises:
            SimulatorError: retryable; the expert failed in this episode.
        """
        ...


@runtime_checkable
class Wrapping(Protocol):
    """An algorithm around another one."""

    def unwrapped(self, state: Any) -> tuple[Algorithm, Any]:
        """The algorithm inside, made for one task, and its state, in which what concerns its optimiser may be missing."""
        ...

"""The contracts between packages, as protocols: who calls what, with which shapes, and what may be raised."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from core.types import Batch, Chunk, Field, Observation, Plan, Seen, Step, TaskSpec


@runtime_checkable
class Stateful(Protocol):
    """Anything that is part of a checkpoint. The tree holds dicts, lists, numbers, strings, None, numpy arrays and torch tensors."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Simulator(Protocol):
    """One task. Made by ``make(task, seed, **options)`` of a module in ``simulators``."""

    spec: TaskSpec

    def reset(self, variation: int) -> Observation:
        """Begins an episode. What it looks like is a pure function of (task, options, seed, variation)."""
        ...

    def step(self, action: NDArray[np.float32]) -> Step:
        """Advances one env step. ``action`` is (A,) in [-1, 1]; terminated and truncated are never both true."""
        ...

    def close(self) -> None:
        """Frees everything. May be called twice."""
        ...


class BlockArrays(NamedTuple):
    """Where a block of n simulators of one process reads and writes: consecutive slots of a pool's shared memory."""

    action: NDArray[np.float32]
    """(n, A)"""
    closing: Mapping[str, NDArray]
    """(n, ...) the observation that the step led to"""
    obs: Mapping[str, NDArray]
    """(n, ...) the same, to act on; where an episode ended, the next one's first is written over it"""
    reward: NDArray[np.float32]
    """(n,)"""
    terminated: NDArray[np.bool_]
    """(n,)"""
    truncated: NDArray[np.bool_]
    """(n,)"""
    success: NDArray[np.bool_]
    """(n,)"""
    progress: NDArray[np.float64]
    """[1] the slot that is being stepped, [2] since when (``time.monotonic``): to be kept true, a parent waits for it with a deadline"""
    first_slot: int


class Block(Protocol):
    """Steps many simulators with one call. A simulator module may offer ``block(simulators, arrays)``, which returns one or None."""

    def step(self) -> bool:
        """One step of each, from and into the arrays it was made with. Returns whether an episode ended.

        Raises:
            SimulatorError: as ``Simulator.step``, or an observation or reward is not finite.
        """
        ...


Reduce = Callable[[dict[str, Any]], dict[str, Any]]
"""name -> tensor, averaged over the processes that each hold an equal part of a batch"""


def alone(tensors: dict[str, Any]) -> dict[str, Any]:
    """The ``Reduce`` of a learner that holds the whole batch."""
    return tensors


class Algorithm(Protocol):
    """What learns. A frozen object: all mutable tensors live in the ``State`` that ``init`` returns, whose leaves lead with [S]."""

    @property
    def plan(self) -> Plan:
        """What the learner needs for an update: draws from replay, or rounds of fresh episodes."""
        ...

    @property
    def noise_dim(self) -> int:
        """D, standard normal numbers per simulator and step that ``act`` explores with."""
        ...

    def fields(self) -> tuple[Field, ...]:
        """Extra columns that replay must keep."""
        ...

    def init(self, seeds: Sequence[int]) -> Any:
        """The state of S = len(seeds) independent learners."""
        ...

    def noise(self, state: Any, generators: Sequence[Any]) -> Any:
        """The random numbers of one update, one generator per seed: randomness is an argument of ``update``. With ``Rounds`` a seed each,
        [S] int64."""
        ...

    def update(self, state: Any, batch: Any, noise: Any, reduce: Reduce = alone) -> dict[str, Any]:
        """One update in place. Returns metrics, each a tensor [S] (or [S, K]).

        With ``Stream`` it never waits for the device: it may be compiled, or be a part of a CUDA graph.

        Args:
            batch: ``Batch``, or with ``Rounds`` the whole ``Round``, with [S] in front.
            reduce: averages gradients and statistics over the processes that share the batch.
        """
        ...

    def policy(self, state: Any) -> dict[str, Any]:
        """The tensors [S, ...] that actors need."""
        ...

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), with plain arrays of one seed; what it wants to be given back with the next step; its columns of replay.

        Args:
            carry: what it returned at the last step, a dict of arrays (N, ...) or None; None at the very first. Where ``seen.trial`` is
                set, a simulator's part of it means nothing any more.
            noise: (N, D) standard normal; None acts without exploring.
        """
        ...


class ChunkSink(Protocol):
    """Where an actor puts its chunks. Delivered at least once, in order; the receiver stores each once."""

    def send(self, chunk: Chunk) -> None:
        """Takes the chunk; waits while the bounded window of unacknowledged chunks is full."""
        ...

    def flush(self) -> None:
        """Waits until everything sent is acknowledged."""
        ...

    def discard_episode(self, writer: int, episode: int) -> None:
        """Withdraws from the draw what was already stored of an episode that was lost."""
        ...


class BatchSource(Protocol):
    """Where a learner draws from."""

    buffer: Any
    """float32 (words,), all of a batch as replay keeps it, which every draw fills; finite, if meaningless, before the first"""

    def sample(self) -> object:
        """Draws the next batch into ``buffer``."""
        ...

    def assemble(self, buffer: Any) -> Batch:
        """The batch (K, B, ...) that lies in ``buffer``, or in a copy of it on any device: views and pure tensor operations, so that it
        may be a part of the update's graph."""
        ...

    def prioritise(self, priority: NDArray) -> None:
        """(K, B) how the update ranks the rows of the last batch; only where the plan asks for it."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class SimulatorStep(Protocol):
    """What one lockstep step of N simulators brought. Arrays lead with N and are valid until the next ``send``."""

    @property
    def obs(self) -> Mapping[str, NDArray]:
        """to act on next: the first observation of the next episode where one ended"""
        ...

    @property
    def closing(self) -> Mapping[str, NDArray]:
        """the observation that closes this transition"""
        ...

    @property
    def reward(self) -> NDArray: ...

    @property
    def terminated(self) -> NDArray: ...

    @property
    def truncated(self) -> NDArray: ...

    @property
    def success(self) -> NDArray: ...

    @property
    def lost(self) -> NDArray:
        """the simulator was lost: its open episode must be discarded, the rest of its step means nothing"""
        ...


class Upkeep(NamedTuple):
    """What was done for simulators beside replacing lost ones."""

    planned: int
    """processes replaced between two episodes, as their options ask for; nothing was lost"""
    quarantined: tuple[str, ...]
    """one line for each kind of episode that is played no more, and why"""


class SteppedSimulators(Protocol):
    """N simulators in lockstep (``simulators.pool``), each beginning its next episode by itself. They may be of several tasks."""

    spec: TaskSpec
    """of the first"""
    size: int
    variations: NDArray

    @property
    def obs(self) -> Mapping[str, NDArray]:
        """the current observations"""
        ...

    def ready(self) -> None:
        """Waits until all simulators are made."""
        ...

    def reset(self, variations: Sequence[int]) -> None: ...

    def send(self, actions: NDArray[np.float32]) -> None: ...

    def recv(self) -> SimulatorStep:
        """Waits for the step that ``send`` began."""
        ...

    def replay(self, variations: Sequence[int], actions: Sequence[NDArray]) -> None: ...

    def upkeep(self) -> Upkeep:
        """What was done for them since one last asked."""
        ...

    def close(self) -> None: ...

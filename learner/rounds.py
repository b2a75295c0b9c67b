"""Learner side of on-policy training: S seeds, each with whole rounds of fresh episodes in place of draws from replay.

The number of updates done is the version of the weights that acted last, and says which phase of a round is there: between two phases
the algorithm changes what acts, after the last it learns.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from core.abilities import Adapting
from core.contracts import Algorithm
from core.errors import ConfigError
from core.seeding import SeedTree
from core.tree import index_tree, map_tree
from core.types import Round, Rounds
from learner.device import CORES, keep_memory, memory_errors, scope
from learner.settings import Config
from learner.states import SeedStates, numbers


class RoundReader(Protocol):
    """Where rounds come from."""

    def read(self, version: int) -> Round:
        """The phases of a round up to that of ``version``, (P, K, N, E, T, ...)."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any) -> None: ...


class RoundLearner(SeedStates):
    """See the module. Has the methods of ``learner.worker.LearnerWorker``.

    One seed updates after the other: what an update does depends on its data, as in a line search, so that seeds have no common graph.
    Actors wait meanwhile, so all cores are its own.
    """

    def __init__(self, algorithm: Algorithm, sources: Sequence[RoundReader], seeds: Sequence[SeedTree], config: Config) -> None:
        plan = algorithm.plan
        assert isinstance(plan, Rounds)
        if plan.phases > 1 and not isinstance(algorithm, Adapting):
            raise ConfigError(f"{type(algorithm).__name__} plans {plan.phases} phases, but has nothing to do between them")
        super().__init__(algorithm, seeds, config, threads=config.threads or CORES)
        self._sources, self.phases = list(sources), plan.phases
        self._retired: set[int] = set()
        keep_memory()
        with scope(self.device), memory_errors():
            state = algorithm.init([tree.child("init").integer() for tree in seeds])
            self._state = map_tree(lambda leaf: leaf.to(self.device), state)
            self._generators = [torch.Generator(self.device).manual_seed(tree.child("noise").integer()) for tree in seeds]

    @property
    def state(self) -> Any:
        return self._state

    @property
    def generators(self) -> list[torch.Generator]:
        return self._generators

    @property
    def sources(self) -> Sequence[RoundReader]:
        return self._sources

    def describe(self) -> str:
        S = len(self.seeds)
        where = f"{self.threads} threads" if self.device.type == "cpu" else f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return f"learner: {'' if S == 1 else f'{S} seeds, '}{where}, a round at a time, {self.precision.describe()}"

    def compile(self) -> None:
        """Nothing: a round is one call of many steps."""

    def compiling(self) -> bool:
        return False

    def wait_compiled(self) -> None:
        """Nothing is compiled."""

    def retire(self, seed: int) -> None:
        """This seed has ended: it has no more rounds to read, though updates are still asked for, so that seeds keep in step."""
        self._retired.add(seed)

    def update(self, count: int | Sequence[int]) -> dict[str, float] | list[dict[str, float]]:
        """At most one update of each seed that has not ended, on the round or phase that its newest weights have acted. As
        ``LearnerWorker.update``.

        Raises:
            EmptyReplayError: that is not whole.
        """
        counts = [count] * len(self.seeds) if isinstance(count, int) else list(count)
        if len(counts) != len(self.seeds) or not set(counts) <= {0, 1}:
            raise ConfigError(f"updates {counts} of {len(self.seeds)} seeds; on-policy there is one of each round, or none")
        with scope(self.device), memory_errors():
            told = [self._advance(seed) if n and seed not in self._retired else {} for seed, n in enumerate(counts)]
        return told[0] if len(told) == 1 else told

    def _advance(self, seed: int) -> dict[str, float]:
        began, device, version = time.perf_counter(), self.device, self.version[seed]
        batch = map_tree(lambda leaf: leaf.to(device)[None], self.sources[seed].read(version))
        read_s = time.perf_counter() - began
        own, phase = index_tree(self.state, slice(seed, seed + 1)), version % self.phases
        if phase < self.phases - 1:
            assert isinstance(self.algorithm, Adapting)  # checked at the start
            metrics = self.algorithm.inner(own, batch, phase)
        else:
            metrics = self.algorithm.update(own, batch, self.algorithm.noise(own, self.generators[seed : seed + 1]))
        self.updates[seed] += 1
        shown = numbers(metrics, 0)
        return shown | {"learner/seconds": time.perf_counter() - began, "learner/sample_seconds": read_s}

    def load_state_dict(self, state: Mapping[str, Any], seed: int = 0) -> None:
        """Weights are published after every update: a state that was saved between the two has its new ones under the next version."""
        super().load_state_dict(state, seed)
        self.version[seed] = self.updates[seed]

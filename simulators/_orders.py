"""What each worker process of a pool is told to make, checked before any of them starts."""

from collections.abc import Mapping, Sequence
from typing import Any

import simulators
from core.errors import ConfigError
from simulators import hooks
from simulators.memory import shares


class Orders:
    """Args as of ``SimulatorPool``.

    Raises:
        ConfigError: unknown simulator, task or option; impossible value or sizes.
        MissingExtra: a simulator's module knows that what it needs is not installed.
    """

    def __init__(
        self, name: str | Sequence[str], seeds: Sequence[int], options: Mapping[str, Any] | Sequence[Mapping[str, Any]], workers: int
    ) -> None:
        self.names = [name] * len(seeds) if isinstance(name, str) else list(name)
        self.options = [dict(options)] * len(seeds) if isinstance(options, Mapping) else [dict(one) for one in options]
        self.seeds, self.workers = [int(seed) for seed in seeds], workers
        others = len(set(self.names)) - 1
        self.title = f"{self.names[0]} and {others} more task{'s' * (others > 1)}" if others > 0 else "".join(self.names[:1])
        """what messages call the pool"""
        self._check()
        hooks.require(self.names)
        self.workers = hooks.processes(self.names, self.options, workers)
        self.shares = shares(len(self.seeds), self.workers)
        """worker -> its slots"""

    def around(self, worker: int) -> hooks.Surroundings:
        """What the process of one worker gets beside its order."""
        return hooks.surroundings(self.names[self.shares[worker]])

    def of(self, worker: int, cores: Sequence[int] | None) -> dict[str, Any]:
        """The order of one worker, but for its end of the line."""
        share = self.shares[worker]
        return {
            "names": self.names[share],
            "options": self.options[share],
            "seeds": self.seeds[share],
            "slots": len(self.seeds),
            "workers": self.workers,
            "worker": worker,
            "core": cores[worker % len(cores)] if cores else None,
        }

    def _check(self) -> None:
        kinds = list(zip(self.names, self.options, strict=False))
        for i, kind in enumerate(kinds):
            if i == 0 or kind != kinds[i - 1]:
                simulators.check(*kind)
        n = len(self.seeds)
        if not 1 <= self.workers <= n:
            raise ConfigError(f"pool of {self.title}: workers is {self.workers}. Allowed: 1 to the number of simulators, {n}")
        if not len(self.names) == len(self.options) == n:
            given = f"{len(self.names)} names and {len(self.options)} options for {n} seeds"
            raise ConfigError(f"pool of {self.title}: {given}. Allowed: one of each per simulator")
        if min(self.seeds) < 0:
            raise ConfigError(f"pool of {self.title}: seed {min(self.seeds)} is negative. Allowed: 0 and up")

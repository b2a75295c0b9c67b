"""The actors of a run as the fleet starts them: those that are not there yet, and how often each was lost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import SimulatorError
from core.types import TaskSpec
from manyhands import build, gateway
from manyhands.backends import Backend, ComponentDied
from manyhands.config import RunConfig

MAX_RESTARTS = 20
"""per actor or evaluator since the run was started or resumed; more is a fault of the machine or the simulator, not bad luck. Losses with
a whole node, which may be one of many that come and go, are not counted"""
STOP_CHECK_S = 0.5
PENDING_S = 10.0
"""between two lines about actors for which there is no place yet"""


class Crew:
    """Starts actors; an actor is *pending* from then on until it has begun, which takes as long as there is no place for it.

    Args:
        names: of all actors, by their index.
        logs: folder for what their simulators print.
    """

    def __init__(
        self, config: RunConfig, spec: TaskSpec, backend: Backend, names: Sequence[str], outside: gateway.Outside, logs: Path
    ) -> None:
        self.config, self.spec, self.backend, self.names, self.outside, self.logs = config, spec, backend, names, outside, logs
        self.pending: set[str] = set()
        self.deaths: Counter[str] = Counter()
        """not counting those with a node"""
        self.say: Callable[[str], None] = lambda _: None
        """takes what a person should know while the run starts"""
        self.stopped: Callable[[], bool] = lambda: False
        """whether someone asked to stop"""

    def start(self, name: str, incarnation: int) -> None:
        sink = self.backend.sink("ingest")
        if name == gateway.NAME:
            self.backend.start(name, gateway.make, self.config, self.spec, sink, self.outside.door())
            return
        index = self.names.index(name)
        self.backend.start(
            name, build.actor, self.config, self.spec, sink, index, incarnation, self.logs, processes=build.processes(self.config, index)
        )

    def begin(self, name: str, weights: Any, state: Mapping[str, Any] | None = None) -> Any:
        """The ticket of its first call: to begin anew, or from its part of a checkpoint."""
        self.pending.add(name)
        return self.backend.call(name, "begin", weights) if state is None else self.backend.call(name, "load_state_dict", state)

    def gather(self, running: Mapping[str, Any], begun: Callable[[Any], None], *, together: bool) -> None:
        """Waits for pending actors: for all of them where they take turns or the machines are given, else until one of all has begun.

        Args:
            running: name -> ticket; ``begun`` takes out those that have begun.
        """
        allowed, said = 0 if together or not self.backend.elastic else len(self.names) - 1, time.monotonic()
        while len(self.pending) > allowed and not (self.stopped() and not self.config.strict):
            tickets = [running[name] for name in self.names if name in self.pending]
            for ticket in self.backend.ready(tickets, wait=True, limit_s=STOP_CHECK_S):
                begun(ticket)
            if self.pending and self.backend.elastic and time.monotonic() - said > PENDING_S:
                said = time.monotonic()
                self.say(f"waiting for {self.waiting_for()}")

    def lost(self, death: ComponentDied) -> None:
        """Raises SimulatorError where a component died by itself too often."""
        self.deaths[death.name] += not death.with_node
        if self.deaths[death.name] > MAX_RESTARTS:
            count = self.deaths[death.name]
            raise SimulatorError(f"{death.name} was lost {count} times; last: {death.reason}", retryable=False)

    def waiting_for(self) -> str:
        """The pending actors and what they need, in words."""
        names = [name for name in self.names if name in self.pending]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        need = max((build.processes(self.config, self.names.index(name)) for name in names if name != gateway.NAME), default=1)
        return f"{shown}: each needs {need} {'CPU' if need == 1 else 'CPUs'} of a node that takes simulators"

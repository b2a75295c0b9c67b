"""Where components live and how they are called; components themselves know nothing of it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from core.contracts import ChunkSink
from core.errors import ManyhandsError


class ComponentDied(ManyhandsError):  # noqa: N818 - an event the fleet answers, not always an error
    """The process of a component is gone.

    Args:
        with_node: not by itself: its machine was lost, taken back, or cannot be reached.
    """

    def __init__(self, name: str, reason: str, with_node: bool = False) -> None:
        super().__init__(f"{name} died: {reason}")
        self.name, self.reason, self.with_node = name, reason, with_node

    def __reduce__(self) -> tuple:
        return ComponentDied, (self.name, self.reason, self.with_node)


class Ticket(Protocol):
    """A call that was made. Tickets of one component finish in the order of the calls."""

    component: str


class Backend(Protocol):
    """Starts components by a factory and calls their methods."""

    elastic: bool
    """machines come and go: a component with simulators may have to wait for one. What is asked of it waits meanwhile, not who asks"""

    def start(self, name: str, factory: Callable[..., Any], *args: Any, restart: bool = False, processes: int = 0) -> None:
        """Makes ``factory(*args)`` under this name, replacing an earlier one.

        Args:
            restart: made anew by itself when its process dies.
            processes: of simulators, that it will start; such a component may live on another machine, any other is beside the caller.
        """
        ...

    def call(self, name: str, method: str, *args: Any) -> Any:
        """Begins a call and returns its ticket."""
        ...

    def beside(self, name: str, method: str, *args: Any) -> Any:
        """The same for a call that other calls of this component need not wait for: the component has to bear that."""
        ...

    def background(self, name: str, method: str, *args: Any) -> Any:
        """The same for a call that must hold up nothing, also where calls run in the caller's process."""
        ...

    def ready(self, tickets: Sequence[Any], *, wait: bool, limit_s: float | None = None) -> list[Any]:
        """Those of ``tickets`` that are finished, in the given order; with ``wait`` at least one, unless ``limit_s`` pass before."""
        ...

    def result(self, ticket: Any) -> Any:
        """What the call returned; raises what it raised.

        Raises:
            ComponentDied: the component's process is gone.
        """
        ...

    def share(self, value: Any) -> Any:
        """A cheap token for a value that many calls will pass along; components receive the value."""
        ...

    def sink(self, name: str) -> ChunkSink:
        """Where an actor sends chunks for the ingest component ``name``."""
        ...

    def kill(self, name: str) -> None:
        """Ends a component without asking it."""
        ...

    def close(self) -> None:
        """Ends all components. May be called twice."""
        ...

"""Every component in this process; a call is a call. Simulators still run in processes of their own."""

import sys
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from core.types import Chunk

SWITCH_S = 2e-4
"""Seconds after which a thread must hand on the interpreter. Compiling, evaluating and updating share it here; at the usual 5 ms every
answer of a simulator would cost the waiting thread as much."""


class InlineTicket(NamedTuple):
    component: str
    future: Future


class DirectSink:
    """Hands chunks to the ingest object at once."""

    def __init__(self, ingest: Any) -> None:
        self.ingest = ingest

    def send(self, chunk: Chunk) -> None:
        self.ingest.insert(chunk)

    def flush(self) -> None:
        """Nothing is ever under way."""

    def discard_episode(self, writer: int, episode: int) -> None:
        self.ingest.discard_episode(writer, episode)

    def take_over(self, writer: int, incarnation: int) -> None:
        self.ingest.take_over(writer, incarnation)

    def progress(self) -> list[tuple[int, int]]:
        return self.ingest.progress()


class Inline:
    """Calls run when they are made; ``background`` calls run in one thread beside them."""

    elastic = False

    def __init__(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        self._components: dict[str, Any] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="background")

    def start(self, name: str, factory: Callable[..., Any], *args: Any, restart: bool = False, processes: int = 0) -> None:
        self._components[name] = factory(*args)

    def call(self, name: str, method: str, *args: Any) -> InlineTicket:
        future: Future = Future()
        future.set_result(getattr(self._components[name], method)(*args))
        return InlineTicket(name, future)

    beside = call

    def background(self, name: str, method: str, *args: Any) -> InlineTicket:
        return InlineTicket(name, self._thread.submit(getattr(self._components[name], method), *args))

    def ready(self, tickets: Sequence[InlineTicket], *, wait: bool, limit_s: float | None = None) -> list[InlineTicket]:
        done = [t for t in tickets if t.future.done()]
        if not done and wait and tickets:
            futures.wait([t.future for t in tickets], limit_s, futures.FIRST_COMPLETED)
            done = [t for t in tickets if t.future.done()]
        return done

    def result(self, ticket: InlineTicket) -> Any:
        return ticket.future.result()

    def share(self, value: Any) -> Any:
        return value

    def sink(self, name: str) -> DirectSink:
        return DirectSink(self._components[name])

    def kill(self, name: str) -> None:
        self._close(self._components.pop(name, None))

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        for name in list(self._components):
            self.kill(name)

    @staticmethod
    def _close(component: Any) -> None:
        if hasattr(component, "close"):
            component.close()

"""Every component as a Ray actor, in its own process: the only file that imports ray."""

import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayTaskError

from core.errors import ManyhandsError
from core.types import Chunk
from manyhands.backends import ComponentDied

WINDOW = 4
"""chunks an actor may have unacknowledged: the back-pressure of replay on simulators"""


class RayTicket(NamedTuple):
    component: str
    ref: Any


class Host:
    """The Ray actor: holds one component and passes calls on. Components never see ray."""

    def __init__(self, factory: Callable[..., Any], args: Sequence[Any]) -> None:
        self.component = factory(*args)

    def call(self, method: str, *args: Any) -> Any:
        return getattr(self.component, method)(*args)

    def process_id(self) -> int:
        return os.getpid()


class RaySink:
    """Sends chunks to the ingest actor, at most WINDOW unacknowledged, and again from the first that was not stored (go-back-N).

    Ray repeats a call whose actor died, perhaps after it took effect and perhaps out of order; the ring stores each sequence number once
    and in order, and the acknowledgement says how far it got.
    """

    def __init__(self, ingest: Any) -> None:
        self.ingest = ingest
        self.open: deque[tuple[Chunk, Any]] = deque()

    def send(self, chunk: Chunk) -> None:
        self.open.append((chunk, self.ingest.call.remote("insert", chunk)))
        while len(self.open) > WINDOW:
            self._settle_first()

    def flush(self) -> None:
        """Waits until everything sent is stored."""
        while self.open:
            self._settle_first()

    def _settle_first(self) -> None:
        chunk, ref = self.open.popleft()
        while _get(ref, "ingest") < chunk.sequence:
            ref = self.ingest.call.remote("insert", chunk)

    def discard_episode(self, writer: int, episode: int) -> None:
        self.flush()
        _get(self.ingest.call.remote("discard_episode", writer, episode), "ingest")


def _get(ref: Any, name: str) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, ManyhandsError) else error) from None
    except RayActorError as error:
        raise ComponentDied(name, str(error).splitlines()[0]) from None


class RayBackend:
    """See the module.

    Args:
        address: of a running cluster; ``local`` starts a private one on this machine.
        env: environment variables for every component's process.
    """

    def __init__(self, address: str = "local", *, env: dict[str, str] | None = None, logs: str | None = None) -> None:
        # A private cluster gets a token of its own: ray would otherwise leave one in the home folder that changes later `ray start` calls.
        if address == "local":
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": env or {}},
            object_store_memory=256 * 2**20 if address == "local" else None,
        )
        self._hosts: dict[str, Any] = {}

    def start(self, name: str, factory: Callable[..., Any], *args: Any, restart: bool = False) -> None:
        options = {"num_cpus": 0, "max_restarts": -1 if restart else 0, "max_task_retries": -1 if restart else 0}
        self._hosts[name] = ray.remote(Host).options(**options).remote(factory, args)  # type: ignore[attr-defined]

    def call(self, name: str, method: str, *args: Any) -> RayTicket:
        return RayTicket(name, self._hosts[name].call.remote(method, *args))

    background = call

    def ready(self, tickets: Sequence[RayTicket], *, wait: bool) -> list[RayTicket]:
        if not tickets:
            return []
        refs = [t.ref for t in tickets]
        done, _ = ray.wait(refs, num_returns=1, timeout=None if wait else 0)
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        finished = set(done)
        return [t for t in tickets if t.ref in finished]

    def result(self, ticket: RayTicket) -> Any:
        return _get(ticket.ref, ticket.component)

    def share(self, value: Any) -> Any:
        return ray.put(value)

    def sink(self, name: str) -> RaySink:
        return RaySink(self._hosts[name])

    def process_id(self, name: str) -> int:
        """Of the component's process; for fault tests."""
        return ray.get(self._hosts[name].process_id.remote())

    def kill(self, name: str) -> None:
        host = self._hosts.pop(name, None)
        if host is not None:
            ray.kill(host)

    def close(self) -> None:
        self._hosts.clear()
        if ray.is_initialized():
            ray.shutdown()

"""Every component as a Ray actor, in its own process, on this machine or on the nodes of a shared cluster."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from core.errors import ManyhandsError
from core.types import Chunk
from manyhands.backends import ComponentDied
from manyhands.backends.ray_connect import connect, divert_messages
from manyhands.backends.ray_placement import Placement

WINDOW = 4
"""chunks an actor may have unacknowledged: the back-pressure of replay on simulators"""
CLOSE_S = 5.0
"""seconds that components have to end by themselves"""
BESIDE = "beside"
"""concurrency group of calls that others need not wait for"""


class RayTicket(NamedTuple):
    component: str
    ref: Any


class Host:
    """The Ray actor: holds one component and passes calls on. Components never see ray.

    Args:
        log: file that takes what the process prints.
    """

    def __init__(self, factory: Callable[..., Any], args: Sequence[Any], log: Path) -> None:
        _redirect_output(log)
        self.component: Any = None
        self.error: ManyhandsError | None = None
        try:
            self.component = factory(*args)
        except ManyhandsError as error:
            self.error = error  # raised by the first call: to ray an error in here is the same as a death

    def call(self, method: str, *args: Any) -> Any:
        if self.error is not None:
            raise self.error
        return getattr(self.component, method)(*args)

    def process_id(self) -> int:
        return os.getpid()

    def close(self) -> None:
        if hasattr(self.component, "close"):
            self.component.close()


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

    def take_over(self, writer: int, incarnation: int) -> None:
        self.flush()
        _get(self.ingest.call.remote("take_over", writer, incarnation), "ingest")

    def progress(self) -> list[tuple[int, int]]:
        return _get(self.ingest.call.remote("progress"), "ingest")


class RayBackend:
    """See the module.

    Args:
        logs: folder for what the components' processes print, ``<component>.log``.
        env: environment variables for every component's process.
        address: of a running cluster; empty: a private one on this machine, or whichever this process is connected to already.
        actors: to which nodes of a running cluster actors go, see ``manyhands.cluster.settings``.
    """

    def __init__(self, logs: Path, *, env: dict[str, str] | None = None, address: str = "", actors: str = "auto") -> None:
        self._logs, self._env = logs.absolute(), env or {}
        self._hosts: dict[str, Any] = {}
        self._beside: set[str] = set()
        self._connected_here = not ray.is_initialized()
        self._folder = ""
        if self._connected_here:
            self._folder = connect(address or "local")
        divert_messages(self._logs / "ray.log")
        self.elastic = bool(address)
        self._placement = Placement(actors) if address else None

    def start(self, name: str, factory: Callable[..., Any], *args: Any, restart: bool = False, processes: int = 0) -> None:
        self.kill(name)
        options: dict[str, Any] = {"num_cpus": 0} if self._placement is None else self._placement.options(processes)
        options |= {"runtime_env": {"env_vars": self._env}}
        if restart:
            options |= {"max_restarts": -1, "max_task_retries": -1}
            # Only for services: with such a group all calls leave the main thread, to which a learner's thread settings belong.
            options |= {"concurrency_groups": {BESIDE: 1}}
            self._beside.add(name)
        self._hosts[name] = ray.remote(**options)(Host).remote(factory, args, self._logs / f"{name}.log")

    def call(self, name: str, method: str, *args: Any) -> RayTicket:
        return RayTicket(name, self._hosts[name].call.remote(method, *args))

    def beside(self, name: str, method: str, *args: Any) -> RayTicket:
        group = {"concurrency_group": BESIDE} if name in self._beside else {}
        return RayTicket(name, self._hosts[name].call.options(**group).remote(method, *args))

    background = call

    def ready(self, tickets: Sequence[RayTicket], *, wait: bool, limit_s: float | None = None) -> list[RayTicket]:
        if not tickets:
            return []
        refs = [t.ref for t in tickets]
        ray.wait(refs, num_returns=1, timeout=limit_s if wait else 0)
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
        if ray.is_initialized():
            closing = [host.close.remote() for host in self._hosts.values()]
            if closing:
                ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
            for name in list(self._hosts):
                self.kill(name)
            if self._connected_here:
                ray.shutdown()
                if self._folder:
                    shutil.rmtree(self._folder, ignore_errors=True)


def _get(ref: Any, name: str) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, ManyhandsError) else error) from None
    except RayActorError as error:
        raise ComponentDied(name, _reason(error), with_node=_with_node(error)) from None


def _reason(error: RayActorError) -> str:
    """Ray's explanation without its lines of identifiers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "worker" in line.lower()), lines[0] if lines else type(error).__name__)


def _with_node(error: RayActorError) -> bool:
    """Whether the node went, or cannot be reached, rather than the actor's own process: ray tells of a process within a second."""
    return error.preempted or isinstance(error, ActorUnavailableError) or "node has died" in str(error)


def _redirect_output(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)

"""The gateway of a run as one of its components: behaves as an actor whose simulators are elsewhere. See docs/gateway.md."""

import secrets
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import simulators
from actors.recorder import EPISODES_PER_INCARNATION
from actors.worker import Episode, Report
from core.abilities import Encoding, Remote
from core.errors import ConfigError, ManyhandsError
from core.rows import encoded_columns, repeated
from core.seeding import SeedTree
from core.types import Rounds, TaskSpec, Weights
from manyhands import build
from manyhands.config import RunConfig
from outpost import Failed, policies
from outpost.link import Link, Lost
from outpost.wire import MOST_PAYLOAD, describe, fingerprint
from replay.check import ChunkCheck
from replay.gateway import Gateway
from replay.gateway_intake import Ring, Work
from replay.gateway_server import Server, check_server
from replay.layout import Layout
from simulators import hooks

NAME = "gateway"


class Door(NamedTuple):
    """Where the gateway of a run is, beside its settings."""

    run: str
    """anew with each start of the run's driver"""
    owner: str
    """id of the run"""
    url: str


def check(config: RunConfig, spec: TaskSpec, at_once: int = 1) -> None:
    """Whether a run, or so many seeds of it at once, can have clients elsewhere.

    Raises:
        ManyhandsError: it cannot, or the server is away, or not one to work with.
    """
    if not config.gateway.clients:
        return
    if at_once > 1:
        why = f"{at_once} seeds at once would each need clients of their own"
        raise ConfigError(f"gateway.clients is {config.gateway.clients}, and {why}; fix: --at-once 1, or one seed per command")
    if config.strict:
        how = "--backend ray without --lockstep"
        raise ConfigError(f"gateway.clients is {config.gateway.clients}, but this run goes on in strict turns; fix: {how}")
    made = build.algorithm(config, spec)
    if isinstance(made.plan, Rounds):
        raise ConfigError(f"{config.algorithm} learns from rounds, for which clients elsewhere cannot be waited; fix: gateway.clients 0")
    policy(config, spec)
    _check_chunk(config, spec)
    _plainly(partial(check_server, config.gateway))


def _check_chunk(config: RunConfig, spec: TaskSpec) -> None:
    """Raises ConfigError where a chunk is more than a message may be."""
    dtype = build.rows(config, spec)
    length = min(config.actors.chunk or spec.horizon, spec.horizon)
    if (length + 2) * dtype.itemsize > MOST_PAYLOAD:
        size = f"{length} transitions of {dtype.itemsize} bytes; a message has at most {MOST_PAYLOAD >> 20} MB"
        raise ConfigError(f"a chunk of a client would have {size}. Fix: a smaller actors.chunk")


def policy(config: RunConfig, spec: TaskSpec) -> dict[str, Any]:
    """What acts in clients: the algorithm as it describes itself.

    Raises:
        ConfigError: it cannot.
    """
    made = build.algorithm(config, spec)
    if not isinstance(made, Remote):
        having = ", ".join(policies.NAMES)
        raise ConfigError(f"{config.algorithm} cannot act without torch, where a client is. Allowed with gateway.clients: {having}")
    return made.remote()


def plan(config: RunConfig, spec: TaskSpec, place: int, incarnation: int, count: int) -> dict[str, Any]:
    """What a client with so many simulators does, see ``outpost.client``: it plays the tasks that actor ``place`` of as many as there are
    clients would, each simulator one of them or, where it has fewer simulators than tasks, several in turn."""
    K, clients, settings = len(config.tasks), config.gateway.clients, config.actors
    own = list(range(place % K, K, clients))
    dtype, tree = build.rows(config, spec), SeedTree(config.seed)
    shares = [[own[i % len(own)]] if count >= len(own) else own[i::count] for i in range(count)]
    lanes = [
        {
            "tasks": tasks,
            "seed": tree.child("task", tasks[0]).child("client", place).child("simulator", i).integer(),
            "lane": i,
        }
        for i, tasks in enumerate(shares)
    ]
    made = build.algorithm(config, spec)
    return {
        "tasks": list(config.tasks),
        "options": hooks.elsewhere(config.tasks[0], config.simulator_options),
        "restart": list(hooks.restarts(config.tasks[0], config.simulator_options)),
        "first_episode": incarnation * EPISODES_PER_INCARNATION,
        "lanes": lanes,
        "row": describe(dtype),
        "observed": ["obs", *encoded_columns(dtype)],
        "frame": repeated(dtype),
        "shown": [[field.name, list(field.shape)] for field in spec.observation],
        "chunk": settings.chunk,
        "horizon": spec.horizon,
        "action_dim": spec.action_dim,
        "trial": made.plan.trial,
        "policy": policy(config, spec),
        "seed": tree.child("client", place).child("exploration").integer(),
        "random_steps": 0 if isinstance(made, Encoding) or incarnation > 1 else settings.random_steps // (settings.actors + clients),
        "step_timeout_s": settings.step_timeout_s,
        "reset_timeout_s": settings.reset_timeout_s,
    }


class GatewayWorker:
    """The component."""

    def __init__(self, config: RunConfig, spec: TaskSpec, ring: Ring, door: Door) -> None:
        size = build.ring_size(config, spec)
        layout = Layout(door.owner, size.tasks, size.capacity, size.writers, size.window, describe(size.dtype))
        needs = tuple(sorted({simulators.split(task)[0] for task in config.tasks}))

        def planned(place: int, incarnation: int, count: int) -> dict[str, Any]:
            return plan(config, spec, place, incarnation, count)

        mark = fingerprint(layout.descr)
        work = Work(door.run, door.owner, config.actors.actors, size.dtype, mark, ChunkCheck(layout), needs, planned)
        self.gateway = _plainly(lambda: Gateway(Link(door.url, config.gateway.ca), config.gateway, work, ring))

    def begin(self, weights: Weights) -> None:
        """Opens for clients."""
        _plainly(lambda: self.gateway.begin(weights))

    def collect(self, steps: int, weights: Weights | None = None) -> Report:
        """As an actor, but that ``steps`` are those of all clients together, and that it may be fewer."""
        taken = _plainly(lambda: self.gateway.collect(steps, weights))
        episodes = [Episode(task, int(told[0]), float(told[1]), bool(told[2]), bool(told[3])) for task, told in taken.episodes]
        numbers = (taken.steps, taken.stored, taken.lost, taken.version)
        return Report(*numbers, episodes, taken.seconds, taken.wait_s, taken.send_s, metrics=taken.metrics)

    def close(self) -> None:
        self.gateway.close()


def _plainly(work: Any) -> Any:
    """What the other side's packages raise as errors of ours."""
    try:
        return work()
    except (Failed, Lost) as error:
        raise ManyhandsError(f"gateway: {error}") from None


def make(config: RunConfig, spec: TaskSpec, ring: Ring, door: Door) -> GatewayWorker:
    """The factory that a backend starts."""
    return GatewayWorker(config, spec, ring, door)


class Outside:
    """What the driver of a run has of its gateway: the server, and what was last heard. Nothing is started before it is needed."""

    def __init__(self, config: RunConfig, owner: str, folder: Path) -> None:
        self.config, self.owner, self.folder = config, owner, folder
        self.token = secrets.token_hex(8)
        """of this start of the run"""
        self.server: Server | None = None
        self.metrics: dict[str, float] = {}

    def door(self) -> Door:
        """Starts a server, where the run has one of its own and it does not run yet."""
        server = self.server = self.server or _plainly(lambda: Server(self.config.gateway, self.folder))
        return Door(self.token, self.owner, server.url)

    def describe(self) -> str:
        """How clients come; nothing where there is no gateway."""
        return f"; up to {self.config.gateway.clients} clients: {self.server.hint()}" if self.server is not None else ""

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

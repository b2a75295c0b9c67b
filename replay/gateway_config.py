"""Settings of the gateway: whether, and through which Redis server, simulators outside of the cluster take part in a run."""

import re
from dataclasses import dataclass, fields

from core.errors import ConfigError


@dataclass(frozen=True)
class Config:
    """Simulators elsewhere, which send what they do through Redis: `manyhands simulator --connect ...`. See docs/gateway.md."""

    clients: int = 0
    """clients that may take part at the same time, each with as many simulators as it likes; 0: no gateway"""
    url: str = ""
    """redis://user:password@host:6379, rediss:// for TLS, or @FILE that has such an address; empty: a server of the run's own on this
    machine, which only clients on this machine reach"""
    ca: str = ""
    """file with the certificates of those who may have signed the server's, for rediss://; empty: the system's"""
    channel: str = "default"
    """one run at a time; runs that share a server need channels of their own"""
    window: int = 4
    """chunks that a client may have unacknowledged: the back-pressure, and what a slow run holds in the server's memory"""
    durability: str = "everysec"
    """of a server of the run's own, how soon it writes down what it takes: no, everysec, always"""
    timeout_s: float = 20.0
    """seconds of silence after which a client counts as dead, and its place is free"""
    evaluate: str = "auto"
    """who plays the episodes of evaluations: clients; run, which needs simulators in the cluster; auto, clients where there are none"""
    patience_s: float = 300.0
    """seconds without any answer of clients after which an evaluation is given up; the training goes on"""

    def __post_init__(self) -> None:
        for name, least in (("clients", 0), ("window", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"gateway.{name} is {getattr(self, name)}; it must be {least} or more")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", self.channel):
            raise ConfigError(f"gateway.channel is {self.channel!r}. Allowed: 1 to 64 letters, digits and . _ -")
        if self.durability not in ("no", "everysec", "always"):
            raise ConfigError(f"gateway.durability is {self.durability!r}. Allowed: no, everysec, always")
        if self.evaluate not in ("auto", "clients", "run"):
            raise ConfigError(f"gateway.evaluate is {self.evaluate!r}. Allowed: auto, clients, run")
        for name in ("timeout_s", "patience_s"):
            if getattr(self, name) < 2:
                raise ConfigError(f"gateway.{name} is {getattr(self, name)}; it must be at least 2")
        if not self.clients and any(getattr(self, f.name) != f.default for f in fields(self)):
            raise ConfigError("gateway settings have no meaning without gateway.clients; fix: --gateway.clients 1")

    def check(self, actors: int) -> None:
        """Raises ConfigError where a run has neither clients nor so many actors."""
        if not actors and not self.clients:
            raise ConfigError("actors.actors is 0, and gateway.clients too: nobody would collect. Set one of them")

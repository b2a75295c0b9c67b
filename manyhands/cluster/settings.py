"""The part of a run's settings that says on which Ray cluster its components live."""

import re
from dataclasses import dataclass
from typing import Literal

from core.errors import ConfigError

ADDRESS = r"(auto|[A-Za-z0-9_.\-]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+)"


@dataclass(frozen=True)
class Config:
    """Where components live; only with backend ray."""

    address: str = ""
    """of a running Ray cluster that this machine is a node of: HOST:PORT, or auto, the one of this machine; empty: a private one"""
    actors: Literal["auto", "simulator", "any"] = "auto"
    """nodes for actors. simulator: those that offer the resource `simulator`; any: those with free CPUs; auto: simulator where there is
    such a node when the actor is started. Where an autoscaler makes the first one only when asked: simulator"""

    def __post_init__(self) -> None:
        if self.address:
            check_address(self.address, "cluster.address")

    def check(self, backend: str) -> None:
        """Raises ConfigError where a run with this backend has no use for a cluster."""
        if self.address and backend != "ray":
            raise ConfigError(f"cluster.address is {self.address} but backend is {backend}; fix: --backend ray")


def check_address(address: str, setting: str) -> None:
    """Raises ConfigError where this cannot be the address of a cluster's head."""
    if not re.fullmatch(ADDRESS, address):
        raise ConfigError(f"{setting} is {address!r}. Allowed: HOST:PORT of the cluster's head, such as 10.0.0.5:6379, or auto")

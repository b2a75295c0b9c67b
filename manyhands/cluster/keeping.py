"""The Keeper of one run of a cluster, on the node where it happens to live."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.backends.node_ip import NODE_IP
from manyhands.cluster.keeper import LIMITS, Keeper, Limits
from manyhands.cluster.order import Order
from manyhands.cluster.run_folder import RunFolder


class Place(NamedTuple):
    """Where a Keeper lives."""

    address: str
    """HOST:PORT of its cluster"""
    ip: str
    """of its node"""
    devices: Sequence[str]
    """GPUs that its run was given, by their numbers on the node"""


class Keeping:
    """A Keeper with what it keeps.

    Raises:
        ConfigError: the run is not to be seen from here.
    """

    def __init__(self, order: Order, place: Place, limits: Limits = LIMITS) -> None:
        self.order, self.place = order, place
        self.folder = RunFolder(order.root, order.run)
        arguments = ["resume", order.run, "--runs", order.root, "--force", "--ray-address", place.address]
        if order.memory_fraction is not None:
            arguments += ["--memory-fraction", str(order.memory_fraction)]
        command = [sys.executable, "-m", "manyhands.cluster.driver", str(os.getpid()), *arguments]
        env = {NODE_IP: place.ip, "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ",".join(place.devices)}
        self.keeper = Keeper(command, Path(self.folder.path, "logs", "driver.log"), self.folder, env, limits)

    def status(self) -> dict[str, Any]:
        """Of the run and its Keeper in one; ``reason`` is the Keeper's where the run itself gives none."""
        run, keeper = self.folder.status(), self.keeper.status()
        reason = run["reason"] or keeper["reason"]
        own = {"node": self.place.ip, "devices": list(self.place.devices), "gpus": self.order.gpus}
        return {**run, **keeper, **own, "reason": reason}

    def tail(self, name: str, lines: int) -> str:
        return self.folder.tail(name, lines)

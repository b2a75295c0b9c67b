"""What a cluster has and what fits on it: looked at before anything is submitted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.errors import ConfigError
from manyhands.cluster.order import Order

SHOWN = ("CPU", "GPU", "learner", "simulator")


class Node(NamedTuple):
    """One machine of a cluster."""

    name: str
    """host or address"""
    resources: Mapping[str, float]
    """in total, by ray's names"""

    def describe(self) -> str:
        return (
            f"{self.name} ({', '.join(f'{name} {self.resources.get(name, 0):g}' for name in SHOWN if self.resources.get(name)) or 'none'})"
        )


def fitting(order: Order, nodes: Sequence[Node]) -> int:
    """How many runs with such an order the whole cluster holds at the same time."""
    return sum(int(min(node.resources.get(name, 0) / need for name, need in order.resources.items()) + 1e-6) for node in nodes)


def check_fits(order: Order, nodes: Sequence[Node]) -> None:
    """Raises ConfigError where no node could ever take such a run; says what there is, and what would fit."""
    if fitting(order, nodes):
        return
    needs = ", ".join(f"{name} {need:g}" for name, need in order.resources.items())
    there = "; ".join(node.describe() for node in nodes[:8]) + (f"; {len(nodes) - 8} more" if len(nodes) > 8 else "")
    learners = [node for node in nodes if node.resources.get("learner", 0) > 0]
    if not learners:
        fix = "start a node with `ray start --resources '{\"learner\": 1}'`, or pass --may-wait where an autoscaler will add one"
    else:
        largest = max(learners, key=lambda node: (node.resources.get("GPU", 0), node.resources["learner"]))
        gpus = min(1.0, largest.resources.get("GPU", 0))
        fix = f"--share {min(order.learner, largest.resources['learner']):g} --gpus {gpus:g} fits {largest.name}; or pass --may-wait"
    raise ConfigError(f"no node of the cluster can take a run, which needs {needs}. There is: {there or 'no node'}. Fix: {fix}")


def check_devices(statuses: Sequence[Mapping[str, Any]]) -> None:
    """Raises ConfigError where runs were given more of one GPU than it is, or a share of several."""
    taken: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for status in statuses:
        devices = status.get("devices") or []
        if 0 < status.get("gpus", 0) <= 1 and len(devices) != 1:
            raise ConfigError(
                f"{status['run']} has a share of {status['gpus']:g} GPU but was given {len(devices)} devices on {status['node']}"
            )
        for device in devices:
            taken.setdefault((status["node"], str(device)), []).append(status)
    for (node, device), mine in taken.items():
        if sum(min(1.0, status["gpus"]) for status in mine) > 1 + 1e-6:
            names = ", ".join(status["run"] for status in mine)
            raise ConfigError(f"GPU {device} of {node} was given to {names}, which together take more than the whole of it")

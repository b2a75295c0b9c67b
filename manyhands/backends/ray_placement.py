"""On which node of a shared cluster a component lives: beside the driver, whose memory it shares, or wherever there is room."""

from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SIMULATOR = "simulator"
"""custom resource of nodes that are for simulators, as many as they have CPUs"""


class Placement:
    """Options for each component of a run whose driver is this process.

    Args:
        actors: ``simulator``, ``any`` or ``auto``, see ``manyhands.cluster.settings``.
    """

    def __init__(self, actors: str) -> None:
        self.actors = actors
        self.own = ray.get_runtime_context().get_node_id()

    def options(self, processes: int) -> dict[str, Any]:
        """For ray, of a component with so many simulator processes; 0: it attaches to the ring, so it belongs to this node."""
        if not processes:
            return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(self.own, soft=False)}
        return {"scheduling_strategy": "SPREAD", **demand(processes, self.actors, offers(ray.nodes()))}


def offers(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    """What each living node has, of what ray tells of its nodes."""
    return [node["Resources"] for node in nodes if node["Alive"]]


def demand(processes: int, actors: str, nodes: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """What an actor asks for: a CPU for each of its processes and, where it is to go to a simulator node, as much of that."""
    special = actors == "simulator" or (actors == "auto" and any(node.get(SIMULATOR, 0) > 0 for node in nodes))
    return {"num_cpus": processes, **({"resources": {SIMULATOR: processes}} if special else {})}

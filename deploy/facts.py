"""The facts about a run that deployment files follow from, and the sizes of nodes that they come to."""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from core.errors import ConfigError

GIB = 2**30
OBJECT_STORE = GIB // 2
"""bytes of Ray's object store on each node: it carries weights and chunks on their way, replay has shared memory of its own"""
LEARNER_BYTES = 8 * GIB
"""what a learner, its evaluator and the ingest take beside replay: torch, its compiler, a copy of the networks"""
PROCESS_BYTES = GIB
"""of a process that steps simulators, with its share of an actor"""
LONGEST_NAME = 47
"""of what KubeRay gives names of its own to"""


@dataclass(frozen=True)
class Nodes:
    """Machines or pods that the run gets."""

    simulator_cpus: int = 16
    """cores of a simulator node; each steps with one process per core"""
    learner_cpus: int = 8
    """cores of a learner node"""
    gpu_share: float = 1.0
    """of a GPU that one run's learner takes, 1 / n so that n runs share it, or a whole number; 0: it learns on the CPU"""
    storage: str = "/runs"
    """folder of the runs, on a file system that every node has at this place"""

    def __post_init__(self) -> None:
        for name in ("simulator_cpus", "learner_cpus"):
            if getattr(self, name) < 1:
                raise ConfigError(f"nodes.{name.replace('_', '-')} is {getattr(self, name)}. Allowed: 1 and up")
        share = self.gpu_share
        fits = math.isfinite(share) and share >= 0 and (share == round(share) if share >= 1 or share == 0 else _is_part(share))
        if not fits:
            raise ConfigError(f"nodes.gpu-share is {share}. Allowed: 0, a whole number, or a part such as 0.5, 0.25, 0.125")
        if not re.fullmatch(r"/[A-Za-z0-9_./-]+", self.storage):
            raise ConfigError(f"nodes.storage is {self.storage!r}. Allowed: a path that begins with / and has no spaces")


def _is_part(share: float) -> bool:
    return abs(1 / share - round(1 / share)) < 0.02 / share  # 0.33 is meant to be a third


class Facts(NamedTuple):
    """Of the runs that are deployed together: one preset, several seeds."""

    preset: str
    settings: tuple[str, ...]
    """the words of the command line that differ from the preset"""
    seeds: tuple[int, ...]
    simulators: tuple[str, ...]
    """kinds: metaworld, rlbench"""
    actors: int
    """of one run"""
    processes: int
    """that step simulators, of one actor"""
    replay_bytes: int
    """of one run: in shared memory, or on disk where it spills"""
    spill: str
    """folder of the disk that holds replay; empty: shared memory"""
    clients: int
    """of the gateway; 0: it has none"""
    nodes: Nodes
    fixed: tuple[str, ...] = ()
    """words that settle what else would go by the cores of whatever machine it finds itself on, or where its components live"""

    @property
    def name(self) -> str:
        """Of the deployment: letters, digits and dashes."""
        plain = re.sub(r"[^a-z0-9-]+", "-", self.preset.lower()).strip("-")
        return f"mh-{plain}"[:LONGEST_NAME].rstrip("-") if not plain[:1].isalpha() else plain[:LONGEST_NAME].rstrip("-")

    @property
    def learners_per_node(self) -> int:
        """Runs whose learners share a learner node: those that share its GPU."""
        share = self.nodes.gpu_share
        return round(1 / share) if 0 < share < 1 else 1

    @property
    def learner_nodes(self) -> int:
        return -(-len(self.seeds) // self.learners_per_node)

    @property
    def actors_per_node(self) -> int:
        """That one simulator node has room for.

        Raises:
            ConfigError: not even one.
        """
        room = self.nodes.simulator_cpus // max(1, self.processes)
        if not room:
            raise ConfigError(
                f"an actor has {self.processes} simulator processes, a simulator node {self.nodes.simulator_cpus} cores. "
                f"Fix: --nodes.simulator-cpus {self.processes}, or fewer: --actors.processes {self.nodes.simulator_cpus}"
            )
        return room

    @property
    def simulator_nodes(self) -> int:
        """For all runs together."""
        return -(-self.actors * len(self.seeds) // self.actors_per_node) if self.actors else 0

    @property
    def shm_bytes(self) -> int:
        """/dev/shm of a learner node: the replay of all its runs, Ray's object store, a tenth for everything else."""
        rings = 0 if self.spill else self.replay_bytes * self.learners_per_node
        return math.ceil(1.1 * (rings + OBJECT_STORE))

    @property
    def learner_bytes(self) -> int:
        """Memory of a learner node; shared memory counts."""
        return self.learners_per_node * LEARNER_BYTES + self.shm_bytes

    @property
    def simulator_bytes(self) -> int:
        """Memory of a simulator node; shared memory counts."""
        return self.nodes.simulator_cpus * PROCESS_BYTES + 2 * OBJECT_STORE

    def job(self, seed: int | str) -> tuple[str, ...]:
        """The command of one run: begins it, and goes on with it when it is given again."""
        run = (self.preset, "--seed", str(seed), "--runs", f"{self.nodes.storage}/{self.name}")
        return ("python", "-m", "deploy.again", *run, "--", *self.fixed, *self.settings)


def quantity(count: int) -> str:
    """Bytes as Kubernetes writes them, rounded up to whole MiB."""
    return f"{-(-count // 2**20)}Mi"

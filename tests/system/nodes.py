"""A Ray cluster of several nodes on this machine, each with an address of its own, that nobody else finds: for tests of launching.

``ray.cluster_utils`` is made for Ray's own tests and may change with any version; nothing but this file uses it.
"""

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

QUICKLY = {"health_check_period_ms": 1000, "health_check_failure_threshold": 4, "health_check_timeout_ms": 10_000}
"""a node whose raylet is killed is given up after some seconds instead of half a minute"""
STORE_BYTES = 80 * 2**20


class Nodes:
    """See the module; made by ``nodes``."""

    def __init__(self, folder: str, *, dashboard: bool = False) -> None:
        from ray.cluster_utils import Cluster

        web = {"include_dashboard": dashboard, **({"dashboard_port": free_port()} if dashboard else {})}
        ports = {"dashboard_agent_listen_port": free_port(), **web}  # another cluster of this machine may have the usual ones
        store = {"temp_dir": f"{folder}/ray", "object_store_memory": STORE_BYTES}
        head = {"num_cpus": 0, "_system_config": QUICKLY, **store, **ports}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.dashboard = f"http://{self.cluster.webui_url}" if dashboard else ""
        self.made = 1

    def add(self, cpus: int = 0, gpus: int = 0, **resources: float) -> Any:
        """A further node; ``ip(node)`` is its address."""
        self.made += 1
        options = {"num_cpus": cpus, "num_gpus": gpus, "resources": resources, "object_store_memory": STORE_BYTES}
        return self.cluster.add_node(node_ip_address=f"127.0.0.{self.made}", **options)

    def remove(self, node: Any) -> None:
        """As a machine goes that is switched off."""
        self.cluster.remove_node(node, allow_graceful=False)


def ip(node: Any) -> str:
    return node.node_ip_address


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


@contextmanager
def nodes(*, dashboard: bool = False) -> Iterator[Nodes]:
    """A head that takes nothing; with token authentication, in a folder of its own, which is removed."""
    folder = tempfile.mkdtemp(prefix="mh-", dir="/tmp")  # short, for the paths of sockets
    os.mkdir(f"{folder}/ray")
    # The temp folder also holds the name of "the" cluster of this machine, which others would join.
    surroundings = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_ADDRESS": ""}
    try:
        with mock.patch.dict(os.environ, surroundings):
            read_token()
            made = Nodes(folder, dashboard=dashboard)
            try:
                yield made
            finally:
                made.cluster.shutdown()
    finally:
        read_token()
        shutil.rmtree(folder, ignore_errors=True)


def read_token() -> None:
    """Ray has read the environment when it was imported; a process of its own, as people have, needs none of this."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()

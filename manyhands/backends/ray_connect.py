"""How this process joins a Ray cluster: a running one, or a private one of its own that leaves nothing behind."""

import logging
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray.exceptions import RayError

from core.errors import ManyhandsError
from manyhands.backends.node_ip import NODE_IP

OBJECT_STORE_BYTES = 256 * 2**20
"""of a private cluster: it carries weights and large chunks, replay has shared memory of its own"""
FOLDER = "manyhands-ray-"
LONGEST_REASON = 400


def connect(address: str = "local") -> str:
    """Connects this process to a cluster. Returns the folder of a private one, to be removed after it; empty otherwise.

    Args:
        address: HOST:PORT of a head, ``auto`` for the cluster of this machine, ``local`` for a private one.

    Raises:
        ManyhandsError: there is no such cluster, it is of another version, or none could be started.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    folder = ""
    if address == "local":
        # A token of its own: ray would otherwise leave one in the home folder, which changes later `ray start` calls of this user.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        _sweep()
        # Short: the paths of ray's sockets have to fit into 107 bytes.
        folder = tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir="/tmp")
        # No CPUs: components take none, and ray would start that many processes in advance.
        options |= {"_temp_dir": folder, "num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    elif node := os.environ.get(NODE_IP):
        options |= {"_node_ip_address": node}
    try:
        ray.init(address=address, **options)
    except (RayError, RuntimeError, ValueError, OSError) as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise ManyhandsError(f"ray could not {'start' if folder else f'connect to {address}'}: {in_one_line(error)}") from error
    return folder


def in_one_line(error: Exception) -> str:
    """Ray's first line; all of it where it says which versions do not agree, because that is in the others."""
    text = str(error).strip()
    if text.startswith("Version mismatch"):
        fix = "install the same Ray and the same Python on both sides"
        return f"{' '.join(text.split())[:LONGEST_REASON].rstrip('.')}. Fix: {fix}"
    return text.partition("\n")[0]


def divert_messages(log: Path) -> None:
    """What ray would print about dying processes, in the middle of the live view: the fleet answers and counts those by itself."""
    log.parent.mkdir(parents=True, exist_ok=True)

    def write(data: dict[str, Any], **_: Any) -> None:
        with log.open("a") as file:
            file.writelines(f"{line}\n" for line in data["lines"])

    ray_worker.print_to_stdstream = write


def _sweep() -> None:
    """Removes the folders of private clusters whose driver was killed."""
    for path in Path("/tmp").glob(f"{FOLDER}*-*"):
        driver = path.name.removeprefix(FOLDER).partition("-")[0]
        if not Path("/proc", driver).exists():
            shutil.rmtree(path, ignore_errors=True)

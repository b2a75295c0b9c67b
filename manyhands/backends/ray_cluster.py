"""A Ray cluster as the commands see it: its nodes, and the Keepers of runs, which are detached actors with names."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from core.errors import ManyhandsError
from manyhands.backends.ray_connect import connect, divert_messages
from manyhands.cluster.keeping import Keeping, Place
from manyhands.cluster.nodes import Node
from manyhands.cluster.order import Order

NAMESPACE = "manyhands"
PREFIX = "keeper:"
CALLS_AT_ONCE = 8
"""of a Keeper: one that waits for a run to save must not keep others from asking"""


class KeeperActor:
    """The Ray actor. When its node dies Ray makes it again on another that has room, and it goes on with the run.

    Args:
        order: JSON of an ``Order``.
    """

    def __init__(self, order: str) -> None:
        self.order = Order.from_json(order)
        self.keeping: Keeping | None = None
        self.error = ""
        context = ray.get_runtime_context()
        devices = [str(device) for device in context.get_accelerator_ids().get("GPU", [])]
        self.place = Place(context.gcs_address, ray.util.get_node_ip_address(), devices)
        try:
            self.keeping = Keeping(self.order, self.place)
        except ManyhandsError as error:
            self.error = str(error)
            return
        threading.Thread(target=self._keep, args=(self.keeping,), daemon=True, name="keeper").start()

    def _keep(self, keeping: Keeping) -> None:
        try:
            keeping.keeper.keep()
        finally:  # gives its share of the node back; the registry tells how the run ended
            ray.kill(ray.get_actor(PREFIX + self.order.run, NAMESPACE))

    def ask(self, method: str, *args: Any) -> Any:
        """``status``, ``tail`` or ``stop``."""
        if self.keeping is None:
            if method == "status":
                return {"run": self.order.run, "root": self.order.root, "state": "failed", "reason": self.error, "node": self.place.ip}
            raise ManyhandsError(self.error)
        return getattr(self.keeping.keeper if method == "stop" else self.keeping, method)(*args)


class RayCluster:
    """Connects this process, which has to be on a node of the cluster.

    Args:
        address: HOST:PORT of the head, or auto.
    """

    def __init__(self, address: str) -> None:
        connect(address)
        divert_messages(Path(os.devnull))

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def nodes(self) -> list[Node]:
        """Those that are alive."""
        return [Node(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]

    def keep(self, order: Order) -> None:
        """Makes the Keeper of a run; it begins as soon as a node has room.

        Raises:
            ManyhandsError: the run has one already.
        """
        resources = {name: amount for name, amount in order.resources.items() if name != "GPU"}
        options = {"name": PREFIX + order.run, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1, "num_cpus": 0}
        options |= {"max_task_retries": 0, "max_concurrency": CALLS_AT_ONCE, "num_gpus": order.gpus, "resources": resources}
        try:
            ray.remote(**options)(KeeperActor).remote(order.to_json())
        except ValueError as error:
            raise ManyhandsError(f"{order.run} is on this cluster already; see manyhands top") from error

    def kept(self) -> list[str]:
        """Ids of all runs that have a Keeper, also one that waits for a node."""
        actors: list[Any] = ray.util.list_named_actors(all_namespaces=True)
        names = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE and actor["name"].startswith(PREFIX)]
        return sorted(name.removeprefix(PREFIX) for name in names)

    def ask(self, runs: Sequence[str], method: str, *args: Any, limit_s: float) -> dict[str, Any]:
        """The same of several Keepers at once. Returns run -> answer, None of those that are gone or did not answer in time."""
        calls = {}
        for run in runs:
            try:
                calls[run] = ray.get_actor(PREFIX + run, NAMESPACE).ask.remote(method, *args)
            except ValueError:
                calls[run] = None
        refs = [ref for ref in calls.values() if ref is not None]
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=limit_s)
        return {run: ref and _answer(ref) for run, ref in calls.items()}

    def end(self, run: str) -> None:
        """Ends a Keeper without asking it."""
        try:
            ray.kill(ray.get_actor(PREFIX + run, NAMESPACE))
        except ValueError:
            return


def _answer(ref: Any) -> Any:
    try:
        return ray.get(ref, timeout=0)
    except (GetTimeoutError, RayActorError):
        return None
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, ManyhandsError) else error from None
    except RayError as error:
        raise ManyhandsError(f"the cluster did not answer: {str(error).partition(chr(10))[0]}") from error

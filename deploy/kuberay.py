"""Kubernetes, through KubeRay: a RayCluster for many runs, a RayJob per run, the claim of their storage, a script that makes the Secrets.

A pod is a Ray node. The head has no actors; simulator pods offer the resource ``simulator``, one per core, learner pods ``learner``. The
cluster's tables survive its head in Redis (``deploy.redis``). A RayJob that failed is tried again on a new cluster, where the same command
goes on with the run, from its checkpoint on the storage.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from core.errors import ConfigError
from deploy import kuberay_redis
from deploy.crd import check_fields
from deploy.facts import GIB, OBJECT_STORE, Facts, quantity
from deploy.files import as_yaml, template

API = "ray.io/v1"
RAY = "2.60.0"
"""that of constraints.txt; KubeRay asks for it where there is a token"""
SHM = "shared-mem"
"""the name that KubeRay itself would give this volume"""


@dataclass(frozen=True)
class Options:
    """How the cluster is made."""

    namespace: str = "manyhands"
    """of everything"""
    image: str = "manyhands-learner:0.1.0"
    """of head and learners, see `manyhands deploy docker`; a tag other than latest, or a digest"""
    simulator_image: str = "manyhands-simulator:0.1.0"
    """of simulators; the same Python and Ray"""
    spot: str = ""
    """KEY=VALUE of the label that spot nodes have, which simulators may be put on; empty: anywhere"""
    storage_class: str = ""
    """of the claim for runs, one that many nodes may write to; empty: that of the cluster"""
    storage_gib: int = 200
    """of the claim"""
    retries: int = 20
    """how often a job that failed is tried again, on a new cluster"""

    def __post_init__(self) -> None:
        label = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
        if not re.fullmatch(label, self.namespace):
            raise ConfigError(f"namespace is {self.namespace!r}. Allowed: small letters, digits and dashes, a letter first")
        for name in ("image", "simulator_image"):
            if not re.fullmatch(r"\S+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})", getattr(self, name)):
                raise ConfigError(
                    f"{name.replace('_', '-')} is {getattr(self, name)!r}. Allowed: NAME:TAG, not latest, or NAME@sha256:...: "
                    "all nodes must have the same"
                )
        if self.spot and not re.fullmatch(r"[\w./-]+=[\w.-]+", self.spot):
            raise ConfigError(f"spot is {self.spot!r}. Allowed: KEY=VALUE, for example eks.amazonaws.com/capacityType=SPOT")
        for name, least in (("storage_gib", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name.replace('_', '-')} is {getattr(self, name)}. Allowed: {least} and up")


def render(facts: Facts, options: Options) -> dict[str, str]:
    """File name -> text, all checked.

    Raises:
        ConfigError: sizes that cannot be.
    """
    cluster = ray_cluster(facts, options)
    files = {"storage.yaml": as_yaml(claim(facts, options)), "redis.yaml": as_yaml(*kuberay_redis.manifests(options.namespace))}
    check_fields(cluster)
    files["raycluster.yaml"] = as_yaml(cluster)
    for seed in facts.seeds:
        job = ray_job(facts, options, seed)
        check_fields(job)
        files[f"rayjob-s{seed}.yaml"] = as_yaml(job)
    return files | {"secrets.sh": template("kuberay_secrets.sh", namespace=options.namespace, users=kuberay_redis.USERS)}


def ray_cluster(facts: Facts, options: Options) -> dict[str, Any]:
    """With room for all seeds."""
    return {"apiVersion": API, "kind": "RayCluster", "metadata": _metadata(facts.name, options), "spec": cluster_spec(facts, options)}


def ray_job(facts: Facts, options: Options, seed: int) -> dict[str, Any]:
    """One seed, on a cluster that is made for it and goes with it."""
    alone = facts._replace(seeds=(seed,), nodes=_whole(facts))
    share = facts.nodes.gpu_share
    spec = {
        # On a learner node, where the run's learner, replay and evaluator share memory with it.
        "entrypoint": " ".join(_quoted(word) for word in facts.job(seed)),
        "entrypointResources": json.dumps({"learner": 1}),
        **({"entrypointNumGpus": max(1, round(share))} if share else {}),
        "backoffLimit": options.retries,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "rayClusterSpec": cluster_spec(alone, options),
    }
    return {"apiVersion": API, "kind": "RayJob", "metadata": _metadata(f"{facts.name[:40].rstrip('-')}-s{seed}", options), "spec": spec}


def _whole(facts: Facts) -> Any:
    """A job's cluster has one run, which need not share its GPU."""
    nodes = facts.nodes
    return replace(nodes, gpu_share=1.0) if 0 < nodes.gpu_share < 1 else nodes


def _quoted(word: str) -> str:
    """For a shell, and the same whenever nothing needs it."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "'\"'\"'") + "'"


def cluster_spec(facts: Facts, options: Options) -> dict[str, Any]:
    """Of a RayCluster, or inside a RayJob."""
    groups = [_learners(facts, options)]
    if facts.actors:
        groups.insert(0, _simulators(facts, options))
    return {
        "rayVersion": RAY,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 300},
        "authOptions": {"mode": "token", "secretName": kuberay_redis.TOKEN},
        "gcsFaultToleranceOptions": {
            "redisAddress": f"{kuberay_redis.NAME}:6379",
            "redisUsername": {"value": kuberay_redis.USER},
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": kuberay_redis.NAME, "key": "password"}}},
        },
        "headGroupSpec": {
            "resources": {"CPU": "0"},  # no actor is ever placed here
            "rayStartParams": {"object-store-memory": str(OBJECT_STORE)},
            "template": _pod("ray-head", options.image, _amounts(2, 8 * GIB), 2 * OBJECT_STORE, facts, ports=True),
        },
        "workerGroupSpecs": groups,
    }


def _simulators(facts: Facts, options: Options) -> dict[str, Any]:
    cpus = facts.nodes.simulator_cpus
    pod = _pod("simulator", options.simulator_image, _amounts(cpus, facts.simulator_bytes), 2 * OBJECT_STORE, facts)
    if options.spot:
        key, _, value = options.spot.partition("=")
        pod["spec"] |= {"nodeSelector": {key: value}, "tolerations": [{"key": key, "operator": "Equal", "value": value}]}
    return _group("simulator", pod, facts.simulator_nodes, {"CPU": str(cpus), "simulator": str(cpus)})


def _learners(facts: Facts, options: Options) -> dict[str, Any]:
    nodes = facts.nodes
    gpus = max(1, round(nodes.gpu_share)) if nodes.gpu_share else 0  # Kubernetes has whole ones; Ray divides them
    pod = _pod("learner", options.image, _amounts(nodes.learner_cpus, facts.learner_bytes, gpus), facts.shm_bytes, facts)
    offered = {"CPU": str(nodes.learner_cpus), "learner": "1", **({"GPU": str(gpus)} if gpus else {})}
    return _group("learner", pod, facts.learner_nodes, offered)


def _group(name: str, pod: dict[str, Any], most: int, offered: dict[str, str]) -> dict[str, Any]:
    start = {"object-store-memory": str(OBJECT_STORE)}
    sizes = {"replicas": 0, "minReplicas": 0, "maxReplicas": most}  # the autoscaler adds what is asked for
    return {"groupName": name, **sizes, "resources": offered, "rayStartParams": start, "template": pod}


def _pod(name: str, image: str, amounts: dict[str, Any], shm: int, facts: Facts, *, ports: bool = False) -> dict[str, Any]:
    """Args: shm: bytes of /dev/shm, which count as memory of the container."""
    container = {
        "name": name,
        "image": image,
        "resources": amounts,
        "volumeMounts": [{"name": SHM, "mountPath": "/dev/shm"}, {"name": "runs", "mountPath": facts.nodes.storage}],
    }
    if ports:
        numbers = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
        container["ports"] = [{"name": port, "containerPort": number} for port, number in numbers.items()]
    volumes = [
        {"name": SHM, "emptyDir": {"medium": "Memory", "sizeLimit": quantity(shm)}},
        {"name": "runs", "persistentVolumeClaim": {"claimName": f"{facts.name}-runs"}},
    ]
    # The user of our images may write to the storage.
    return {"spec": {"securityContext": {"fsGroup": 1000}, "containers": [container], "volumes": volumes}}


def _amounts(cpus: int, memory: int, gpus: int = 0) -> dict[str, Any]:
    """The same as request and limit, so that nobody is put where it does not fit; GPUs are whole."""
    amount = {"cpu": str(cpus), "memory": quantity(memory), **({"nvidia.com/gpu": gpus} if gpus else {})}
    return {"requests": dict(amount), "limits": dict(amount)}


def claim(facts: Facts, options: Options) -> dict[str, Any]:
    """Of the storage that all pods share; it outlives every cluster."""
    spec: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": f"{options.storage_gib}Gi"}}}
    if options.storage_class:
        spec["storageClassName"] = options.storage_class
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    return {**kind, "metadata": _metadata(f"{facts.name}-runs", options), "spec": spec}


def _metadata(name: str, options: Options) -> dict[str, Any]:
    return {"name": name, "namespace": options.namespace}

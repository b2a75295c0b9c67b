"""Redis in the same namespace, which keeps the tables of Ray clusters so that a head may die; and the names of the Secrets."""

from typing import Any

from deploy import redis
from deploy.facts import GIB, quantity

NAME = "manyhands-redis"
"""of everything of it, and of the Secret with its password"""
TOKEN = "manyhands-ray-token"
"""Secret with Ray's token under ``auth_token``, as KubeRay reads it"""
USER = redis.GCS_USER
USERS = redis.user_line(redis.GCS)
"""what the user may do; the script that makes the Secrets puts the password's hash in"""
IMAGE = "redis:7.4.2-bookworm"


def manifests(namespace: str) -> list[dict[str, Any]]:
    """Its configuration, its Service, and one replica with a disk, which only pods of this namespace's Ray clusters reach."""
    about = {"metadata": {"name": NAME, "namespace": namespace, "labels": {"app": NAME}}}
    configuration = redis.configuration(redis.GCS, redis.Options(listen="0.0.0.0", folder="/data", users="/secrets/users.acl"))
    port = {"name": "redis", "port": 6379}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", **about, "data": {"redis.conf": configuration}},
        {"apiVersion": "v1", "kind": "Service", **about, "spec": {"clusterIP": "None", "selector": {"app": NAME}, "ports": [port]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **about, "spec": _only_ray()},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", **about, "spec": _server()},
    ]


def _only_ray() -> dict[str, Any]:
    """Its labels are KubeRay's own."""
    rays = {"podSelector": {"matchLabels": {"ray.io/is-ray-node": "yes"}}}
    operator = {"podSelector": {"matchLabels": {"app.kubernetes.io/created-by": "kuberay-operator"}}}
    allowed = {"from": [rays, operator], "ports": [{"protocol": "TCP", "port": 6379}]}
    return {"podSelector": {"matchLabels": {"app": NAME}}, "policyTypes": ["Ingress"], "ingress": [allowed]}


def _server() -> dict[str, Any]:
    amounts = {"cpu": "500m", "memory": quantity(GIB)}
    container = {
        "name": "redis",
        "image": IMAGE,
        "command": ["redis-server", "/conf/redis.conf"],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "readinessProbe": {"tcpSocket": {"port": 6379}},
        "volumeMounts": [
            {"name": "conf", "mountPath": "/conf", "readOnly": True},
            {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    users = {"secretName": NAME, "items": [{"key": "users.acl", "path": "users.acl"}], "defaultMode": 0o440}
    identity = {"runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999}
    volumes = [{"name": "conf", "configMap": {"name": NAME}}, {"name": "secrets", "secret": users}]
    disk = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}
    return {
        "serviceName": NAME,
        "replicas": 1,
        "selector": {"matchLabels": {"app": NAME}},
        "template": {
            "metadata": {"labels": {"app": NAME}},
            "spec": {"securityContext": identity, "containers": [container], "volumes": volumes},
        },
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": disk}],
    }

"""What Prometheus asks, and a dashboard for Grafana: Ray's own metrics, and those of our runs by ``deploy.exporter``."""

import json
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError
from deploy.facts import Facts
from deploy.files import as_yaml

PORT = 9808
"""of the exporter, where nothing else is said"""
LEGEND = "{{run}}"

PANELS: tuple[tuple[str, str, str, str], ...] = (
    ("Success of training episodes", "manyhands_actor_success_any", "percentunit", LEGEND),
    ("Success of evaluations", "manyhands_eval_success_any", "percentunit", LEGEND),
    ("Env steps per second", "manyhands_actor_steps_per_s", "ops", LEGEND),
    ("Updates per second", "manyhands_learner_updates_per_s", "ops", LEGEND),
    ("Env steps", "manyhands_step", "short", LEGEND),
    ("Lag of acting policies, in versions", "manyhands_lag_versions", "short", LEGEND),
    ("How full replay is", "manyhands_replay_fill", "percentunit", LEGEND),
    ("Updates per env step", "manyhands_replay_ratio", "short", LEGEND),
    ("Lost simulators and restarted actors", "manyhands_actor_lost_simulators + manyhands_actor_restarts", "short", LEGEND),
    ("Seconds since the last row", "time() - manyhands_time", "s", LEGEND),
    ("CPU of nodes", "ray_node_cpu_utilization", "percent", "{{instance}} {{RayNodeType}}"),
    ("Memory of nodes", "ray_node_mem_used_host / ray_node_mem_total_host", "percentunit", "{{instance}} {{RayNodeType}}"),
    ("Shared memory of nodes: replay and Ray's objects", "ray_node_mem_shared_bytes", "bytes", "{{instance}}"),
    ("GPUs", "ray_node_gpus_utilization", "percent", "{{instance}} {{GpuIndex}}"),
    ("Ray actors by state", 'sum(ray_actors{Source="gcs"}) by (State)', "short", "{{State}}"),
    ("Simulator and learner shares in use", 'sum(ray_resources{Name=~"simulator|learner",State="USED"}) by (Name)', "short", "{{Name}}"),
)
"""title, query, unit, legend"""


@dataclass(frozen=True)
class Options:
    """Where metrics are asked for."""

    exporter: str = f"127.0.0.1:{PORT}"
    """HOST:PORT of the exporter, as Prometheus reaches it"""
    ray: str = "/tmp/ray/prom_metrics_service_discovery.json"
    """file by which a Ray head tells where its nodes answer; Prometheus runs on the head, or reads a copy"""
    image: str = "manyhands-learner:0.1.0"
    """of the exporter in Kubernetes"""
    namespace: str = "manyhands"

    def __post_init__(self) -> None:
        host, _, port = self.exporter.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(f"exporter is {self.exporter!r}. Allowed: HOST:PORT")


def render(facts: Facts, options: Options) -> dict[str, str]:
    """``prometheus.yml`` for machines, ``kubernetes.yaml`` for its operator, ``dashboard.json`` for both."""
    return {
        "prometheus.yml": as_yaml(prometheus(options)),
        "kubernetes.yaml": as_yaml(*kubernetes(facts, options)),
        "dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
    }


def prometheus(options: Options) -> dict[str, Any]:
    """Of a Prometheus on the head."""
    rays = {"job_name": "ray", "file_sd_configs": [{"files": [options.ray]}]}
    ours = {"job_name": "manyhands", "static_configs": [{"targets": [options.exporter]}]}
    return {"global": {"scrape_interval": "15s"}, "scrape_configs": [rays, ours]}


def kubernetes(facts: Facts, options: Options) -> list[dict[str, Any]]:
    """The exporter as a pod that reads the runs, and what Prometheus' operator is to ask: it, and all Ray pods."""
    name, labels = f"{facts.name}-exporter", {"app": f"{facts.name}-exporter"}
    about = {"name": name, "namespace": options.namespace}
    amounts = {"cpu": "100m", "memory": "256Mi"}
    container = {
        "name": "exporter",
        "image": options.image,
        # All addresses of its pod: within it nobody else is, and Prometheus is elsewhere.
        "command": ["python", "-m", "deploy.exporter", "--runs", facts.nodes.storage, "--listen", f"0.0.0.0:{PORT}"],
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "volumeMounts": [{"name": "runs", "mountPath": facts.nodes.storage, "readOnly": True}],
    }
    volume = {"name": "runs", "persistentVolumeClaim": {"claimName": f"{facts.name}-runs", "readOnly": True}}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": [volume]}}
    asked = [{"port": "metrics"}]
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor"}
    rays = {"selector": {"matchLabels": {"ray.io/is-ray-node": "yes"}}, "podMetricsEndpoints": asked}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": {"selector": {"matchLabels": labels}, "template": pod}},
        {**monitor, "metadata": about, "spec": {"selector": {"matchLabels": labels}, "podMetricsEndpoints": asked}},
        {**monitor, "metadata": {"name": f"{facts.name}-ray", "namespace": options.namespace}, "spec": rays},
    ]


def dashboard() -> dict[str, Any]:
    """Two panels in a row."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [{"refId": "A", "datasource": source, "expr": query, "legendFormat": legend}],
        }
        for number, (title, query, unit, legend) in enumerate(PANELS)
    ]
    variable = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "manyhands",
        "title": "manyhands",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": panels,
    }

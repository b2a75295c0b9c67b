"""The fields of KubeRay's manifests that we render, and nothing else: JSON schema of RayCluster and RayJob (``ray.io/v1``), strict.

A field that is not here is a typo, or something that the renderer has learned and this file not. The whole resource
definitions, which a cluster has, are checked by ``manyhands deploy kuberay --crd FILE``; what we render passes those of KubeRay 1.7.0.
"""

from typing import Any

Schema = dict[str, Any]


def fields(required: str, **properties: Schema) -> Schema:
    """An object with these fields only; ``required``: names, with spaces in between."""
    shape = {"type": "object", "additionalProperties": False, "properties": {name.replace("_", ""): of for name, of in properties.items()}}
    return shape | ({"required": required.split()} if required else {})


def many(of: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": of, "minItems": least}


TEXT: Schema = {"type": "string", "minLength": 1}
YES_OR_NO: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
NAME: Schema = {"type": "string", "pattern": r"^[a-z]([a-z0-9-]*[a-z0-9])?$", "maxLength": 63}
QUANTITY: Schema = {"type": "string", "pattern": r"^[1-9][0-9]*(m|Mi|Gi)?$"}
NUMBER: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
"""of a Ray resource: KubeRay wants text"""
JSON_NUMBERS: Schema = {"type": "string", "pattern": r"^\{(\"[a-z_]+\": [0-9.]+(, )?)+\}$"}

AMOUNTS = fields("cpu memory", cpu=QUANTITY, memory=QUANTITY)
AMOUNTS["properties"]["nvidia.com/gpu"] = {"type": "integer", "minimum": 1}  # Kubernetes gives whole ones only
CONTAINER = fields(
    "name image resources volumeMounts",
    name=NAME,
    image=TEXT,
    resources=fields("requests limits", requests=AMOUNTS, limits=AMOUNTS),
    ports=many(fields("name containerPort", name=NAME, containerPort={"type": "integer", "minimum": 1, "maximum": 65535})),
    volumeMounts=many(fields("name mountPath", name=NAME, mountPath={"type": "string", "pattern": "^/"}), 2),
)
VOLUME = fields(
    "name",
    name=NAME,
    emptyDir=fields("medium sizeLimit", medium={"const": "Memory"}, sizeLimit=QUANTITY),
    persistentVolumeClaim=fields("claimName", claimName=NAME),
)
POD = fields(
    "containers volumes",
    containers=many(CONTAINER, 1),
    volumes=many(VOLUME, 2),
    securityContext=fields("fsGroup", fsGroup=COUNT),
    nodeSelector=TEXTS,
    tolerations=many(fields("key operator value", key=TEXT, operator={"const": "Equal"}, value=TEXT)),
)
TEMPLATE = fields("spec", spec=POD)
START = {"type": "object", "additionalProperties": {"type": "string"}}
OFFERED = fields("CPU", CPU=NUMBER, GPU=NUMBER, simulator=NUMBER, learner=NUMBER)
SECRET_KEY = fields("valueFrom", valueFrom=fields("secretKeyRef", secretKeyRef=fields("name key", name=NAME, key=TEXT)))

CLUSTER = fields(
    "rayVersion authOptions gcsFaultToleranceOptions headGroupSpec workerGroupSpecs",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    enableInTreeAutoscaling=YES_OR_NO,
    autoscalerOptions=fields("", version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT),
    authOptions=fields("mode secretName", mode={"const": "token"}, secretName=NAME),
    gcsFaultToleranceOptions=fields(
        "redisAddress redisUsername redisPassword",
        redisAddress=TEXT,
        redisUsername=fields("value", value=TEXT),
        redisPassword=SECRET_KEY,  # never the password itself
    ),
    headGroupSpec=fields("resources rayStartParams template", resources=OFFERED, rayStartParams=START, template=TEMPLATE),
    workerGroupSpecs=many(
        fields(
            "groupName replicas minReplicas maxReplicas resources rayStartParams template",
            groupName=NAME,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas={"type": "integer", "minimum": 1},
            resources=OFFERED,
            rayStartParams=START,
            template=TEMPLATE,
        ),
        1,
    ),
)
JOB = fields(
    "entrypoint entrypointResources backoffLimit shutdownAfterJobFinishes rayClusterSpec",
    entrypoint=TEXT,
    entrypointResources=JSON_NUMBERS,
    entrypointNumGpus={"type": "number", "exclusiveMinimum": 0},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes={"const": True},
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=CLUSTER,
)


def _whole(kind: str, spec: Schema, longest: int) -> Schema:
    name = NAME | {"maxLength": longest}
    about = fields("name namespace", name=name, namespace=NAME)
    return fields("apiVersion kind metadata spec", apiVersion={"const": "ray.io/v1"}, kind={"const": kind}, metadata=about, spec=spec)


SCHEMAS = {"RayCluster": _whole("RayCluster", CLUSTER, 53), "RayJob": _whole("RayJob", JOB, 47)}
"""kind -> schema; names are as long as KubeRay's own, which it makes from them, allow"""

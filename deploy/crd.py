"""Whether a manifest is one that KubeRay takes: by our own strict schema, and by the whole resource definition where that is at hand.

The only file that imports jsonschema. A mistake is one line that says where.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from core.errors import ConfigError, unknown
from deploy.files import read_yaml
from deploy.kuberay_schema import SCHEMAS


def check_fields(manifest: Mapping[str, Any]) -> None:
    """By our own schema, and what no schema can say: volumes that are mounted are there, sums fit.

    Raises:
        ConfigError: where it is wrong, and what is allowed.
    """
    kind = manifest.get("kind", "")
    if kind not in SCHEMAS:
        raise unknown("kind of manifest", str(kind), SCHEMAS)
    _check(manifest, SCHEMAS[kind], "")
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    where = f"{kind} {manifest['metadata']['name']}"
    groups = cluster["workerGroupSpecs"]
    for name, group in (("headGroupSpec", cluster["headGroupSpec"]), *((group["groupName"], group) for group in groups)):
        _check_pod(group["template"]["spec"], f"{where}: {name}")
    for group in groups:
        low, now, most = (group[key] for key in ("minReplicas", "replicas", "maxReplicas"))
        if not low <= now <= most:
            raise ConfigError(f"{where}: {group['groupName']}: replicas is {now}, outside of minReplicas {low} to maxReplicas {most}")
    if cluster["headGroupSpec"]["resources"]["CPU"] != "0":
        raise ConfigError(f"{where}: headGroupSpec.resources.CPU must be '0', or actors are placed on the head")


def _check_pod(pod: Mapping[str, Any], where: str) -> None:
    there = [volume["name"] for volume in pod["volumes"]]
    for container in pod["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] not in there:
                raise ConfigError(f"{where}: volumeMounts name {mount['name']!r}, which is none of its volumes: {', '.join(there)}")
        shm = next((v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v), "0Mi")
        memory = container["resources"]["limits"]["memory"]
        if int(shm.removesuffix("Mi")) >= int(memory.removesuffix("Mi")):
            raise ConfigError(f"{where}: /dev/shm may take {shm}, the container no more than {memory} with it")


def check_crd(manifest: Mapping[str, Any], crds: Mapping[str, Any]) -> None:
    """By the resource definition of its kind; a field that it does not know is refused, which a cluster would silently drop.

    Args:
        crds: kind -> schema, as ``read_crds`` gives them.

    Raises:
        ConfigError: where it is wrong; or there is no definition of its kind.
    """
    if manifest["kind"] not in crds:
        raise ConfigError(f"--crd has no definition of {manifest['kind']}, only of: {', '.join(crds) or 'nothing'}")
    _check(manifest, crds[manifest["kind"]], "of the CRD: ")


def read_crds(path: Path) -> dict[str, Any]:
    """Kind -> strict schema of its version ``v1``.

    Args:
        path: what ``kubectl get crd rayclusters.ray.io rayjobs.ray.io -o yaml`` writes, or one of KubeRay's own files, or a folder of them.

    Raises:
        ConfigError: no file, no YAML, no resource definition in it.
    """
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    found = {}
    for document in (part for file in files for part in read_yaml(file, "--crd")):
        for crd in document.get("items", [document]) if isinstance(document, dict) else []:
            if crd.get("kind") == "CustomResourceDefinition":
                versions = {version["name"]: version for version in crd["spec"]["versions"]}
                if "v1" in versions:
                    found[crd["spec"]["names"]["kind"]] = strict(versions["v1"]["schema"]["openAPIV3Schema"])
    if not found:
        raise ConfigError(f"--crd {path} has no CustomResourceDefinition. Fix: kubectl get crd rayclusters.ray.io rayjobs.ray.io -o yaml")
    return found


def strict(schema: Any) -> Any:
    """The same schema as JSON schema, where an object has no fields but those it names; Kubernetes' own words are translated."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value if key in ("default", "enum", "required") else strict(value) for key, value in schema.items() if key != "properties"}
    if schema.get("x-kubernetes-int-or-string"):
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        made.pop("type", None)
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


def _check(manifest: Mapping[str, Any], schema: Mapping[str, Any], of: str) -> None:
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(manifest), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        error = errors[0]
        name = (manifest.get("metadata") or {}).get("name", "")
        where = error.json_path.removeprefix("$").removeprefix(".") or "the manifest"
        raise ConfigError(f"{manifest.get('kind')} {name} {of}{where}: {_said(error)}")


def _said(error: Any) -> str:
    if error.validator == "additionalProperties" and "properties" in error.schema:
        extra = sorted(set(error.instance) - set(error.schema["properties"]))
        return str(unknown("field", extra[0], error.schema["properties"]))
    return str(error.message)[:200]

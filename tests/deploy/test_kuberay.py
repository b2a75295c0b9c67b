"""Manifests for KubeRay: each kind of run renders to what the strict schema takes; each mutation is refused in one line, with where."""

import copy
from pathlib import Path

import pytest
import yaml

from core.errors import ConfigError
from deploy import crd, kuberay
from deploy.facts import GIB, Nodes
from tests.deploy.some import KINDS, SMALL

OPTIONS = kuberay.Options()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_run_renders_valid_manifests_the_same_every_time(kind):
    facts = KINDS[kind]
    files = kuberay.render(facts, OPTIONS)
    assert files == kuberay.render(facts, OPTIONS)
    jobs = [f"rayjob-s{seed}.yaml" for seed in facts.seeds]
    assert sorted(files) == sorted(["raycluster.yaml", "redis.yaml", "secrets.sh", "storage.yaml", *jobs])
    for name, text in files.items():
        if name.endswith(".yaml"):
            for document in yaml.safe_load_all(text):
                assert document["metadata"]["namespace"] == "manyhands"
                if document["apiVersion"] == kuberay.API:
                    crd.check_fields(document)  # what was read back is what was checked


def groups(manifest):
    return {group["groupName"]: group for group in manifest["spec"]["workerGroupSpecs"]}


def limits(group):
    return group["template"]["spec"]["containers"][0]["resources"]["limits"]


def shm(group):
    return next(v["emptyDir"]["sizeLimit"] for v in group["template"]["spec"]["volumes"] if "emptyDir" in v)


def test_sizes_follow_from_the_run():
    seeds, large = groups(kuberay.ray_cluster(KINDS["seeds"], OPTIONS)), groups(kuberay.ray_cluster(KINDS["large"], OPTIONS))
    assert seeds["learner"]["maxReplicas"] == 1 and limits(seeds["learner"])["nvidia.com/gpu"] == 1  # four share a GPU
    assert seeds["simulator"]["maxReplicas"] == 1 and large["simulator"]["maxReplicas"] == 10  # 4 x 2 x 1 and 10 x 16 processes
    assert limits(large["learner"])["nvidia.com/gpu"] == 2
    assert int(shm(large["learner"]).removesuffix("Mi")) * 2**20 >= 3 * 10**9 + GIB // 2
    assert int(shm(seeds["learner"]).removesuffix("Mi")) * 2**20 >= 4 * 35_000_000 + GIB // 2
    assert "nvidia.com/gpu" not in limits(groups(kuberay.ray_cluster(KINDS["cpu"], OPTIONS))["learner"])
    assert list(groups(kuberay.ray_cluster(KINDS["outside"], OPTIONS))) == ["learner"]
    assert shm(groups(kuberay.ray_cluster(KINDS["spilled"], OPTIONS))["learner"]) == "564Mi"


def test_a_job_is_tried_again_and_the_same_command_goes_on():
    spec = kuberay.ray_job(KINDS["large"], OPTIONS, 3)["spec"]
    assert spec["entrypoint"] == "python -m deploy.again mt50-mtmhsac --seed 3 --runs /runs/mt50-mtmhsac -- --algo.tau 0.01"
    assert spec["backoffLimit"] == 20 and spec["shutdownAfterJobFinishes"] is True
    assert spec["entrypointResources"] == '{"learner": 1}' and spec["entrypointNumGpus"] == 2
    odd = SMALL._replace(settings=("--simulator.order", "it's"))
    assert kuberay.ray_job(odd, OPTIONS, 0)["spec"]["entrypoint"].endswith("""-- --simulator.order 'it'"'"'s'""")


def test_the_token_and_the_password_are_names_of_secrets():
    for manifest in (kuberay.ray_cluster(SMALL, OPTIONS)["spec"], kuberay.ray_job(SMALL, OPTIONS, 0)["spec"]["rayClusterSpec"]):
        assert manifest["authOptions"] == {"mode": "token", "secretName": "manyhands-ray-token"}
        redis = manifest["gcsFaultToleranceOptions"]["redisPassword"]
        assert redis == {"valueFrom": {"secretKeyRef": {"name": "manyhands-redis", "key": "password"}}}


def change(path, value):
    def apply(manifest):
        *parents, last = path
        for key in parents:
            manifest = manifest[key]
        if value is None:
            del manifest[last]
        else:
            manifest[last] = value

    return apply


LEARNER = ("spec", "workerGroupSpecs", 1)
CONTAINER = (*LEARNER, "template", "spec", "containers", 0)
MUTATIONS = {
    "typo at the top": (change(("spec", "workerGroupSpec"), []), "spec: unknown field 'workerGroupSpec'. Perhaps you meant"),
    "typo in a group": (change((*LEARNER, "maxReplica"), 1), "spec.workerGroupSpecs[1]: unknown field 'maxReplica'"),
    "typo in a pod": (change((*LEARNER, "template", "spec", "volume"), []), "template.spec: unknown field 'volume'"),
    "no template": (change((*LEARNER, "template"), None), "spec.workerGroupSpecs[1]: 'template' is a required property"),
    "no container": (change((*LEARNER, "template", "spec", "containers"), []), "containers: [] should be non-empty"),
    "text for a number": (change((*LEARNER, "maxReplicas"), "4"), "maxReplicas: '4' is not of type 'integer'"),
    "a number for text": (change((*LEARNER, "resources", "learner"), 1), "resources.learner: 1 is not of type 'string'"),
    "half a GPU": (change((*CONTAINER, "resources", "limits", "nvidia.com/gpu"), 0.5), "0.5 is not of type 'integer'"),
    "a bad amount": (change((*CONTAINER, "resources", "limits", "memory"), "17 GB"), "memory: '17 GB' does not match"),
    "an open cluster": (change(("spec", "authOptions", "mode"), "disabled"), "authOptions.mode: 'token' was expected"),
    "a password": (
        change(("spec", "gcsFaultToleranceOptions", "redisPassword"), {"value": "hunter2"}),
        "redisPassword: unknown field 'value'",
    ),
    "actors on the head": (change(("spec", "headGroupSpec", "resources", "CPU"), "4"), "headGroupSpec.resources.CPU must be '0'"),
    "less than the least": (change((*LEARNER, "minReplicas"), 5), "learner: replicas is 0, outside of minReplicas 5"),
    "no such volume": (change((*CONTAINER, "volumeMounts", 0, "name"), "shm"), "volumeMounts name 'shm', which is none of its volumes"),
    "more shm than memory": (
        change((*LEARNER, "template", "spec", "volumes", 0, "emptyDir", "sizeLimit"), "999999Mi"),
        "/dev/shm may take 999999Mi",
    ),
    "an upper-case name": (change(("metadata", "name"), "Reach"), "metadata.name: 'Reach' does not match"),
    "another kind": (change(("kind",), "RayService"), "unknown kind of manifest 'RayService'"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_refused_in_one_line_that_says_where(mutation):
    apply, said = MUTATIONS[mutation]
    manifest = copy.deepcopy(kuberay.ray_cluster(SMALL, OPTIONS))
    apply(manifest)
    with pytest.raises(ConfigError) as error:
        crd.check_fields(manifest)
    assert said in str(error.value) and "\n" not in str(error.value)


CRD = """
kind: CustomResourceDefinition
spec:
  names: {kind: RayCluster}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              properties:
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
                map: {type: object, additionalProperties: {type: string}}
                either: {x-kubernetes-int-or-string: true}
              required: [map]
"""


@pytest.fixture
def definitions(tmp_path):
    (tmp_path / "ray.yaml").write_text(CRD)
    return crd.read_crds(tmp_path / "ray.yaml")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"map": {"a": "b"}, "free": {"x": {"y": 1}}, "either": 1}, ""),
        ({"map": {}, "either": "1"}, ""),
        ({"map": {}, "either": 1.5}, "spec.either: 1.5 is not valid"),
        ({"map": {"a": 1}}, "spec.map.a: 1 is not of type 'string'"),
        ({"map": {}, "fre": {}}, "of the CRD: spec: unknown field 'fre'. Perhaps you meant 'free'"),
        ({}, "spec: 'map' is a required property"),
    ],
)
def test_a_resource_definition_is_read_strictly(definitions, spec, said):
    manifest = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "x"}, "spec": spec}
    if not said:
        crd.check_crd(manifest, definitions)
        return
    with pytest.raises(ConfigError) as error:
        crd.check_crd(manifest, definitions)
    assert said in str(error.value)


def test_a_definition_that_is_none_is_said(tmp_path, definitions):
    for name, text in {"no.yaml": "a: 1", "not.yaml": "a: [", "list.yaml": "kind: List\nitems: []"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match="--crd"):
            crd.read_crds(tmp_path / name)
    with pytest.raises(ConfigError, match=r"--crd .* cannot be read"):
        crd.read_crds(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"no definition of RayJob, only of: RayCluster"):
        crd.check_crd(kuberay.ray_job(SMALL, OPTIONS, 0), definitions)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "manyhands"}, "NAME:TAG, not latest"),
        ({"simulator_image": "manyhands:latest"}, "simulator-image is 'manyhands:latest'"),
        ({"namespace": "Mine"}, "namespace is 'Mine'"),
        ({"spot": "spot"}, "KEY=VALUE"),
        ({"retries": -1}, "retries is -1"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(ConfigError) as error:
        kuberay.Options(**options)
    assert said in str(error.value)


@pytest.mark.parametrize("nodes", [{"gpu_share": 0.3}, {"gpu_share": 1.5}, {"gpu_share": -1}, {"learner_cpus": 0}, {"storage": "runs"}])
def test_nodes_that_cannot_be_are_refused(nodes):
    with pytest.raises(ConfigError, match=r"nodes\.\S+ is .*Allowed"):
        Nodes(**nodes)


def test_an_actor_that_fits_nowhere_is_refused_with_the_fix():
    with pytest.raises(ConfigError, match=r"--nodes.simulator-cpus 40"):
        kuberay.render(SMALL._replace(processes=40), OPTIONS)


def test_spot_nodes_are_for_simulators_only():
    made = groups(kuberay.ray_cluster(SMALL, kuberay.Options(spot="cloud.example/spot=true")))
    assert made["simulator"]["template"]["spec"]["nodeSelector"] == {"cloud.example/spot": "true"}
    assert "nodeSelector" not in made["learner"]["template"]["spec"]


def test_ray_is_the_one_that_is_installed():
    """KubeRay is told a version, and nodes of another one do not talk to each other."""
    pinned = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    assert f"ray=={kuberay.RAY}" in pinned

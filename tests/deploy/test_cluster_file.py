"""cluster.yaml, and what docs/cluster.md tells to put in it for other providers: by Ray's own check, and by what that misses."""

import copy
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def own():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def snippet(provider):
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (text,) = (text for text in found if re.search(rf"type: {provider}\b", text))
    return yaml.safe_load(text)


def google():
    return own() | snippet("gcp")


def machines():
    dropped = ("available_node_types", "head_node_type", "head_setup_commands")
    return {key: value for key, value in own().items() if key not in dropped} | snippet("local")


FILES = {"aws": own, "gcp": google, "local": machines}


@pytest.mark.parametrize("provider", FILES)
def test_ray_accepts_it(provider):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = FILES[provider]()
    assert config["provider"]["type"] == provider
    validate_config(prepare_config(config))


@pytest.mark.parametrize(
    "mutate",
    [
        lambda c: c.update(max_worker=3),
        lambda c: c["available_node_types"]["learner"].update(max_worker=3),
        lambda c: c["available_node_types"]["learner"]["resources"].update(GPU="one"),
        lambda c: c.pop("head_node_type"),
        lambda c: c.update(head_node_type="haed"),
        lambda c: c["provider"].update(type="asw"),
    ],
    ids=["typo", "typo in a kind", "text for a number", "no head", "another head", "unknown provider"],
)
def test_what_ray_refuses(mutate):
    """So that the test above means something."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = copy.deepcopy(own())
    mutate(config)
    with pytest.raises(Exception):  # noqa: B017 - jsonschema's, ValueError or NotImplementedError
        validate_config(prepare_config(config))


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_what_ray_does_not_check(provider):
    config = FILES[provider]()
    kinds = config["available_node_types"]
    assert set(kinds) == {"head", "simulator", "learner"} and config["head_node_type"] == "head"
    assert kinds["head"]["resources"] == {"CPU": 0}  # no actor there
    workers = [kinds["simulator"], kinds["learner"]]
    assert all(kind.get("min_workers", 0) <= kind["max_workers"] for kind in workers)
    assert sum(kind.get("min_workers", 0) for kind in workers) <= config["max_workers"] <= sum(kind["max_workers"] for kind in workers)
    assert kinds["simulator"]["resources"]["simulator"] == kinds["simulator"]["resources"]["CPU"]
    assert kinds["learner"]["resources"]["learner"] and kinds["learner"]["resources"]["GPU"]
    spot = {"aws": ("InstanceMarketOptions", {"MarketType": "spot"}), "gcp": ("scheduling", [{"preemptible": True}])}[provider]
    machine = {name: kind["node_config"].get(spot[0]) for name, kind in kinds.items()}
    assert machine["simulator"] == spot[1] and machine["head"] != spot[1] != machine["learner"]


@pytest.mark.parametrize("provider", FILES)
def test_every_node_has_the_token_the_pinned_versions_and_the_same_ray(provider):
    config = FILES[provider]()
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("make setup" in command for command in config["setup_commands"])  # by constraints.txt
    assert "-c $(VENV)/constraints.txt" in (ROOT / "Makefile").read_text()
    for command in config.get("head_setup_commands", []):
        assert "pip" not in command or "-c ~/manyhands/constraints.txt" in command
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    for command in starts:
        assert "~/manyhands/.venv/bin/ray" in command
        assert "ray start" not in command or "RAY_AUTH_MODE=token" in command
    assert "--head" in config["head_start_ray_commands"][1] and "$RAY_HEAD_IP:6379" in config["worker_start_ray_commands"][1]

"""What is known of a cluster before anything is submitted: room, shares, arguments; where actors go; what ``top`` shows."""

import dataclasses
import json

import pytest

from core.errors import ConfigError
from manyhands.cluster.arguments import parse_launch
from manyhands.cluster.enlist import Request
from manyhands.cluster.nodes import Node, check_devices, check_fits, fitting
from manyhands.cluster.order import Order, check_share
from manyhands.cluster.run_folder import RunFolder
from manyhands.cluster.settings import Config
from manyhands.cluster.top_table import cells
from manyhands.registry import Registry
from tests.system.tiny import tiny

HEAD, SIMULATORS = Node("head", {"memory": 1e9}), Node("s", {"CPU": 16, "simulator": 16})
GPU, CPU_ONLY = Node("g", {"CPU": 8, "GPU": 2, "learner": 2}), Node("c", {"CPU": 8, "learner": 1})


def test_what_fits():
    assert fitting(Order("r", "/", 0.25, 0.25), [HEAD, SIMULATORS, GPU]) == 8
    assert fitting(Order("r", "/", 1.0, 0.0), [GPU, CPU_ONLY]) == 3
    assert fitting(Order("r", "/", 1.0, 1.0), [CPU_ONLY, SIMULATORS]) == 0
    check_fits(Order("r", "/", 1.0, 0.0), [CPU_ONLY])


@pytest.mark.parametrize(
    ("order", "nodes", "told"),
    [
        (
            Order("r", "/"),
            [HEAD, SIMULATORS],
            r"needs learner 1\. There is: head \(none\); s \(CPU 16, simulator 16\)\. Fix: start a node with",
        ),
        (Order("r", "/", 1, 1), [CPU_ONLY], r"needs learner 1, GPU 1\. There is: c .* Fix: --share 1 --gpus 0 fits c"),
        (Order("r", "/", 4, 4), [CPU_ONLY, GPU], r"Fix: --share 2 --gpus 1 fits g"),
        (Order("r", "/"), [], "There is: no node"),
    ],
)
def test_no_room_says_what_there_is_and_what_would_fit(order, nodes, told):
    with pytest.raises(ConfigError, match=told):
        check_fits(order, nodes)


def on(run, node="n", devices=("0",), gpus=0.5):
    return {"run": run, "node": node, "devices": list(devices), "gpus": gpus}


def test_each_full_share_has_a_device_of_its_own():
    check_devices([on("a"), on("b"), on("c", devices=["1"], gpus=1.0), on("d", "other", gpus=1.0), on("e", devices=[], gpus=0)])
    with pytest.raises(ConfigError, match=r"GPU 0 of n was given to a, b, c"):
        check_devices([on("a"), on("b"), on("c", gpus=0.25)])
    with pytest.raises(ConfigError, match=r"a has a share of 0\.5 GPU but was given 2 devices on n"):
        check_devices([on("a", devices=["0", "1"])])


def test_shares_that_cannot_be():
    for share, gpus, device, told in (
        (0.0, 0.0, "auto", "--share is 0"),
        (1.0, -1, "auto", "--gpus is -1"),
        (1.0, 1.5, "auto", r"--gpus is 1\.5"),
        (1.0, 1, "cuda:1", "the cluster chooses the GPU"),
        (1.0, 0, "cuda", "--gpus 1"),
        (1.0, 1, "cpu", "--gpus 0"),
    ):
        with pytest.raises(ConfigError, match=told):
            check_share(share, gpus, device)
    check_share(0.25, 0.25, "cuda")


def test_an_order_is_plain_json_and_leaves_memory_to_cuda():
    order = Order("r", "/shared", 0.25, 0.25)
    assert Order.from_json(order.to_json()) == order
    assert order.memory_fraction == 0.225
    assert Order("r", "/", gpus=1.0).memory_fraction is None
    assert Order("r", "/").resources == {"learner": 1.0}


def test_a_request_is_json_and_strict():
    request = Request(tiny(backend="ray"), (0, 3), "/shared", 1.0, 0.0, False)
    assert Request.from_json(request.to_json()) == request
    data = json.loads(request.to_json())
    for wrong in ("", "{}", json.dumps({**data, "more": 1}), json.dumps({**data, "config": {**data["config"], "more": 1}})):
        with pytest.raises(ConfigError, match=r"version|more"):
            Request.from_json(wrong)


def test_launch_reads_its_arguments():
    options = parse_launch(["semicircle-pearl", "--cluster", "http://head:8265", "--runs", "/shared", "--seeds", "0-3", "--gpus", "0.25"])
    assert (options.share, options.gpus, options.config.backend, options.may_wait) == (0.25, 0.25, "ray", False)
    assert parse_launch(["semicircle-pearl", "--cluster", "auto"]).share == 1.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing-like-it", "--cluster", "auto"], "unknown preset"),
        (["semicircle-pearl"], "needs --cluster"),
        (["semicircle-pearl", "--cluster", "head"], "HOST:PORT"),
        (["semicircle-pearl", "--cluster", "auto", "--total-steps", "0"], "total_steps is 0"),
        (["semicircle-pearl", "--cluster", "auto", "--seeds", "3-1"], "--seeds is '3-1'"),
        (["semicircle-pearl", "--cluster", "http://head:8265", "--runs", "runs"], "name one of the cluster"),
        (["semicircle-pearl", "--cluster", "auto", "--backend", "inline"], "leave it out"),
        (["semicircle-pearl", "--cluster", "auto", "--cluster.address", "auto"], "has no meaning here"),
        (["semicircle-pearl", "--cluster", "auto", "--learner.device", "cuda:1"], "the cluster chooses"),
    ],
)
def test_launch_refuses_before_it_connects(arguments, told):
    with pytest.raises(ConfigError, match=told):
        parse_launch(arguments)


def test_the_address_of_a_run_goes_with_ray_only():
    with pytest.raises(ConfigError, match=r"cluster\.address is 'nowhere'"):
        Config(address="nowhere")
    with pytest.raises(ConfigError, match="backend is inline; fix: --backend ray"):
        dataclasses.replace(tiny(), cluster=Config(address="10.0.0.5:6379")).check()
    assert dataclasses.replace(tiny(backend="ray"), cluster=Config(address="auto")).check().cluster.actors == "auto"


def test_a_run_that_is_not_to_be_seen_is_told_so(tmp_path):
    with pytest.raises(ConfigError, match="has no run a-s0-1: the folder must be on storage that every learner node sees"):
        RunFolder(tmp_path, "a-s0-1")


def test_a_status_is_of_the_row_and_the_last_metrics(tmp_path):
    registry = Registry(tmp_path)
    run = registry.create("p", 0)
    folder = RunFolder(tmp_path, run)
    assert (folder.status()["saved"], folder.status()["steps_per_s"], folder.over()) == (-1, None, False)
    rows = [{"step": 1, "actor/steps_per_s": 5.0, "lag/versions": 2.0}, {"step": 2, "eval/success_any": 1.0}]
    (folder.path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"step": 3, "actor')
    registry.update(run, steps=7)
    status = folder.status()
    assert (status["steps"], status["steps_per_s"], status["lag"], status["alive"]) == (7, 5.0, 2.0, None)
    folder.end("failed", "why")
    assert (folder.row().status, folder.row().reason, folder.over()) == ("failed", "why", False)
    folder.end("stopped", "stopped")
    folder.end("failed", "later")
    assert folder.row().status == "stopped", "how it ended is not told twice"
    (folder.path / "logs").mkdir()
    (folder.path / "logs" / "driver.log").write_text("1\n2\n3\n")
    assert folder.tail("driver", 2) == "2\n3"
    for name in ("learner", "../config"):
        with pytest.raises(ConfigError, match="Allowed: driver"):
            folder.tail(name, 2)


def test_rows_of_the_table():
    live = {"run": "r", "node": "n", "state": "running", "status": "running", "steps": 12000, "steps_per_s": 50.4, "success_any": 0.5}
    live |= {"alive": 3, "pending": 1, "restarts": 1, "actor_restarts": 2, "lag": 4.0, "bytes_per_s": 2.5e6}
    assert cells(live) == ["r", "n", "running", "12,000", "50", "50%", "3 + 1", "1 + 2", "4", "2.50"]
    assert cells({"run": "r", "state": "waiting for a node"}) == ["r", "-", "waiting for a node", "-", "-", "-", "-", "-", "-", "-"]
    ended = {**live, "state": "", "status": "failed", "reason": "disk full", "restarts": None, "actor_restarts": None}
    assert cells(ended) == ["r", "n", "failed: disk full", "12,000", "-", "50%", "-", "-", "-", "-"]


@pytest.mark.ray
def test_actors_go_to_simulator_nodes_where_there_are_any():
    placement = pytest.importorskip("manyhands.backends.ray_placement")
    assert placement.demand(3, "auto", [CPU_ONLY.resources]) == {"num_cpus": 3}
    for actors, nodes in (("auto", [CPU_ONLY, SIMULATORS]), ("simulator", [CPU_ONLY])):
        asked = placement.demand(3, actors, [node.resources for node in nodes])
        assert asked == {"num_cpus": 3, "resources": {"simulator": 3}}
    assert placement.demand(3, "any", [SIMULATORS.resources]) == {"num_cpus": 3}
    assert placement.offers([{"Alive": True, "Resources": {"CPU": 1}}, {"Alive": False, "Resources": {}}]) == [{"CPU": 1}]


@pytest.mark.ray
def test_a_mismatch_of_versions_is_one_line():
    connect = pytest.importorskip("manyhands.backends.ray_connect")
    told = "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.7\nThis process on node was started with:\n"
    told += "    Ray: 2.60.0\n"
    line = connect.in_one_line(RuntimeError(told))
    assert "\n" not in line
    assert "Ray: 2.59.0" in line
    assert "2.60.0" in line
    assert connect.in_one_line(ValueError("first\nsecond")) == "first"

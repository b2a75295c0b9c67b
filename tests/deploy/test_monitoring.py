"""Dashboards show only metrics that exist: ours are those of a real run, Ray's those that its installed version knows."""

import json
import re
import threading
import time
import urllib.request
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from core.errors import ConfigError
from deploy import exporter, monitoring
from tests.deploy.some import SMALL
from tests.system.tiny import run_through, tiny


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one run that has just ended."""
    root = tmp_path_factory.mktemp("exported")
    run_through(tiny(), root)
    return root


def test_every_metric_of_ours_on_the_dashboard_is_one_of_a_run(runs):
    text = exporter.exposition(runs, time.time())
    have = set(re.findall(r"^(manyhands_\w+)\{", text, re.MULTILINE))
    shown = {name for _, query, _, _ in monitoring.PANELS for name in re.findall(r"manyhands_\w+", query)}
    assert shown and shown <= have, shown - have


def test_every_metric_of_ray_on_the_dashboard_is_one_of_ray():
    folder = Path(find_spec("ray").submodule_search_locations[0]) / "dashboard/modules"
    known = "".join(
        (folder / name).read_text() for name in ("metrics/dashboards/default_dashboard_panels.py", "reporter/reporter_agent.py")
    )
    shown = {name for _, query, _, _ in monitoring.PANELS for name in re.findall(r"ray_\w+", query)}
    assert shown and not [name for name in shown if name not in known and f'"{name.removeprefix("ray_")}"' not in known]


def test_the_text_is_as_the_format_asks(runs):
    text = exporter.exposition(runs, time.time())
    sample = re.compile(r'manyhands_\w+\{run="[^"]+"(,(task|index)="[^"]*")*\} -?[\d.e+-]+')
    types = []
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            types.append(line)
        else:
            assert sample.fullmatch(line), line
    assert len(types) == len(set(types)) and text.endswith("\n")


def test_tasks_seeds_and_odd_names_become_labels():
    row = {"step": 5, "nonfinite": ["a"], "a/loss": None, "a/b": [1, 2.5], "actor/reach-v3/return": 3, "ok": True}
    assert list(exporter.of_row(row)) == [
        ("manyhands_step", {}, 5.0),
        ("manyhands_a_b", {"index": "0"}, 1.0),
        ("manyhands_a_b", {"index": "1"}, 2.5),
        ("manyhands_task_actor_return", {"task": "reach-v3"}, 3.0),
    ]
    assert exporter._labels({"run": 'a"b\\c'}) == r'run="a\"b\\c"'


def test_a_torn_line_an_old_run_and_a_very_long_file_are_no_trouble(tmp_path):
    for name, text in {
        "torn": '{"step": 1, "time": 100}\n{"step": 2, "ti',
        "old": '{"step": 1, "time": 1}\n',
        "long": '{"x": 1, "time": 90}\n' * 20_000 + '{"step": 7, "time": 99}\n',
        "empty": "",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(text)
    text = exporter.exposition(tmp_path, 1 + exporter.RECENT_S + 50)
    assert 'manyhands_step{run="torn"} 1.0' in text and 'manyhands_step{run="long"} 7.0' in text
    assert "old" not in text and "empty" not in text
    assert exporter.main(["--runs", str(tmp_path), "--out", str(tmp_path / "x.prom"), "--once"]) == 0
    assert (tmp_path / "x.prom").exists() and not list(tmp_path.glob(".*.tmp"))


def test_it_answers_by_http(runs, monkeypatch):
    made = []
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", lambda self, *_: made.append(self))
    exporter._serve(runs, "127.0.0.1:0")
    monkeypatch.undo()
    server = made[0]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4") and b"manyhands_step" in answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/etc/passwd", timeout=10)
    finally:
        server.shutdown()
        server.server_close()


def test_files_are_valid_and_the_same_every_time():
    files = monitoring.render(SMALL, monitoring.Options())
    assert files == monitoring.render(SMALL, monitoring.Options())
    scraped = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    assert [job["job_name"] for job in scraped] == ["ray", "manyhands"]
    board = json.loads(files["dashboard.json"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) == len(monitoring.PANELS)
    kinds = [document["kind"] for document in yaml.safe_load_all(files["kubernetes.yaml"])]
    assert kinds == ["Deployment", "PodMonitor", "PodMonitor"]
    with pytest.raises(ConfigError, match="HOST:PORT"):
        monitoring.Options(exporter="here")

"""The registry: ids that find a run, several writers at once, dead processes seen as killed, a folder that moves."""

import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError
from manyhands.registry import Registry, process_start

REPOSITORY = Path(__file__).parents[2]


def child(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], cwd=REPOSITORY, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def test_create_update_get_list(tmp_path):
    registry = Registry(tmp_path / "runs")
    run = registry.create("reach-sac", 0)
    assert re.fullmatch(r"reach-sac-s0-[0-9a-f]{4}", run)
    registry.update(run, steps=100, updates=90, success_any=0.5, status="finished", reason="target reached")
    row = registry.get(run)
    assert (row.steps, row.updates, row.success_any, row.success_last, row.status, row.reason) == (
        100,
        90,
        0.5,
        None,
        "finished",
        "target reached",
    )
    assert row.path == tmp_path / "runs" / run
    assert row.path.is_dir()
    assert row.updated >= row.created > 1e9
    later = registry.create("reach-sac", "0-4")
    assert [row.id for row in registry.list()] == [later, run]


def test_reading_makes_nothing(tmp_path):
    registry = Registry(tmp_path / "runs")
    assert registry.list() == []
    with pytest.raises(ConfigError, match=r"there are no runs in .* manyhands train reach-sac"):
        registry.get("x")
    with pytest.raises(ConfigError, match="there are no runs"):
        registry.update("x", steps=1)
    assert not (tmp_path / "runs").exists()


def test_prefix_and_tail_find_a_run(tmp_path):
    registry = Registry(tmp_path)
    a, b = registry.create("reach-sac", 0), registry.create("push-sac", 0)
    assert registry.get("reach").id == a
    assert registry.get(b[-4:]).id == b
    c = registry.create("reach-sac", 0)
    with pytest.raises(ConfigError, match=f"could be any of .*{c}"):
        registry.get("reach")
    with pytest.raises(ConfigError, match=f"unknown run 'rech-sac-s0'. Closest: .*{a}"):
        registry.get("rech-sac-s0")
    with pytest.raises(ConfigError, match="unknown run ''"):
        registry.get("")


def test_wrong_updates_are_refused(tmp_path):
    registry = Registry(tmp_path)
    run = registry.create("p", 0)
    with pytest.raises(ConfigError, match=r"unknown column of a run 'step'. Perhaps you meant 'steps'"):
        registry.update(run, step=1)
    with pytest.raises(ConfigError, match="unknown status 'done'"):
        registry.update(run, status="done")
    with pytest.raises(ConfigError, match="unknown run 'q'"):
        registry.update("q", steps=1)


def test_moving_the_folder_moves_the_paths(tmp_path):
    registry = Registry(tmp_path / "a")
    run = registry.create("p", 0)
    outside = registry.create("p", 0, path=tmp_path / "elsewhere")
    (tmp_path / "a").rename(tmp_path / "b")
    moved = Registry(tmp_path / "b")
    assert moved.get(run).path == tmp_path / "b" / run
    assert moved.get(run).path.is_dir()
    assert moved.get(outside).path == tmp_path / "elsewhere"


def test_a_dead_process_is_shown_as_killed(tmp_path):
    code = "import sys; from manyhands.registry import Registry; print(Registry(sys.argv[1]).create('p', 0), flush=True); sys.stdin.read()"
    process = child(code, tmp_path)
    run = process.stdout.readline().strip()
    registry = Registry(tmp_path)
    assert registry.get(run).status == "running"
    with pytest.raises(ConfigError, match=f"is running already, as process {process.pid}"):
        registry.claim(run)
    process.kill()
    while process_start(process.pid) is not None:  # dead, and a zombie until it is waited for
        pass
    assert registry.get(run).status == "killed"
    process.communicate()
    assert [row.status for row in registry.list()] == ["killed"]
    assert registry.claim(run).status == "running"
    registry.update(run, status="stopped")
    assert registry.get(run).status == "stopped"


def test_a_reused_process_number_is_not_taken_for_the_run(tmp_path):
    registry = Registry(tmp_path)
    run = registry.create("p", 0)
    assert registry.get(run).status == "running"
    registry.update(run, process_start=registry.get(run).process_start - 1.0)
    assert registry.get(run).status == "killed"


def test_a_process_on_another_host_is_believed(tmp_path):
    registry = Registry(tmp_path)
    run = registry.create("p", 0)
    registry.update(run, host=socket.gethostname() + "-other", pid=2**22 + 1)
    assert registry.get(run).status == "running"
    with pytest.raises(ConfigError, match="pass --force"):
        registry.claim(run)
    assert registry.claim(run, force=True).host == socket.gethostname()


def test_several_processes_write_at_once(tmp_path):
    code = """if True:
        import sys
        from manyhands.registry import Registry
        registry = Registry(sys.argv[1])
        for _ in range(15):
            run = registry.create("p", 0)
            for step in range(1, 4):
                registry.update(run, steps=step)
            print(run)
    """
    writers = [child(code, tmp_path) for _ in range(4)]
    ids = [line for writer in writers for line in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * 4
    rows = Registry(tmp_path).list()
    assert sorted(row.id for row in rows) == sorted(ids)
    assert len(set(ids)) == 60
    assert {row.steps for row in rows} == {3}


def test_ids_stay_unique_when_the_dice_repeat(tmp_path, monkeypatch):
    dice = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(dice))
    registry = Registry(tmp_path)
    assert [registry.create("p", 0), registry.create("p", 0)] == ["p-s0-aaaa", "p-s0-bbbb"]


def test_another_schema_is_refused(tmp_path):
    registry = Registry(tmp_path)
    registry.create("p", 0)
    with sqlite3.connect(registry.file) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigError, match="has schema 9, this version reads 1"):
        registry.list()

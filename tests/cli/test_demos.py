"""``manyhands demos`` as a person meets it: collect, import, inspect, and what can be wrong."""

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import ask
from tests.system.tiny import PATIENCE_S

REAL = Path(__file__).parents[1] / "data" / "rlbench"
TREE = REAL.with_name("rlbench_tree")
ROOT = Path(__file__).parents[2]


def test_from_nothing_to_a_table(tmp_path):
    collecting = [
        "demos",
        "collect",
        "blocks:touch",
        "blocks:lift",
        "-n",
        "2",
        "--options",
        "size=16",
        "rotation=False",
        "--processes",
        "2",
    ]
    commands = [["demos"], ["demos", "collect", "--help"], ["demos", "inspect"], collecting, collecting, ["demos", "import", str(REAL)]]
    *looks, first, again, imported = ask(commands, tmp_path)
    assert [look["code"] for look in looks] == [0, 0, 0]
    assert "demos collect" in looks[0]["out"] or "collect TASK" in looks[0]["out"]
    assert "--retries" in looks[1]["out"] and "no demonstrations in runs/demos" in looks[2]["out"]
    assert re.match(r"4 collected, 0 were there, 0 tries failed: runs/demos/blocks/touch-\w{8}, ", first["out"])
    assert "0 of 4 demonstrations" in first["err"]
    assert again["out"].startswith("0 collected, 4 were there")
    assert imported["out"] == "2 imported, 0 were there: runs/demos/rlbench/push_button, runs/demos/rlbench/reach_target\n"
    table, one = ask([["demos", "inspect"], ["demos", "inspect", "runs/demos/rlbench/push_button/004.demo"]], tmp_path)
    assert len(table["out"].splitlines()) == 7
    assert re.search(r"blocks/lift-\w{8}/001.demo +\d+ +\d+ +3 +yes +0.0\d +seed 0, variation 1", table["out"])
    for part in ("rlbench:push_button", "front_depth float32", "near_far_m", "push_button.4.npz"):
        assert part in one["out"]


def test_rlbench_folders_in_and_other_formats_out(tmp_path):
    bad = tmp_path / "bad/reach_target/variation0/episodes/episode7"
    bad.mkdir(parents=True)
    (bad / "low_dim_obs.pkl").write_bytes(b"cos\nsystem\n(X\x08\x00\x00\x00touch ittR.")
    for camera in ("front_rgb", "front_depth"):
        shutil.copytree(TREE / "reach_target/variation0/episodes/episode1" / camera, bad / camera)
    importing = ["demos", "import", str(TREE), "bad"]
    exporting = [["demos", "export", "runs/demos/rlbench", "--format", name, "--out", name] for name in ("hdf5", "lerobot")]
    first, again, look, *exported = ask([importing, importing, ["demos", "inspect"], *exporting], tmp_path)
    assert first["out"] == "1 imported, 0 were there: runs/demos/rlbench/reach_target\n" and first["code"] == 2
    assert again["out"] == "0 imported, 1 were there: runs/demos/rlbench/reach_target\n"
    assert first["err"].startswith(
        "error: 1 of 2 could not be imported: bad/reach_target/variation0/episodes/episode7/low_dim_obs.pkl is refused: "
    )
    assert "it names 'os.system'" in first["err"] and first["err"].count("\n") == 1 and not (tmp_path / "it").exists()
    assert "reach_target/001.demo" in look["out"] and "rlbench_variation" in look["out"]
    for answer, package, path in zip(exported, ("h5py", "pyarrow"), ("hdf5/demos.hdf5", "lerobot/meta/info.json"), strict=True):
        if importlib.util.find_spec(package):
            assert answer["out"].startswith("1 demonstrations, 5 rows, the action is the next keyframe's pose: ") and answer["code"] == 0
            assert (tmp_path / path).exists()
        else:
            assert answer["code"] == 2 and f"needs {package}: pip install" in answer["err"]


def test_what_is_damaged_is_named(tmp_path):
    ask([["demos", "collect", "blocks:touch", "-n", "3", "--options", "size=16"]], tmp_path)
    (folder,) = (tmp_path / "runs" / "demos" / "blocks").iterdir()
    whole = bytearray((folder / "001.demo").read_bytes())
    whole[-9] ^= 1
    (folder / "001.demo").write_bytes(whole)
    (answer,) = ask([["demos", "inspect", str(folder)]], tmp_path)
    assert answer["code"] == 2 and answer["out"].count("yes") == 2 and "not valid" in answer["out"]
    assert re.match(r"error: 1 of 3 files are not valid: .*001.demo is damaged: its checksum is another. Fix: .*\n$", answer["err"])


BAD = {
    ("demos", "colect"): "unknown command of demos 'colect'. Perhaps you meant 'collect'",
    ("demos", "collect"): "demos collect needs a task first",
    ("demos", "collect", "blocks:tuch"): "Perhaps you meant 'touch'",
    ("demos", "collect", "dummy:point"): "the simulator of dummy:point has no expert",
    ("demos", "collect", "blocks:touch", "--options", "size"): "--options has 'size'. Allowed: NAME=VALUE",
    ("demos", "collect", "blocks:touch", "--options", "size=big"): "option 'size' of simulator blocks is 'big'. Allowed: a whole number",
    ("demos", "collect", "blocks:touch", "-n", "0"): "--count is 0. Allowed: 1 and up",
    ("demos", "collect", "blocks:touch", "-n", "x"): "'x' is not a whole number",
    ("demos", "import"): "demos import needs files",
    ("demos", "import", "nowhere"): "there is no nowhere",
    ("demos", "import", ".", "--cameras", "front,side"): "--cameras is front,side. Allowed: one or more of front, left_shoulder",
    (
        "demos",
        "import",
        str(TREE),
        "--cameras",
        "overhead",
    ): "no pictures of the camera overhead. Fix: --cameras with some of: front, wrist",
    ("demos", "export", "nowhere", "--format", "hdf5", "--out", "x"): "there is no nowhere",
    ("demos", "export", ".", "--format", "hdf5", "--out", "x"): "demos export needs demonstrations",
    ("demos", "export", ".", "--out", "x"): "--format",
    ("demos", "export", ".", "--format", "zip", "--out", "x"): "zip",
    ("demos", "export", ".", "--format", "lerobot", "--out", "x", "--fps", "0"): "--fps is 0. Allowed: 1 to 1000",
    ("demos", "inspect", "nowhere"): "there is no nowhere",
}


def test_mistakes_are_one_line(tmp_path):
    for (command, says), answer in zip(BAD.items(), ask([list(command) for command in BAD], tmp_path), strict=True):
        lines = [line for line in answer["err"].splitlines() if not re.match(r"\d+ of \d+ demonstrations", line)]
        assert answer["code"] == 2 and len(lines) == 1, (command, answer)
        assert lines[0].startswith("error: ") and says in lines[0], (command, answer)


def test_an_interruption_leaves_whole_files_and_no_process(tmp_path):
    command = ["demos", "collect", "blocks:touch", "-n", "50000", "--options", "size=16", "--processes", "2", "--out", "x"]
    process = subprocess.Popen([sys.executable, "-m", "manyhands", *command], cwd=tmp_path, stderr=subprocess.PIPE, env=_env())
    until = time.monotonic() + PATIENCE_S
    while len(list(tmp_path.rglob("*.demo"))) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    children = _children(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and err.decode().endswith("interrupted\n")
    assert len(children) == 2 and not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.rglob(".*.demo.*"))


def _env():
    import os

    return {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("sub", ["collect", "import", "inspect", "export"])
def test_help(sub, tmp_path):
    (answer,) = ask([["demos", sub, "--help"]], tmp_path)
    assert answer["code"] == 0 and not {"torch", "ray"} & set(answer["loaded"])

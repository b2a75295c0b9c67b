"""``doctor --sim``: simulators that work, that do not, and what RLBench needs, on machines with some of it."""

import os
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import simulators
from core.errors import ConfigError, MissingExtra
from manyhands import doctor_rlbench, doctor_sim
from manyhands.doctor import Answer, Check, exit_status, render
from manyhands.doctor_sim import Probe, answers, examine, played, task_of
from tests.manyhands.test_doctor import REPOSITORY

ENVIRONMENT = doctor_rlbench.environment
HAVE = "rlbench" in simulators.names()
adapter = pytest.mark.skipif(not HAVE, reason="simulators.rlbench is not there yet")
LOADED = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
LOADABLE = min((name for name in LOADED if Path(name).name.startswith("libm")), default="")
"""a library of this machine, as a stand-in: libm, which is always there"""


# ---- any simulator -----------------------------------------------------------------------------------------------------


def test_a_simulator_stands_for_its_usual_task():
    assert [task_of(name) for name in ("metaworld", "gym", "dummy", "dummy:counter")] == [
        "metaworld:reach-v3", "gym:Pendulum-v1", "dummy:point", "dummy:counter",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="Perhaps you meant 'metaworld'"):
        task_of("metaword")
    with pytest.raises(ConfigError, match="Perhaps you meant 'reach-v3'"):
        task_of("metaworld:reach-v2")


def test_one_that_works_is_made_reset_and_stepped():
    (check,) = examine("dummy")
    assert (check.name, check.status) == ("dummy:point", "ok")
    assert check.found.startswith("made in ") and " reset " in check.found and " step " in check.found


def test_a_package_that_is_missing_is_a_finding_with_its_fix(monkeypatch, tmp_path):
    (tmp_path / "gymnasium.py").write_text("raise ImportError('hidden for the test')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (check,) = examine("gym")
    assert (check.status, check.found) == ("fail", "its package is not installed")
    assert "pip install" in check.fix


def test_a_crash_is_a_finding_with_its_last_words(monkeypatch, tmp_path):
    broken = "import os, sys\nif 'simulators.worker' in ' '.join(sys.orig_argv):\n    os.write(1, b'the X server is gone'); os.abort()\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = played("dummy:point")
    assert check.status == "fail"
    assert "killed by SIGABRT" in check.found and "the X server is gone" in check.found


def test_a_hang_is_a_finding(monkeypatch):
    monkeypatch.setattr(doctor_sim, "LAUNCH_S", 0.05)
    check = played("dummy:point")
    assert check.status == "fail"
    assert "launching for more than 0.05 s" in check.found


# ---- what depends on what ----------------------------------------------------------------------------------------------


def _says(name, status="ok"):
    return lambda: Check(name, status, "found")


def test_what_needs_something_that_failed_is_not_asked_and_names_the_cause():
    asked = []

    def never():
        asked.append(1)
        return Check("c", "ok", "")

    def broken():
        raise MissingExtra("pip install d")

    probes = [Probe("a", _says("a", "fail")), Probe("w", _says("w", "warn")), Probe("b", never, ("a",)), Probe("c", never, ("b", "w"))]
    found = answers([*probes, Probe("d", broken), Probe("e", never, ("d", "c")), Probe("f", _says("f"), ("w",))])
    assert [(check.name, check.status) for check in found] == [
        ("a", "fail"), ("w", "warn"), ("b", "skip"), ("c", "skip"), ("d", "fail"), ("e", "skip"), ("f", "ok"),
    ]  # fmt: skip
    assert [check.found for check in found if check.status == "skip"] == ["needs a", "needs a", "needs d, a"]
    assert found[4].found == "pip install d"
    assert not asked


def test_the_page_has_one_line_to_repair_each_failure_and_the_way_back():
    out = StringIO()
    found = [Check("a", "fail", "none", "apt install a"), Check("b", "skip", "needs a")]
    render(Console(file=out, width=80), found, "manyhands doctor --sim x", "manyhands train y")
    assert "fix: apt install a" in out.getvalue()
    assert out.getvalue().rstrip().endswith("not ready: a. After the fix: manyhands doctor --sim x")
    assert exit_status(found) == 1


# ---- RLBench -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of CoppeliaSim, and the environment that the simulator's module would say."""
    folder = tmp_path / "CoppeliaSim_V4_1_0"
    folder.mkdir()
    for name in ("libcoppeliaSim.so", "libqxcb.so"):
        shutil.copy(LOADABLE, folder / name)
    monkeypatch.setattr(doctor_rlbench, "environment", lambda: {"COPPELIASIM_ROOT": str(folder)})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


def found(check):
    return check.status, check.found


def test_without_a_root_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor_rlbench, "environment", dict)
    monkeypatch.delenv("COPPELIASIM_ROOT", raising=False)
    check = doctor_rlbench._root()
    assert check.status == "fail"
    assert "export COPPELIASIM_ROOT=" in check.fix
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))
    assert found(doctor_rlbench._root()) == ("fail", f"{tmp_path} has no libcoppeliaSim.so, and COPPELIASIM_ROOT names it")
    monkeypatch.setenv("COPPELIASIM_ROOT", "/nowhere")
    assert found(doctor_rlbench._root()) == ("fail", "/nowhere is no folder, and COPPELIASIM_ROOT names it")


def test_a_root_folder_that_is_whole(root):
    assert found(doctor_rlbench._root())[0] == "ok"
    assert found(doctor_rlbench._library()) == ("ok", f"{root / 'libcoppeliaSim.so'} loads")
    assert found(doctor_rlbench._version()) == ("ok", "4.1.0")
    assert found(doctor_rlbench._qt()) == ("ok", f"{root / 'libqxcb.so'} loads")


def test_a_version_that_pyrep_is_not_made_for(root, monkeypatch):
    other = root.rename(root.with_name("CoppeliaSim_Edu_V4_6_0_rev18"))
    monkeypatch.setattr(doctor_rlbench, "environment", lambda: {"COPPELIASIM_ROOT": str(other)})
    assert found(doctor_rlbench._version()) == ("fail", "4.6.0, and PyRep is made for 4.1.0")


def test_a_library_that_is_damaged_or_lacks_another(root, monkeypatch):
    (root / "libcoppeliaSim.so").write_bytes(b"half a file")
    check = doctor_rlbench._library()
    assert check.status == "fail"
    assert "unpack CoppeliaSim anew" in check.fix
    for lacks, fix in (("libxcb-xinerama.so.0", "apt install libxcb-xinerama0"), ("libodd.so.3", "grep 'not found'")):
        error = f"OSError: {lacks}: cannot open shared object file: No such file or directory"
        monkeypatch.setattr(doctor_rlbench, "_ask", lambda _, error=error: Answer(None, error))
        assert fix in doctor_rlbench._library().fix


def test_without_the_platform_plugin(root):
    (root / "libqxcb.so").unlink()
    assert found(doctor_rlbench._qt()) == ("fail", f"no libqxcb.so in {root}")


def test_a_library_that_crashes_is_a_finding(root, monkeypatch):
    monkeypatch.setattr(doctor_rlbench, "LOAD", "import os; os.abort() # {path}")
    check = doctor_rlbench._library()
    assert check.status == "fail"
    assert "status -6" in check.found


def _package(folder, name, files):
    for file in files:
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_the_pyrep_of_pypi_is_told_from_the_right_one(root, tmp_path):
    if _installed("pyrep"):
        pytest.skip("a PyRep is installed here")
    assert found(doctor_rlbench._pyrep()) == ("fail", "not installed")
    _package(tmp_path, "pyrep", ["__init__.py", "repository.py"])
    check = doctor_rlbench._pyrep()
    assert found(check) == ("fail", "without a version: PyPI's pyrep, an unrelated package of that name")
    assert check.fix.startswith(f"pip uninstall -y pyrep && COPPELIASIM_ROOT={root} pip install ")
    _package(tmp_path, "pyrep", ["backend/__init__.py", "backend/sim.py"])
    assert "not built" in doctor_rlbench._pyrep().found
    _package(tmp_path, "pyrep", ["backend/_sim_cffi.py"])
    assert doctor_rlbench._pyrep().status == "ok"
    assert doctor_rlbench._pyrep_loads().status == "ok"
    (tmp_path / "pyrep" / "backend" / "_sim_cffi.py").write_text("raise ImportError('libcoppeliaSim.so.1: undefined symbol')")
    check = doctor_rlbench._pyrep_loads()
    assert check.status == "fail"
    assert "undefined symbol" in check.found and "--force-reinstall" in check.fix


@pytest.mark.parametrize(
    ("answer", "status", "says", "fix"),
    [
        (
            Answer(None, "DISPLAY names none, and Xvfb is not installed. Install it: apt install xvfb"),
            "fail",
            "installed",
            "apt install xvfb",
        ),
        (Answer({"display": ":9", "named": True, "opens": False, "glx": False}, ""), "fail", "cannot be opened", "unset DISPLAY"),
        (Answer({"display": ":9", "named": True, "opens": True, "glx": False}, ""), "fail", "no GLX", "unset DISPLAY"),
        (Answer({"display": ":1", "named": False, "opens": True, "glx": False}, ""), "fail", "no GLX", "apt install libgl1-mesa-dri"),
        (Answer({"display": ":1", "named": False, "opens": True, "glx": True}, ""), "ok", ":1, an Xvfb of its own, with GLX", ""),
    ],
)
def test_displays(monkeypatch, answer, status, says, fix):
    monkeypatch.setattr(doctor_rlbench, "_ask", lambda _: answer)
    check = doctor_rlbench._display()
    assert check.status == status
    assert says in check.found and fix in check.fix


def _installed(package):
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([sys.executable, "-P", "-c", code]).returncode == 0


@adapter
@pytest.mark.skipif(_installed("rlbench"), reason="RLBench is installed here")
def test_where_nothing_is_installed_it_says_what_to_do_and_fails(tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in ("COPPELIASIM_ROOT", "DISPLAY")}
    env |= {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "manyhands", "doctor", "--sim", "rlbench"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(re.findall("^ {10,}fix: ", done.stdout, re.MULTILINE)) == len(re.findall("^fail ", done.stdout, re.MULTILINE)) == 4
    assert "skip  library               needs CoppeliaSim" in done.stdout
    assert "Traceback" not in done.stdout


@adapter
def test_where_all_is_there_reach_target_is_reset_and_stepped(root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "doubles")]))
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "doubles"))
    monkeypatch.setattr(doctor_rlbench, "environment", ENVIRONMENT)
    monkeypatch.setenv("COPPELIASIM_ROOT", str(root))
    monkeypatch.setenv("DISPLAY", ":5")
    shutil.copy(LOADABLE, root / "libcoppeliaSim.so.1")
    monkeypatch.setattr(doctor_rlbench, "_display", lambda: Check("display", "ok", "a double"))
    checks = examine("rlbench")
    assert [(check.name, check.status, check.found) for check in checks if check.status != "ok"] == []
    assert checks[-1].name == "rlbench:reach_target"
    monkeypatch.setenv("RLBENCH_DOUBLE", '{"faults": [{"at": "step", "do": "crash"}]}')
    last = examine("rlbench")[-1]
    assert last.status == "fail"
    assert "crash while stepping" in last.found

"""The doctor: finds what is there, says what to do about what is not, never hangs and never falls over."""

import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from manyhands import doctor
from manyhands.doctor import Check, ask_child, checks, exit_status, render

REPOSITORY = Path(__file__).parents[2]
PROBES = (
    "_python",
    "_machine",
    "_shared_memory",
    "_versions",
    "_simulator",
    "_torch",
    "_compiler",
    "_ray",
    "_redis",
    "_rendering",
    "_rlbench",
)


@pytest.fixture
def healthy(monkeypatch):
    """All of the doctor's own checks answer ok at once."""
    for name in PROBES:
        monkeypatch.setattr(doctor, name, lambda name=name: Check(name, "ok", "fine"))


def shown(found):
    out = StringIO()
    render(Console(file=out, width=80), found)
    return out.getvalue()


@pytest.mark.metaworld
def test_this_machine(tmp_path):
    start = time.monotonic()
    found = checks(tmp_path)
    assert time.monotonic() - start < 15
    assert [check.name for check in found] == [
        "python", "machine", "disk", "shared memory", "mujoco", "Meta-World", "torch", "C++ compiler",
        "ray", "redis", "rendering", "rlbench",
    ]  # fmt: skip
    assert all(check.found for check in found)
    assert exit_status(found) == 0
    assert "next: manyhands train reach-sac" in shown(found)


@pytest.mark.usefixtures("healthy")
def test_extra_checks_come_last_and_cannot_break_it(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "TOTAL_TIMEOUT_S", 0.5)

    def precision():
        return Check("precision", "warn", "tf32 differs", "set x")

    def broken():
        raise RuntimeError("no such device")

    def hanging():
        time.sleep(3)

    found = checks(tmp_path, [precision, broken, hanging])
    assert found[-3] == Check("precision", "warn", "tf32 differs", "set x")
    assert found[-2] == Check("broken", "fail", "the check broke off: RuntimeError: no such device")
    assert found[-1].name == "hanging"
    assert found[-1].status == "warn"
    assert exit_status(found) == 1
    assert exit_status(found[:-2]) == 0


def test_the_page_shows_fixes_and_the_next_command():
    bad = shown([Check("a", "ok", "1.0", "optional"), Check("b", "fail", "none", "pip install b"), Check("c", "warn", "old [x]", "update")])
    assert "fail  b  none" in bad
    assert "fix: pip install b" in bad
    assert "1.0 (optional)" in bad
    assert "old [x]" in bad
    assert bad.rstrip().endswith("not ready: b. After the fix: manyhands doctor")
    good = shown([Check("c", "warn", "old", "update")])
    assert good.rstrip().endswith("next: manyhands train reach-sac")


def test_children_are_bounded_and_their_complaint_is_kept():
    assert ask_child("print('noise'); print('[1]')").value == [1]
    assert ask_child("raise ImportError('libx.so is missing')").error == "ImportError: libx.so is missing"
    assert "-9" in ask_child("import os; os.kill(os.getpid(), 9)").error
    start = time.monotonic()
    late = ask_child("import time; time.sleep(60)", timeout_s=0.3)
    assert late.late
    assert time.monotonic() - start < 5


def test_missing_and_broken_packages(monkeypatch):
    monkeypatch.setattr(doctor, "SMOKE", "import a_package_that_is_missing")
    check = doctor._simulator()
    assert (check.status, check.fix) == ("fail", "pip install metaworld mujoco")
    assert "a_package_that_is_missing" in check.found
    monkeypatch.setattr(doctor, "ask_child", lambda *_, **__: doctor.Answer(None, "no answer in 10 s", late=True))
    assert doctor._torch().status == "warn"
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    assert doctor._versions().status == "fail"


def test_untested_versions_warn(tmp_path, monkeypatch):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("mujoco==1.0\nnumpy>=2\n")
    monkeypatch.setattr(doctor, "CONSTRAINTS", constraints)
    assert doctor._versions().fix == "tested is: pip install mujoco==1.0"
    constraints.unlink()
    assert doctor._versions().status == "ok"


def test_no_compiler_is_a_warning(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    check = doctor._compiler()
    assert check.status == "warn"
    assert "not compiled" in check.fix


def test_little_disk(tmp_path, monkeypatch):
    for free, status in ((100e9, "ok"), (2e9, "warn"), (1e8, "fail")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert doctor._disk(tmp_path / "not" / "there").status == status


def test_heavy_packages_stay_in_the_children():
    code = "import sys; from manyhands import doctor, live, registry; print(sorted({'torch', 'ray', 'mujoco', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY).stdout == "[]\n"


def test_pictures_that_cannot_be_drawn_are_a_warning_with_the_way_out(monkeypatch):
    from manyhands.machine import pictures_check
    from simulators.metaworld_vision import gl

    gl.backend.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    check = pictures_check()
    assert (check.name, check.status) == ("pictures", "warn")
    assert "MUJOCO_GL is 'glfw'" in check.fix and "leave it unset" in check.fix
    gl.backend.cache_clear()

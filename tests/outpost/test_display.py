"""A display of one's own: with a stand-in for Xvfb that says its number and waits, and with the real one where it is installed."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from outpost import Failed, display

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """#!{python}
import os, pathlib, signal, sys, time
fd = int(sys.argv[sys.argv.index("-displayfd") + 1])
pathlib.Path({told!r}).write_text(f"{{os.getpid()}} {{os.getpgid(0)}}")
{then}
"""
SAYS = 'os.write(fd, b"42\\n"); time.sleep(3600)'


@pytest.fixture
def xvfb(tmp_path, monkeypatch):
    """Puts a stand-in on the path; returns the file to which it writes its process and its group."""

    def put(then=SAYS):
        program, told = tmp_path / "bin" / "Xvfb", tmp_path / "told"
        program.parent.mkdir()
        program.write_text(STAND_IN.format(python=sys.executable, told=str(told), then=then))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return told

    monkeypatch.delenv("DISPLAY", raising=False)
    return put


def gone(pid):
    """Whether a process is, within ten seconds."""
    for _ in range(1000):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def test_a_given_display_is_taken(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":5")
    assert display.private() is None


def test_it_is_named_lives_in_our_group_and_goes(xvfb):
    told = xvfb()
    shown = display.private()
    assert shown is not None and shown.name == os.environ["DISPLAY"] == ":42"
    pid, group = map(int, told.read_text().split())
    assert (pid, group) == (shown.process.pid, os.getpgid(0))
    shown.close()
    shown.close()
    assert gone(pid) and "DISPLAY" not in os.environ


def test_its_cookie_is_ours_alone_and_goes(xvfb, monkeypatch):
    monkeypatch.setenv("XAUTHORITY", "/before")
    xvfb()
    shown = display.Display()
    cookie = Path(os.environ["XAUTHORITY"])
    assert cookie.stat().st_mode & 0o077 == 0 and b"MIT-MAGIC-COOKIE-1" in cookie.read_bytes()
    assert str(cookie).encode() in Path(f"/proc/{shown.process.pid}/cmdline").read_bytes().split(b"\0")
    shown.close()
    assert not cookie.exists() and os.environ["XAUTHORITY"] == "/before"


def test_it_goes_with_the_process_that_began_it(xvfb, tmp_path):
    told = xvfb()
    code = "import time; from outpost import display; display.Display(); print('up', flush=True); time.sleep(3600)"
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert gone(int(told.read_text().split()[0]))


def test_without_xvfb_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match="Install it: apt install xvfb") as failure:
        display.private()
    assert not failure.value.retryable


def test_one_that_does_not_start_is_told_with_its_last_words(xvfb):
    told = xvfb("sys.exit('(EE) Fatal server error: no room')")
    with pytest.raises(Failed, match=r"did not start: .*no room") as failure:
        display.Display()
    assert failure.value.retryable and gone(int(told.read_text().split()[0])) and "DISPLAY" not in os.environ


def test_one_that_says_nothing_is_ended(xvfb, monkeypatch):
    xvfb("time.sleep(3600)")
    monkeypatch.setattr(display, "START_S", 1.0)
    start, started = display._start, []
    monkeypatch.setattr(display, "_start", lambda *about: started.append(start(*about)) or started[-1])
    with pytest.raises(Failed, match="did not say within 1 s"):
        display.Display()
    assert started[0][0].returncode is not None


ONE = (
    "from outpost import Failed; from outpost.rlbench import RLBench\nsimulator = RLBench('reach_target', 0, size=8)\nsimulator.reset(0)\n"
)
SHOW = "import os; print(os.environ['DISPLAY'], os.path.exists(os.environ['XAUTHORITY']), os.environ['XAUTHORITY'], flush=True)\n"
ANOTHER = "simulator.close()\nRLBench('push_buttons', 0, size=8).reset(0)\n"
HALFWAY = "try:\n    RLBench('reach_target', 1, size=8)\nexcept Failed:\n    pass\n"


@pytest.mark.parametrize("then", [ANOTHER, "simulator.close()\n" + HALFWAY, ""])
def test_a_process_with_simulators_has_one_of_its_own_to_its_end(rlbench_double, xvfb, then):
    """Qt would end the process, without a word of why a launch failed."""
    rlbench_double.script({"at": "task", "nth": 1, "do": "RuntimeError: no such handle"} if then.endswith(HALFWAY) else {"at": "never"})
    told = xvfb()
    process = subprocess.Popen(
        [sys.executable, "-c", ONE + then + SHOW + "input()"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    name, there, cookie = process.stdout.readline().decode().split()
    pid = int(told.read_text().split()[0])
    assert (name, there) == (":42", "True") and not Path(f"/proc/{pid}/stat").read_text().split(")")[1].startswith(" Z")
    process.communicate(b"\n")
    assert process.returncode == 0 and gone(pid) and not Path(cookie).exists()


def test_one_that_died_is_begun_anew(xvfb, monkeypatch):
    monkeypatch.setattr(display, "_kept", None)
    told = xvfb()
    display.keep()
    first = int(told.read_text().split()[0])
    display.keep()
    assert int(told.read_text().split()[0]) == first
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    display.keep()
    assert display._kept is not None and display._kept.process.pid != first and os.environ["DISPLAY"] == ":42"
    display._kept.close()


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_two_real_ones_have_two_numbers(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    one = display.Display()
    two = display.Display()
    try:
        assert one.name != two.name and Path(f"/tmp/.X11-unix/X{two.name[1:]}").exists()
        if shutil.which("setxkbmap"):  # any program that looks at a display
            knows, others = dict(os.environ), {**os.environ, "XAUTHORITY": os.devnull}
            codes = [subprocess.run(["setxkbmap", "-query"], env=env, capture_output=True).returncode for env in (knows, others)]
            assert not codes[0] and codes[1]
    finally:
        two.close()
        one.close()

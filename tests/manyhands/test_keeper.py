"""A Keeper with drivers of a few lines: crashes, back-off, stopping, no progress, and one that goes on where another was."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from manyhands.cluster.keeper import Keeper, Limits
from tests.system.tiny import wait_for

QUICK = Limits(first_s=0.02, longest_s=0.1, restarts=3, stop_s=20.0)
DRIVER = """\
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def bump(name):
    path = here / name
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    return count
"""


class Kept:
    """A run that is a folder of numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes, self.ended = folder, {}, None

    def number(self, name):
        path = self.folder / name
        return int(path.read_text() or 0) if path.exists() else 0

    def over(self):
        return (self.folder / "over").exists()

    def progress(self):
        return self.number("saved")

    def end(self, status, reason):
        self.ended = status, reason

    def note(self, facts):
        self.notes = dict(facts)

    def noted(self):
        return self.notes


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path)


@pytest.fixture
def keeper(kept):
    """Makes a Keeper of a driver that does these lines, in a thread; all of them are stopped in the end."""
    made = []

    def start(lines: str, limits=QUICK, env=None):
        command = [sys.executable, "-c", DRIVER + lines, str(kept.folder)]
        one = Keeper(command, kept.folder / "logs" / "driver.log", kept, env, limits)
        thread = threading.Thread(target=one.keep)
        thread.start()
        made.append((one, thread))
        return one

    yield start
    for one, thread in made:
        one.stop()
        thread.join(20)
        assert not thread.is_alive()


def ended(one):
    return one.state == "ended"


def test_a_driver_that_crashes_is_started_again_until_the_run_is_over(keeper, kept):
    one = keeper("n = bump('lives'); print('life', n); bump('saved')\nif n < 6: sys.exit(3)\n(here / 'over').touch()")
    wait_for(lambda: ended(one), "the end")
    assert (kept.number("lives"), one.restarts, one.reason) == (6, 5, "ended with code 3"), "more than the limit, but each saved something"
    assert kept.ended is None, "its driver says how it ended"
    assert kept.notes["restarts"] == 5
    assert (kept.folder / "logs" / "driver.log").read_text().splitlines() == [f"life {n}" for n in range(1, 7)]


def test_without_progress_it_gives_up_and_says_why(keeper, kept):
    one = keeper("bump('lives'); import os; os.kill(os.getpid(), 9)")
    wait_for(lambda: ended(one), "the end")
    assert kept.number("lives") == 1 + QUICK.restarts
    status, reason = kept.ended
    assert status == "failed"
    assert "4 ends in a row without a newer checkpoint; the last: killed by SIGKILL" in reason


def test_the_back_off_doubles_to_its_limit_and_begins_anew_after_progress(keeper, kept, monkeypatch):
    waits = []
    one = Keeper([sys.executable, "-c", "raise SystemExit(1)"], kept.folder / "log", kept, None, Limits(1.0, 5.0, restarts=6))
    progress = iter([0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7])
    monkeypatch.setattr(kept, "progress", lambda: next(progress))
    monkeypatch.setattr(one._stop, "wait", waits.append)
    monkeypatch.setattr(one, "_drive", lambda: 1)
    one.keep()
    assert waits == [1, 2, 4, 5, 1, 2, 4, 5, 5, 5]
    assert kept.ended[0] == "failed"


def test_stop_lets_the_driver_save(keeper, kept):
    one = keeper("def save(*_): bump('saved'); (here / 'over').touch(); sys.exit(0)\nsignal.signal(15, save); bump('up'); time.sleep(60)")
    wait_for(lambda: kept.number("up"), "the driver")
    assert one.status() == {"state": "running", "restarts": 0, "reason": "", "pid": one.process.pid}
    assert one.stop()
    assert (kept.number("saved"), kept.number("up"), one.state) == (1, 1, "ended")
    assert one.stop(), "again: nothing happens"


def test_stop_of_a_driver_that_dies_of_it_is_entered_by_the_keeper(keeper, kept):
    one = keeper("bump('up'); time.sleep(60)")
    wait_for(lambda: kept.number("up"), "the driver")
    assert one.stop()
    assert kept.ended == ("stopped", "stopped")


def test_a_driver_that_does_not_end_is_killed(keeper, kept):
    one = keeper("signal.signal(15, signal.SIG_IGN); bump('up'); time.sleep(60)", QUICK._replace(stop_s=0.3))
    wait_for(lambda: kept.number("up"), "the driver")
    assert not one.stop()
    assert one.process.poll() == -signal.SIGKILL


def test_stop_during_the_back_off_is_at_once(keeper, kept):
    one = keeper("sys.exit(1)", QUICK._replace(first_s=60.0, longest_s=60.0))
    wait_for(lambda: one.state == "waiting", "the back-off")
    assert one.stop()
    assert one.restarts == 1


def test_a_run_that_is_over_is_not_started(keeper, kept):
    (kept.folder / "over").touch()
    one = keeper("bump('up')")
    wait_for(lambda: ended(one), "the end")
    assert not kept.number("up")


def test_the_next_keeper_goes_on_counting_and_passes_the_environment(keeper, kept):
    kept.notes = {"restarts": 4}
    one = keeper("import os; (here / 'seen').write_text(os.environ['WORD']); (here / 'over').touch()", env={"WORD": "17"})
    wait_for(lambda: ended(one), "the end")
    assert one.restarts == 5
    assert kept.number("seen") == 17


def test_a_driver_does_not_outlive_its_keeper(tmp_path):
    """Also not by the time that it would take to save: another may go on with the run already."""
    driver = (
        "import pathlib, os, signal, time; from manyhands.seed_process import end_with_parent as end; end(os.getppid(), signal.SIGKILL)"
    )
    driver += "; signal.signal(15, signal.SIG_IGN); pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    keeper = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {driver!r}])"
    process = subprocess.Popen([sys.executable, "-c", keeper], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text(), "the driver", process)
    process.kill()
    process.wait()
    wait_for(lambda: not _alive(int(pid.read_text())), "its end")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_waiting_takes_no_time(keeper, kept):
    one = keeper("bump('up'); time.sleep(60)")
    wait_for(lambda: kept.number("up"), "the driver")
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1
    assert one.state == "running"

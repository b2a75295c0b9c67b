"""Processes that collect demonstrations have what a simulator's module asks for, and leave nothing behind."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from manyhands.demos.hand import Hand, Job, wait
from simulators import blocks
from simulators.process import FOLDER
from tests.simulators.test_isolation import gone


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """One whose simulator is an application of its own."""
    monkeypatch.setattr(blocks, "ONE_PER_PROCESS", True, raising=False)
    monkeypatch.setattr(blocks, "environment", lambda: {"MINE": "1"}, raising=False)
    monkeypatch.chdir(tmp_path)
    made = Hand(0, {"size": 16}, False, 30.0, tmp_path / "log")
    yield made
    made.close()


def _collect(hand, variation):
    hand.take(Job("blocks:touch", variation, Path("demos", f"{variation}.demo")))
    while not (done := wait([hand], 5.0)):
        pass
    assert done == [hand]
    return hand.let_go()[1]


def test_it_works_in_a_folder_of_its_own_and_writes_where_it_was_told(hand, tmp_path):
    (tmp_path / "demos").mkdir()
    assert _collect(hand, 3) == ""
    assert (tmp_path / "demos" / "3.demo").exists()  # a path that was meant from here
    process, folder = psutil.Process(hand.process.pid), Path(hand.folder)
    assert folder.name.startswith(FOLDER)
    assert Path(process.cwd()) == folder
    assert process.environ()["MINE"] == "1"
    family = [process.pid, *(child.pid for child in process.children())]
    assert len(family) == 2  # with its guard
    hand.close()
    assert not folder.exists()
    assert gone(family)


def test_killed_it_is_replaced_in_another_folder(hand, tmp_path):
    (tmp_path / "demos").mkdir()
    assert _collect(hand, 1) == ""
    folder = Path(hand.folder)
    os.kill(hand.process.pid, signal.SIGKILL)
    assert "killed by SIGKILL" in _collect(hand, 2)
    assert not folder.exists()
    assert _collect(hand, 2) == ""
    assert hand.folder != str(folder)


@pytest.mark.parametrize("another", [False, True])
def test_it_may_close_its_simulator_before_it_is_ended(hand, tmp_path, another):
    """CoppeliaSim that is killed takes its next start for one after a crash."""
    (tmp_path / "demos").mkdir()
    assert _collect(hand, 1) == ""
    process = hand.process
    if another:
        hand.take(Job("blocks:press", 0, Path("demos", "s.demo")))
    else:
        hand.leave()
        hand.close()
    assert process.returncode == 0

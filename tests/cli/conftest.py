"""One finished tiny run for all tests of the command line, and a way to ask many commands at once."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.tiny import PATIENCE_S, run_through, spawn, tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The folder of a run with two checkpoints, in a root of its own. Copy the root before you change it: its paths are relative."""
    root = tmp_path_factory.mktemp("finished")
    return run_through(tiny(total_steps=160), root, (100, lambda run: run.save(wait=True)))


@pytest.fixture
def copied(finished, tmp_path):
    """The same run, to be damaged."""
    shutil.copytree(finished.parent, tmp_path / "runs")
    return tmp_path / "runs" / finished.name


def ask(commands: list[list[str]], cwd: Path) -> list[dict]:
    """The answers of a list of command lines, given in a folder."""
    batch = spawn(str(Path(__file__).parent / "batch.py"), cwd=str(cwd), stdin=subprocess.PIPE)
    out, err = batch.communicate(json.dumps(commands), timeout=PATIENCE_S)
    assert batch.returncode == 0, err
    return json.loads(out)

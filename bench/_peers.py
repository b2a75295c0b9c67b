"""Peer libraries for the benches, in a virtual environment of their own: the product's environment never sees them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FIRST = "torch==2.13.0"
"""Before the peers: a CPU machine keeps the wheel that its index serves, and no peer pulls another."""


def ensure(venv: Path, packages: Sequence[str]) -> Path:
    """Makes ``venv`` with these packages unless it has them. Returns its python."""
    python, marker = venv / "bin" / "python", venv / "peers.json"
    wanted = [FIRST, *packages]
    if marker.exists() and set(wanted) <= set(json.loads(marker.read_text())):
        return python
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, FIRST, "numpy"], check=True)
    subprocess.run([*pip, *wanted], check=True)
    had = json.loads(marker.read_text()) if marker.exists() else []
    marker.write_text(json.dumps(sorted({*had, *wanted})))
    return python

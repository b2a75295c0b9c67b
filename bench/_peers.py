"""Peer libraries for the benches, in a virtual environment of their own: the product's environment never sees them."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FIRST = "torch==2.13.0"
"""Before the peers: a CPU machine keeps the wheel that its index serves, and no peer pulls another."""


class PeerError(Exception):
    """A peer cannot be had here."""


def ensure(venv: Path, packages: Sequence[str], base: Path | str = sys.executable, first: Sequence[str] = (FIRST, "numpy")) -> Path:
    """Makes ``venv`` (of the python ``base``) with these packages unless it has them. Returns its python."""
    python, marker = venv / "bin" / "python", venv / "peers.json"
    wanted = [*first[:1], *packages]
    if marker.exists() and set(wanted) <= set(json.loads(marker.read_text())):
        return python
    if not python.exists():
        subprocess.run([str(base), "-m", "venv", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if first:
        subprocess.run([*pip, *first], check=True)
    subprocess.run([*pip, *wanted], check=True)
    had = json.loads(marker.read_text()) if marker.exists() else []
    marker.write_text(json.dumps(sorted({*had, *wanted})))
    return python


def extract(source: str, commit: str, parts: Sequence[str], folder: str) -> None:
    """Writes these parts of a git repository on this machine, bare or not, as they are in ``commit``, into ``folder``."""
    git = ["git", "-C", source]
    listed = subprocess.run([*git, "ls-tree", "-r", "--name-only", commit, *parts], capture_output=True, text=True)
    if listed.returncode:
        raise PeerError(f"{source} has no commit {commit}: {listed.stderr.strip()}")
    for name in listed.stdout.splitlines():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(subprocess.run([*git, "show", f"{commit}:{name}"], capture_output=True, check=True).stdout)


def checkout(given: str | None, option: str, url: str, commit: str, parts: Sequence[str], folder: str) -> None:
    """Puts the pinned commit of a peer into ``folder``, from the repository ``given`` by ``option``, or else from ``url``."""
    if given is not None:
        extract(given, commit, parts, folder)
        return
    with tempfile.TemporaryDirectory(prefix="manyhands-peer-") as clone:
        done = subprocess.run(["git", "clone", "--quiet", "--bare", url, clone], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise PeerError(f"git could not clone {url}; without a way to GitHub give a clone by {option}:\n{done.stderr.strip()}")
        extract(clone, commit, parts, folder)

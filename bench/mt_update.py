"""One multi-task multi-head SAC update (MT10, MT50), manyhands against its peers: ``python bench/mt_update.py``.

Peers: the update of rainx0r/metaworld-algorithms (JAX), which needs Python 3.12 or newer and is installed into ``.venv-bench312`` by the
first call, and a stand-in in plain torch (``mt_torch``). Otherwise as ``bench/sac_update.py``; results: bench/results/mt_update.{md,json}.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import _turns
from _peers import PeerError, ensure, extract
from mt_report import markdown, summary
from mt_sides import BATCH, HIDDEN, SIDES, TASKS

VENV312 = ROOT / ".venv-bench312"
COMMIT = "30c9991f5e1e6e119d3f98266add3828390a038e"
URL = "https://github.com/rainx0r/metaworld-algorithms"
PEER = "metaworld-algorithms"
BESIDE = ["jax==0.12.0.1", "flax==0.12.12", "optax==0.2.8", "distrax==0.1.9"]
NEEDED = "import sys; sys.exit(sys.version_info < (3, 12))"
PARTS = ("metaworld_algorithms", "pyproject.toml", "README.md", "LICENSE")
"""of the peer's repository: its test data is not needed"""

SUITE = _turns.Suite(
    "mt_update",
    "mt_sides.py",
    tuple(SIDES),
    {case: {"tasks": tasks, "hidden": HIDDEN, "batch": tasks * BATCH} for case, tasks in TASKS.items()},
    summary,
    markdown,
)


def python312(given: str | None) -> str:
    """A Python >= 3.12: the one given, or by name, or one that pyenv has installed."""
    names = [given] if given else ["python3.12", "python3.13", *pyenv_pythons()]
    for name in names:
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", NEEDED], capture_output=True).returncode == 0:
            return found
    raise PeerError(f"no Python >= 3.12 found (tried {', '.join(names)}); give one by --python312")


def pyenv_pythons() -> list[str]:
    """None without pyenv. A shim may refuse to run, so that it is asked where it keeps them."""
    if not shutil.which("pyenv"):
        return []
    root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
    return sorted(map(str, Path(root).glob("versions/3.1[23].*/bin/python")))


@contextmanager
def requirement(source: str | None) -> Iterator[str]:
    """What pip is to install: the pinned commit from GitHub, or the same commit out of a git repository on this machine."""
    if source is None:
        yield f"git+{URL}@{COMMIT}"
        return
    with tempfile.TemporaryDirectory(prefix="manyhands-peer-") as folder:
        extract(source, COMMIT, PARTS, folder)
        yield folder


def install(args: argparse.Namespace) -> Path:
    """The peer's environment: made once, by the marker in it."""
    marker, wanted = VENV312 / "peer.txt", f"{PEER} {COMMIT}\n"
    python = VENV312 / "bin" / "python"
    if marker.exists() and marker.read_text() == wanted:
        return python
    base = python312(args.python312)
    with requirement(args.peer_source) as peer:
        print(f"peers: installing {PEER} into {VENV312.name}, about a gigabyte", flush=True)
        ensure(VENV312, BESIDE, base=base, first=())
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, peer, *BESIDE], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise PeerError(f"pip could not install {PEER}; without a way to GitHub give a clone by --peer-source:\n{done.stderr.strip()}")
    marker.write_text(wanted)
    return python


def peer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--python312", help="a Python >= 3.12 for metaworld-algorithms; without it python3.12, python3.13 and pyenv are tried"
    )
    parser.add_argument("--peer-source", help="a git repository that has the pinned commit, instead of GitHub")


def peer(args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, str]]:
    """Its python, or why it cannot be had; by name."""
    os.environ["WANDB_MODE"] = "disabled"
    if PEER not in args.sides:
        return {}, {}
    try:
        return {PEER: install(args)}, {}
    except (PeerError, subprocess.CalledProcessError) as error:
        return {}, {PEER: str(error)}


def main() -> None:
    parser = _turns.arguments(SUITE, __doc__, slice_s=1.0, rows=250_000, minutes=20.0)
    peer_arguments(parser)
    args = _turns.parsed(parser)
    _turns.run(SUITE, args, *peer(args), peer=f"{URL} at {COMMIT[:7]}")


if __name__ == "__main__":
    main()

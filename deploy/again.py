"""One run under a scheduler that may give its command again: the first time it begins, later it goes on, and after its end it does nothing.

``python -m deploy.again PRESET --seed 0 --runs /runs [-- SETTINGS ...]``, on a learner node: the command of a RayJob or of a Slurm job.
The scheduler sees to it that there is only one at a time. Exit code 0: the run has ended, whatever it came to. Everything else: not yet.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STOPPED = 130
"""exit code of a run that was told to stop, and has saved"""


def main(words: Sequence[str] | None = None) -> int:
    """See the module. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.again", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("preset")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, on shared storage")
    parser.add_argument("--pid", type=Path, help="file that tells the number of this process, to be sent SIGTERM")
    parser.add_argument("--code", type=Path, help="file that tells the exit code, once there is one")
    given = list(sys.argv[1:] if words is None else words)
    at = given.index("--") if "--" in given else len(given)
    told, settings = parser.parse_args(given[:at]), given[at + 1 :]
    for file in filter(None, (told.pid, told.code)):
        file.unlink(missing_ok=True)
    if told.pid:
        told.pid.write_text(f"{os.getpid()}\n")
    code = go(told.preset, told.seed, told.runs, settings)
    if told.code:
        told.code.write_text(f"{code}\n")
    return code


def go(preset: str, seed: int, runs: Path, settings: Sequence[str]) -> int:
    """Begins the run or goes on with it, and waits for its end."""
    command = command_of(preset, seed, runs, settings)
    code = _run(command) if command else 0
    found = find(preset, seed, runs)
    return 0 if found is not None and ended(found) else code or 1


def command_of(preset: str, seed: int, runs: Path, settings: Sequence[str]) -> list[str]:
    """What is to be run now; nothing where the run has ended."""
    where = ["--runs", str(runs)]
    found = find(preset, seed, runs)
    if found is None:
        return [sys.executable, "-m", "manyhands", "train", preset, "--seed", str(seed), *where, *settings]
    # By force: it may have been on a node that is gone and could not say so.
    return [] if ended(found) else [sys.executable, "-m", "manyhands", "resume", found.name, *where, "--force"]


def find(preset: str, seed: int, runs: Path) -> Path | None:
    """The run's folder, the newest if there are several; None before it has begun."""
    begun = [path for path in runs.glob(f"{preset}-s{seed}-*") if (path / "config.json").is_file()]
    return max(begun, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def ended(run: Path) -> bool:
    """Whether there is nothing left to do: it has a result, and nobody stopped it."""
    try:
        return json.loads((run / "result.json").read_text())["reason"] != "stopped"
    except (OSError, ValueError, KeyError):
        return False


def _run(command: Sequence[str]) -> int:
    """Passes on what asks this process to stop."""
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: process.send_signal(signal.SIGTERM))
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())

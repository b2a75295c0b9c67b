"""MTMH-SAC on MT10 at the paper's full budget (2e7 env steps, 2e6 updates), in pieces that resume: ``python bench/mt10_full.py``.

For one GPU and 16 cores. Every call trains for ``--minutes`` at most and then writes bench/results/mt10_full.{md,json,png} from what
there is; call it again until it says that the run has finished. The run is kept in ``--runs``.
"""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import RESULTS, child_env
from curves import report

from manyhands.registry import Registry

GRACE_S = 120.0
"""to save the last checkpoint of a piece"""


def piece(command: list[str], minutes: float) -> int | None:
    """Runs the command for so long, then asks it to save and stop. Its exit code; None where it had to be stopped."""
    process = subprocess.Popen([sys.executable, "-P", "-m", "manyhands", *command], env=child_env(), start_new_session=True)
    try:
        return process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):  # killed then; what was saved is there
            process.wait(GRACE_S)
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mt10-mtmhsac-2019")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=9.0, help="of this piece")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "mt10_full")
    parser.add_argument("--name", default="mt10_full")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("extra", nargs="*", help="after --: further options of `manyhands train`")
    args = parser.parse_args()
    known = [row for row in Registry(args.runs).list() if row.preset == args.preset and row.seed == str(args.seed)]
    train = ["train", args.preset, "--seed", str(args.seed), "--runs", str(args.runs), *args.extra]
    command = ["resume", known[0].id, "--runs", str(args.runs)] if known else train
    if not known or known[0].status != "finished":
        piece(command, args.minutes)
    row = next(row for row in Registry(args.runs).list() if row.preset == args.preset and row.seed == str(args.seed))
    trained_by = " ".join(["manyhands train", args.preset, "--seed", str(args.seed), *args.extra])
    report(args.name, [row.path], args.out, trained_by, f"In pieces, each resumed from the last checkpoint. The run is {row.status}.")
    print(f"{row.id} is {row.status} after {row.steps:,} env steps; results: {args.out / args.name}.md")


if __name__ == "__main__":
    main()

"""One C2F-ARM update, and one action, manyhands against the code of its authors: ``python bench/c2farm_update.py``.

The peer is stepjam/ARM (torch), cloned from GitHub or taken from a clone on this machine (``--arm-source``); nothing is installed, all
sides run under this Python and torch. ``--device cuda`` computes on a GPU and writes bench/results/c2farm_update_gpu.{md,json}.
Otherwise as ``bench/sac_update.py``; results: bench/results/c2farm_update.{md,json}.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import _turns
from _machine import command_line
from _peers import PeerError, checkout
from c2farm_report import markdown, summary
from c2farm_sides import CASES, DEFAULT, DEVICE, PEER, SIDES, SOURCE, TUNED

COMMIT = "00938a34e99d8b89d5d49fef0aaddb68a70d3c30"
URL = "https://github.com/stepjam/ARM"
PARTS = ("arm", "LICENSE")

SUITE = _turns.Suite(
    "c2farm_update",
    "c2farm_sides.py",
    SIDES,
    {case: sizes._asdict() for case, sizes in CASES.items()},
    summary,
    markdown,
)


def main() -> None:
    parser = _turns.arguments(SUITE, __doc__, slice_s=2.0, rows=0, minutes=45.0)
    parser.set_defaults(cases=list(DEFAULT), rounds=5)
    parser.add_argument("--arm-source", help="a git repository, bare or not, that has the pinned commit, instead of GitHub")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute")
    args = _turns.parsed(parser)
    os.environ[DEVICE] = args.device
    suite = SUITE if args.device == "cpu" else SUITE._replace(name=f"{SUITE.name}_gpu")
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="manyhands-arm-") as folder:
        os.environ[SOURCE] = folder
        if {PEER, TUNED} & set(args.sides):
            try:
                checkout(args.arm_source, "--arm-source", URL, COMMIT, PARTS, folder)
            except (PeerError, subprocess.CalledProcessError) as error:
                missing |= {PEER: str(error), TUNED: str(error)}
        about = {"peer": f"{URL} at {COMMIT[:7]}", "device": args.device, "command": command_line(SUITE.name)}
        _turns.run(suite, args, {}, missing, **about)


if __name__ == "__main__":
    main()

"""One PEARL update, manyhands against the code of PEARL's authors: ``python bench/pearl_update.py``.

The peer is katerakelly/oyster (torch), cloned from GitHub or taken from a clone on this machine (``--pearl-source``); nothing is installed,
both run under this Python and torch. Otherwise as ``bench/sac_update.py``; results: bench/results/pearl_update.{md,json}.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import _turns
from _peers import PeerError, checkout
from pearl_report import markdown, summary
from pearl_sides import CASES, DEFAULT, MEDIUM, PEER, SIDES, SOURCE

COMMIT = "44e20fddf181d8ca3852bdf9b6927d6b8c6f48fc"
URL = "https://github.com/katerakelly/oyster"
PARTS = ("rlkit", "LICENSE")

SUITE = _turns.Suite(
    "pearl_update",
    "pearl_sides.py",
    SIDES,
    {case: sizes._asdict() for case, sizes in CASES.items()},
    summary,
    markdown,
)


def main() -> None:
    parser = _turns.arguments(SUITE, __doc__, slice_s=2.0, rows=160_000, minutes=8.0)
    parser.set_defaults(cases=list(DEFAULT), threads=[1])
    parser.add_argument("--pearl-source", help="a git repository, bare or not, that has the pinned commit, instead of GitHub")
    args = _turns.parsed(parser)
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="manyhands-oyster-") as folder:
        os.environ[SOURCE] = folder
        if {PEER, MEDIUM} & set(args.sides):
            try:
                checkout(args.pearl_source, "--pearl-source", URL, COMMIT, PARTS, folder)
            except (PeerError, subprocess.CalledProcessError) as error:
                missing |= {PEER: str(error), MEDIUM: str(error)}
        _turns.run(SUITE, args, {}, missing, peer=f"{URL} at {COMMIT[:7]}")


if __name__ == "__main__":
    main()

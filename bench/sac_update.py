"""One SAC update, manyhands against its peers, on one machine, in one run: ``python bench/sac_update.py``.

The first call installs the peers into ``.venv-bench``. Every side is a process of its own on the same cores; they are measured in turns
(A B C A B C ...), one at a time. Results are written after every round: bench/results/sac_update.{md,json}.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from _machine import VENV
from _peers import ensure
from _sides_page import OURS
from _turns import Suite, arguments, parsed, run
from sac_report import markdown, summary
from sac_sides import CASES, SIDES

PEERS = ["stable-baselines3==2.9.2", "sbx-rl==0.28.0"]
SUITE = Suite(
    "sac_update",
    "sac_sides.py",
    tuple(SIDES),
    {case: {"hidden": hidden, "batch": batch} for case, (hidden, batch) in CASES.items()},
    summary,
    markdown,
)


def main() -> None:
    args = parsed(arguments(SUITE, __doc__, slice_s=0.5, rows=100_000, minutes=10.0))
    print("peers: installing what is missing", flush=True)
    python = ensure(VENV, PEERS)
    run(SUITE, args, {name: python for name in SIDES if name != OURS})


if __name__ == "__main__":
    main()

"""Updates on-policy and of meta-learning - MAML-TRPO, RL2, MT-PPO - manyhands against its peer: ``python bench/meta_update.py``.

The peer is rainx0r/metaworld-algorithms (JAX), installed as by ``bench/mt_update.py``; results: bench/results/meta_update.{md,json}.
It has no PEARL: see ``bench/pearl_update.py``. ``--cases`` has sizes of whole runs, too, of which one update takes minutes.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import _turns
from _sides_page import OURS
from meta_data import CASES, DEFAULT
from meta_report import markdown, summary
from mt_update import COMMIT, PEER, URL, peer, peer_arguments

SUITE = _turns.Suite(
    "meta_update",
    "meta_sides.py",
    (OURS, PEER),
    {case: sizes._asdict() for case, sizes in CASES.items()},
    summary,
    markdown,
)


def main() -> None:
    parser = _turns.arguments(SUITE, __doc__, slice_s=1.0, rows=0, minutes=6.0)
    parser.set_defaults(cases=list(DEFAULT), rounds=5)
    peer_arguments(parser)
    args = _turns.parsed(parser)
    pythons, missing = peer(args)
    _turns.run(SUITE, args, pythons, missing, peer=f"{URL} at {COMMIT[:7]}")


if __name__ == "__main__":
    main()

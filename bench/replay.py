"""Replay against its peers and against the memory: draws and inserts, on one machine, in one run. ``python bench/replay.py``.

The first call installs the peers into ``.venv-bench`` (its own environment) and runs itself there. Results: bench/results/replay.{md,json}.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-bench"
PEERS = ["stable-baselines3==2.9.2", "cpprb==11.0.0", "torchrl==0.14.1", "tensordict==0.14.3", "ray==2.60.0"]
RLLIB_NEEDS = ["gymnasium", "dm-tree", "pandas", "pyarrow", "lz4", "scipy", "ormsgpack", "pyyaml", "rich", "typer", "tensorboardX"]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="interleaved rounds; each gives every library one slice of time")
    parser.add_argument("--slice-s", type=float, default=0.15, help="time of one library in one round, seconds")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows in every buffer, over all tasks (RLlib: a fifth)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "bench")]
    if args.inside:
        from replay_cases import run

        run(args.rounds, args.slice_s, args.rows, args.out)
        return
    from _peers import ensure

    python = ensure(VENV, [*PEERS, *RLLIB_NEEDS])
    command = [str(python), __file__, "--inside", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, env={**os.environ, **ONE_THREAD, "PYTHONWARNINGS": "ignore"}, cwd=ROOT).returncode)


if __name__ == "__main__":
    main()

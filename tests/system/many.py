"""``manyhands train --seeds`` of a configuration that is no preset, as the command line does it: what the tests signal and kill."""

import os
import sys
from pathlib import Path

from core.errors import ManyhandsError
from manyhands import config_file
from manyhands.placement import CPU, place
from manyhands.session import train_placed


def main(config: str, root: str, seeds: str, at_once: str, stack: str) -> int:
    wanted = [int(seed) for seed in seeds.split(",")]
    placed = place(wanted, [CPU], sorted(os.sched_getaffinity(0)), int(stack), 1, int(at_once))
    try:
        return train_placed(config_file.load(Path(config)), placed, Path(root))
    except ManyhandsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The process of a run's driver below its Keeper: it never outlives the Keeper, or two nodes might go on with one run."""

import signal
import sys

from manyhands.cli import main
from manyhands.seed_process import end_with_parent

if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]), signal.SIGKILL)  # at once: the node is given up, and another may have begun to go on
    sys.exit(main(sys.argv[2:]))

"""``python -m manyhands`` is ``manyhands``."""

import sys

from manyhands.cli import main

sys.exit(main())

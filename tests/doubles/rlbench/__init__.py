"""A double of RLBench 1.1.0 and 1.2.0 (02720bba), as far as manyhands uses it. ../rlbench_double.py is its script."""

import rlbench_double

rlbench_double.reached("import")
__version__ = "1.1.0" if rlbench_double.variant() == "1.1" else "1.2.0"

from rlbench.environment import Environment  # noqa: E402, F401
from rlbench.observation_config import CameraConfig, ObservationConfig  # noqa: E402, F401

"""Sizes and made-up data of ``bench/meta_update.py``: numpy alone, the same numbers for all sides."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OBS, ACTION = 39, 4
"""Meta-World"""
CHUNK = 250
"""RL2: steps of a gradient step"""
MINIBATCHES = 32
"""PPO: of an epoch"""
INNER_LR, DELTA, PRODUCTS, DAMPING, BACKTRACK, TRIES = 0.1, 0.01, 10, 1e-5, 0.8, 15
"""MAML-TRPO: step size of the adaptation, largest KL, steps of conjugate gradient, damping, factor and number of the line search"""
CLIP, ENTROPY, MAX_GRAD_NORM, ADAM_EPS = 0.2, 5e-3, 1.0, 1e-5
"""RL2 and PPO"""
STEP, BARE = "update step", "update step, without its log"
"""Modes. The second has the same results but none of the histograms that the peer makes for its log."""
CALL_LIMIT_S = 540.0
"""for one update; the sizes of whole runs take long"""

Array = NDArray[np.float32]


class Sizes(NamedTuple):
    method: str
    """``maml``, ``rl2`` or ``ppo``"""
    tasks: int
    steps: int
    """of each task, per phase (MAML), trial (RL2) or round (PPO)"""
    hidden: tuple[int, ...]
    epochs: int = 1

    @property
    def gradient_steps(self) -> int:
        """that an update is expected to be; MAML has none of its own"""
        return self.epochs * {"maml": 0, "rl2": self.steps // CHUNK, "ppo": MINIBATCHES}[self.method]


CASES = {
    "MAML-TRPO": Sizes("maml", 20, 500, (512, 512)),
    "RL2": Sizes("rl2", 20, 2000, (256, 256), epochs=10),
    "MT-PPO": Sizes("ppo", 10, 10_000, (400, 400, 400)),
    "MAML-TRPO whole": Sizes("maml", 20, 5000, (512, 512)),
    "MAML-TRPO small": Sizes("maml", 20, 5000, (100, 100)),
    "RL2 whole": Sizes("rl2", 20, 5000, (256, 256), epochs=10),
    "MT-PPO whole": Sizes("ppo", 10, 10_000, (400, 400, 400), epochs=16),
}
DEFAULT = ("MAML-TRPO", "RL2", "MT-PPO")
"""Parts of what a run does: one episode of ten, trials of 2000 steps in place of 5000, one epoch of 16. The others take minutes per
update."""


class Phase(NamedTuple):
    """Steps of every task, time inside: (K, B, ...). Actions are the policy's mean plus its standard deviation times ``noise``."""

    obs: Array
    noise: Array
    advantage: Array
    """(K, B), mean 0 and standard deviation 1 for each task"""


def phases(sizes: Sizes, inputs: int = OBS) -> list[Phase]:
    """One; of MAML two, before and after the adaptation."""
    rng, K, B = np.random.default_rng(0), sizes.tasks, sizes.steps
    made = []
    for _ in range(2 if sizes.method == "maml" else 1):
        obs, noise = rng.standard_normal((K, B, inputs), np.float32), rng.standard_normal((K, B, ACTION), np.float32)
        advantage = (0.3 * obs[..., 0] + noise[..., 0] + rng.standard_normal((K, B), np.float32)).astype(np.float32)
        centred = advantage - advantage.mean(1, keepdims=True)
        made.append(Phase(obs, noise, centred / centred.std(1, keepdims=True)))
    return made


def weights(sizes: Sizes) -> list[tuple[Array, Array]]:
    """(in, out) and (out,) of each layer, so that both sides of MAML-TRPO have the same line search."""
    rng, widths, made = np.random.default_rng(1), (OBS, *sizes.hidden, ACTION), []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        scale = (0.1 if i == len(sizes.hidden) else 1.0) / np.sqrt(fan_in)
        made.append(((scale * rng.standard_normal((fan_in, fan_out))).astype(np.float32), np.zeros(fan_out, np.float32)))
    return made

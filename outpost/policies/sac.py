"""How SAC acts, single- and multi-task: what ``algos.sac`` learns, there and where neither torch nor core is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from outpost.policies.mlp import numpy_mlp

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


class SAC:
    """See ``outpost.policies``.

    Args:
        layers: of the policy's network.
        heads: it has an output layer for each task.
    """

    def __init__(self, action_dim: int, layers: int, *, heads: bool) -> None:
        self.action_dim = self.noise_dim = action_dim
        self.layers, self.heads = layers, heads

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Mapping[str, Any], noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A): tanh of a Gaussian sample, or of its mean where ``noise`` is None."""
        x = (seen["obs"] - params["obs_mean"]) * params["obs_scale"]
        out = numpy_mlp(params, x, self.layers, seen["tasks"], heads=self.heads)
        mean, log_std = out[:, : self.action_dim], out[:, self.action_dim :]
        if noise is not None:
            mean = mean + np.exp(np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)) * noise
        return np.tanh(mean), carry, {}

    def encode(self, params: Mapping[str, NDArray], seen: Mapping[str, Any]) -> dict[str, NDArray]:
        """Nothing: it is learned from the observation as it is."""
        return {}


def make(description: Mapping[str, Any]) -> SAC:
    """From ``algos.sac.SAC.remote``."""
    return SAC(description["action_dim"], description["layers"], heads=description["heads"])

"""Who acts in a client: the numpy twin of the run's algorithm, or, to try things out, chance."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np


class Random:
    """Acts uniformly in [-1, 1], whatever it sees."""

    def __init__(self, action_dim: int) -> None:
        self.action_dim = self.noise_dim = action_dim

    def act(self, params: Mapping[str, Any], carry: Any, seen: Mapping[str, Any], noise: Any) -> tuple[np.ndarray, Any, dict[str, Any]]:
        """Actions (N, A) from standard normal numbers (N, A)."""
        if noise is None:
            return np.zeros((len(seen["tasks"]), self.action_dim), np.float32), carry, {}
        return np.tanh(1.2 * noise).astype(np.float32), carry, {}

    def encode(self, params: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing."""
        return {}


def make(description: Mapping[str, Any]) -> Any:
    """See ``outpost.policies``.

    Raises:
        Failed: there is no such policy here.
    """
    if description["name"] == "random":
        return Random(description["action_dim"])
    return import_module("outpost.policies").find(description["name"]).make(description)

"""How an algorithm acts that Reptile learns with: as it does alone, all tasks being its only one. See ``algos.reptile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from outpost import policies

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Reptile:
    """See ``outpost.policies``."""

    def __init__(self, inner: policies.Policy) -> None:
        self.inner, self.noise_dim = inner, inner.noise_dim

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Mapping[str, Any], noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        return self.inner.act(params, carry, {**seen, "tasks": np.zeros_like(seen["tasks"])}, noise)

    def encode(self, params: Mapping[str, NDArray], seen: Mapping[str, Any]) -> dict[str, NDArray]:
        return self.inner.encode(params, seen)


def make(description: Mapping[str, Any]) -> Reptile:
    """From ``algos.reptile.Reptile.remote``."""
    inner = description["inner"]
    return Reptile(policies.find(inner["name"]).make(inner))

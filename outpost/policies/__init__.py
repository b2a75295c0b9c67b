"""How a policy acts where neither torch nor core is: a module per algorithm, found by name; each the numpy twin of ``Algorithm.act``.

On the cluster's side an algorithm with the ability ``core.abilities.Remote`` describes itself; from that description
``find(description["name"]).make(description)`` builds a ``Policy`` that chooses the same actions and fills the same columns of replay.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Mapping, Protocol

from outpost import Failed

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

NAMES = ("c2farm", "reptile", "sac")


class Policy(Protocol):
    """One that acts. ``seen`` has the arrays of ``core.types.Seen`` by their names, ``fields`` being a mapping in it.

    ``params`` are those of one seed, float32 arrays by name. They are not changed in place: newer ones come as another mapping.
    """

    noise_dim: int
    """D, standard normal numbers per simulator and step that ``act`` explores with"""

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Mapping[str, Any], noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A), what it wants to be given back with the next step, its columns of replay: see ``core.contracts.Algorithm``.

        Args:
            noise: (N, D); None acts without exploring.
        """
        ...

    def encode(self, params: Mapping[str, NDArray], seen: Mapping[str, Any]) -> dict[str, NDArray]:
        """The columns (N, ...) that stand for observations on which nobody acts; none where replay keeps them as they are."""
        ...


def find(name: str) -> ModuleType:
    """The module of an algorithm, with ``make(description) -> Policy``.

    Raises:
        Failed: there is none of that name.
    """
    if name not in NAMES:
        raise Failed(f"there is no policy {name!r} here; known: {', '.join(NAMES)}. Fix: the client of the version that the cluster runs")
    return import_module(f"{__name__}.{name}")

"""Names of the presets of ``_vision`` on the vision benchmark: ``vision-faucet-open-mt`` trains on all tasks but faucet-open.

Listing them loads nothing; ``find`` hands over to the module that has the numbers.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyhands.config import RunConfig

HELD_OUT = ("button-press-topdown", "door-close", "faucet-open", "pick-place", "peg-insert-side")
METHODS = {
    "mt": "MT-C2F-ARM",
    "reptile": "Reptile-C2F-ARM, as its authors' code computes it (0.9 to 1.0)",
    "reptile-textbook": "Reptile-C2F-ARM by the textbook (1.0 to 0)",
    "pearl": "PEARL-C2F-ARM with the divergence, encoder and rewards of its authors' code",
    "pearl-corrected": "PEARL-C2F-ARM, corrected",
}
"""name -> what it is called"""


def names() -> tuple[str, ...]:
    return tuple(f"vision-{task}-{method}" for task in HELD_OUT for method in METHODS)


def parts(name: str) -> tuple[str, str]:
    """``vision-faucet-open-mt`` -> ``faucet-open``, ``mt``."""
    return next((task, method) for task in HELD_OUT for method in METHODS if name == f"vision-{task}-{method}")


def summary(name: str) -> str:
    task, method = parts(name)
    return f"{METHODS[method]}, on ten tasks of the vision benchmark, {task} being held out."


def find(name: str) -> "RunConfig":
    from manyhands.presets import _vision

    return _vision.preset(name, *parts(name))

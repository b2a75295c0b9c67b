"""Names of the presets of ``_vision`` on the vision benchmarks: ``vision-faucet-open-mt`` trains on all tasks but faucet-open,
``rlbench-pick-up-cup-mt`` on all of RLBench's but pick_up_cup.

Listing them loads nothing; ``find`` hands over to the module that has the numbers.
"""

from typing import TYPE_CHECKING

from protocols.vision import META_WORLD, RLBENCH

if TYPE_CHECKING:
    from manyhands.config import RunConfig

BENCHMARKS = {"vision": (META_WORLD, "the vision benchmark"), "rlbench": (RLBENCH, "RLBench")}
METHODS = {
    "mt": "MT-C2F-ARM",
    "reptile": "Reptile-C2F-ARM, as its authors' code computes it (0.9 to 1.0)",
    "reptile-textbook": "Reptile-C2F-ARM by the textbook (1.0 to 0)",
    "pearl": "PEARL-C2F-ARM with the divergence, encoder and rewards of its authors' code",
    "pearl-corrected": "PEARL-C2F-ARM, corrected",
}
"""name -> what it is called"""
FROM_NOTHING = "scratch"
"""the method that knows only the task that the others have not seen"""


def short(task: str) -> str:
    """``metaworld_vision:faucet-open-v3`` -> ``faucet-open``, ``rlbench:pick_up_cup`` -> ``pick-up-cup``."""
    return task.partition(":")[2].removesuffix("-v3").replace("_", "-")


_PARTS = {
    f"{suite}-{short(task)}-{method}": (suite, short(task), method)
    for suite, (benchmark, _) in BENCHMARKS.items()
    for task in benchmark.held_out
    for method in (*METHODS, FROM_NOTHING)
}


def names() -> tuple[str, ...]:
    return tuple(_PARTS)


def parts(name: str) -> tuple[str, str, str]:
    """``rlbench-pick-up-cup-mt`` -> ``rlbench``, ``pick-up-cup``, ``mt``."""
    return _PARTS[name]


def summary(name: str) -> str:
    suite, task, method = parts(name)
    of = BENCHMARKS[suite][1]
    if method == FROM_NOTHING:
        return f"C2F-ARM on {task} of {of} by itself, from a demonstration: what the others are held against."
    return f"{METHODS[method]}, on ten tasks of {of}, {task} being held out."


def find(name: str) -> "RunConfig":
    from manyhands.presets import _vision

    return _vision.preset(name, *parts(name))

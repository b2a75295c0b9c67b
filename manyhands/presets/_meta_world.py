"""Table 1 of the Meta-World paper beyond SAC: every method on every benchmark, in the setting v3 and, with ``-2019``, as published.

Listing them loads nothing; ``find`` hands over to the module that has the numbers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyhands.config import RunConfig

MULTI_TASK, META = ("mt10", "mt50"), ("ml1-reach", "ml1-push", "ml1-pick-place", "ml10", "ml45")
METHODS = {
    "mtppo": ("MT-PPO", MULTI_TASK),
    "mttrpo": ("MT-TRPO", MULTI_TASK),
    "te": ("Task embeddings", MULTI_TASK),
    "maml": ("MAML", META),
    "rl2": ("RL2", META),
    "pearl": ("PEARL", META),
}
"""name -> what it is called, and what it is for"""
SETTINGS = {"": "Meta-World v3: 50 goals per task, reward v2, 500 steps", "-2019": "the 2019 paper's setting: reward v1, 150 steps"}


def names() -> tuple[str, ...]:
    return tuple(f"{benchmark}-{method}{setting}" for method, (_, kinds) in METHODS.items() for benchmark in kinds for setting in SETTINGS)


def parts(name: str) -> tuple[str, str, str]:
    """``ml1-reach-maml-2019`` -> ``ml1-reach``, ``maml``, ``-2019``."""
    setting = "-2019" if name.endswith("-2019") else ""
    benchmark, _, method = name.removesuffix(setting).rpartition("-")
    return benchmark, method, setting


def summary(name: str) -> str:
    benchmark, method, setting = parts(name)
    shown = benchmark.replace("ml1-", "ML1 ") if benchmark.startswith("ml1-") else benchmark.upper()
    return f"{METHODS[method][0]} on {shown}, {SETTINGS[setting]}."


def find(name: str) -> "RunConfig":
    benchmark, method, setting = parts(name)
    module = import_module(f"manyhands.presets.{'_pearl' if method == 'pearl' else '_on_policy'}")
    return module.preset(name, benchmark, method, "2019" if setting else "v3")

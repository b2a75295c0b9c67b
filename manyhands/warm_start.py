"""A run that begins with another run's networks: found, checked against the new run, copied into its folder, and fitted to its tasks.

The copy is what counts from then on: to resume the new run, the old one is not needed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import CheckpointError, ConfigError
from manyhands import config as configs
from manyhands import config_file
from manyhands.config import RunConfig
from manyhands.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from core.types import TaskSpec

FOLDER = "init"
"""below the run's; one checkpoint of one component, with its checksums"""


class Source(NamedTuple):
    """What a run begins with, as the other run saved it."""

    run: str
    """full id"""
    step: int
    """env steps"""
    config: RunConfig
    tensors: "dict[str, Tensor]"
    """name -> (1, ...), the other learner's whole state"""


def find(config: RunConfig, root: Path) -> Source | None:
    """The run that ``config.init`` names; None where it names none.

    Raises:
        ConfigError: there is no such run, or it has no such checkpoint.
    """
    from core.checkpoint import Checkpoints

    if not config.init.run:
        return None
    row = Registry(root).get(config.init.run)
    theirs = config_file.load(row.path / "config.json")
    try:
        loaded = Checkpoints(row.path / "checkpoints").load(config.init.step)
    except CheckpointError as error:
        raise ConfigError(f"init.run is {row.id}: {error}") from None
    return Source(row.id, loaded.step, theirs, loaded.components["learner"]["tensors"])


def check(config: RunConfig, spec: "TaskSpec", source: Source | None, console: "Console") -> None:
    """Says what the run will begin with, if with anything; raises ConfigError where that does not fit it."""
    if source is None:
        return
    fitted(config, spec, source)
    known = [task for task in config.tasks if task in source.config.tasks]
    tasks = f"{len(known)} of {len(config.tasks)} tasks are known to it"
    console.print(f"[dim]begins with {config.init.parts} of {source.run} at {source.step:,} env steps; {tasks}[/dim]", highlight=False)


def keep(source: Source, folder: Path) -> None:
    """Copies it into the new run's folder."""
    from core.checkpoint import Checkpoints

    meta = {"run": source.run, "config": configs.to_dict(source.config)}
    Checkpoints(folder / FOLDER).save(source.step, {"learner": {"tensors": source.tensors}}, meta)


def tensors_of(config: RunConfig, spec: "TaskSpec", folder: Path) -> "dict[str, Tensor] | None":
    """What the learner of the run in ``folder`` begins with, from the copy; None: with nothing.

    Raises:
        CheckpointError: the copy is missing or damaged.
    """
    from core.checkpoint import Checkpoints

    if not config.init.run:
        return None
    loaded = Checkpoints(folder / FOLDER).load()
    theirs = config_file.from_dict(loaded.meta["config"], f"the settings of {loaded.meta['run']}")
    return fitted(config, spec, Source(loaded.meta["run"], loaded.step, theirs, loaded.components["learner"]["tensors"]))


def fitted(config: RunConfig, spec: "TaskSpec", source: Source) -> "dict[str, Tensor]":
    """Those leaves of the new learner's state that the other run has something to say to: name -> (1, ...).

    A task is found by its name, and keeps its one-hot's row, head and temperature; a new one gets the mean of the old ones. A wrapper
    (Reptile) gives what it begins every task with, which knows of no tasks.

    Raises:
        ConfigError: other observations or actions, another algorithm, or settings that decide what the networks are.
    """
    from core.abilities import Transferring, Wrapping
    from core.tree import named_leaves
    from manyhands import build

    old: Any = build.algorithm(source.config, spec)
    state, name = _filled(old, spec, source), source.config.algorithm
    origin = [source.config.tasks.index(task) if task in source.config.tasks else None for task in config.tasks]
    if isinstance(old, Wrapping):
        name, origin = getattr(source.config.algo, "inner", name), [0] * len(config.tasks)
        old, state = old.unwrapped(state)
    if name != config.algorithm:
        raise ConfigError(f"{source.run} has learned by {name}, this run learns by {config.algorithm}: its networks mean other things")
    new = build.algorithm(config, spec)
    if not isinstance(new, Transferring):
        raise ConfigError(f"the algorithm {config.algorithm} cannot begin with another run's networks; leave out init.run")
    fresh = new.init([0])
    begun = new.begin_from(fresh, old, state, origin, policy_only=config.init.parts == "policy")
    own = dict(named_leaves(fresh))
    return {leaf_name: leaf for leaf_name, leaf in named_leaves(begun) if leaf is not own[leaf_name]}


def _filled(old: Any, spec: "TaskSpec", source: Source) -> Any:
    """The other run's state, if its shapes are what its settings and this run's observations and actions make."""
    from core.tree import named_leaves

    state = old.init([0])
    for name, leaf in named_leaves(state):
        saved = source.tensors.get(name)
        if saved is None or saved.shape != leaf.shape:
            there = "missing" if saved is None else tuple(saved.shape[1:])
            sizes = f"{spec.obs_dim} and {spec.action_dim} numbers"
            raise ConfigError(
                f"{source.run} has learned with other observations or actions than the {sizes} of {spec.task} here: its {name} is {there}, "
                f"not {tuple(leaf.shape[1:])}; fix: the simulator options of that run"
            )
        leaf.copy_(saved)
    return state

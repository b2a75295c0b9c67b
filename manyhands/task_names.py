"""Tasks as a person names them on the command line, short: ``faucet-open`` -> ``metaworld_vision:faucet-open-v3``, as settings have it."""

import re
from collections.abc import Sequence

import simulators
from core.errors import ConfigError, unknown


def full_names(asked: Sequence[str], simulator: str) -> tuple[str, ...]:
    """Each with its simulator. A name without one is a task of ``simulator``: its name, that without version, or its unique beginning.

    Raises:
        ConfigError: there is none of this name, or several; or two of those asked for are the same.
    """
    found = tuple(name if ":" in name else _found(name, simulator) for name in asked)
    twice = [name for name in found if found.count(name) > 1]
    if twice:
        raise ConfigError(f"--tasks has {twice[0]} twice. Allowed: each task once")
    return found


def _found(name: str, simulator: str) -> str:
    known, (task, at, goal) = simulators.tasks_of(simulator), name.partition("@")
    fits = [one for one in known if one == task] or [one for one in known if re.sub(r"-v\d+$", "", one) == task]
    fits = fits or [one for one in known if task and one.startswith(task)] or ([] if known else [task])
    if not fits:
        raise unknown(f"task of simulator {simulator}", task, known)
    if len(fits) > 1:
        raise ConfigError(f"task {task!r} of simulator {simulator} could be any of {len(fits)}. Allowed: one of {', '.join(fits)}")
    return f"{simulator}:{fits[0]}{at}{goal}"

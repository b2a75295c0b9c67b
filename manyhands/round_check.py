"""What an on-policy run cannot be told: settings that only a stream from replay has. Asked where a person starts a run, not of old runs."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from core.errors import ConfigError
from manyhands.config import RunConfig

STREAM_ONLY = {
    "replay": (),
    "demos": (),
    "actors": ("chunk", "steps_per_call", "random_steps"),
    "learner": ("compile", "eager_first", "cuda_graph", "updates_per_launch", "metrics_every"),
}
"""part of the settings -> those of it that a round has no use for; nothing: all"""
TRUE = {("learner", "compile", "eager"), ("learner", "cuda_graph", "off")}
"""that say what happens anyway"""


def check_rounds(config: RunConfig) -> None:
    """Raises ConfigError where settings ask of an on-policy run what there is only with replay."""
    if config.learner.ranks > 1:
        raise ConfigError(
            f"learner.ranks is {config.learner.ranks}; {config.algorithm} learns from whole rounds, in one process. Allowed: 1"
        )
    idle = list(meaningless(config))
    if idle:
        have, it = ("has", "it") if len(idle) == 1 else ("have", "them")
        raise ConfigError(
            f"{config.algorithm} learns from each round once: {', '.join(idle)} {have} no meaning for it; fix: leave {it} out, "
            "or as by default"
        )


def meaningless(config: RunConfig) -> Iterator[str]:
    """Names of those settings that differ from their defaults."""
    for part, idle in defaults(config).items():
        for name, default in idle.items():
            value = getattr(getattr(config, part), name)
            if value != default and (part, name, value) not in TRUE:
                yield f"{part}.{name}"


def without_meaningless(config: RunConfig) -> RunConfig:
    """The same on-policy run, for settings made from another run's, which may be older than the check."""
    changed: dict[str, Any] = {part: replace(getattr(config, part), **idle) for part, idle in defaults(config).items()}
    return replace(config, **changed)


def defaults(config: RunConfig) -> dict[str, dict[str, Any]]:
    """part of the settings -> name -> default, of all that a round has no use for."""
    return {
        part: {setting.name: setting.default for setting in fields(getattr(config, part)) if not names or setting.name in names}
        for part, names in STREAM_ONLY.items()
    }

"""What ``manyhands deploy`` takes: a target, a preset, changes of its settings, and options of the target."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from core.errors import ConfigError, unknown
from deploy import docker, kuberay, monitoring, redis, slurm
from deploy.facts import Nodes
from manyhands import presets
from manyhands.arguments import parse, seed_list

if TYPE_CHECKING:
    from manyhands.config import RunConfig

TARGETS: dict[str, Any] = {
    "kuberay": kuberay.Options,
    "slurm": slurm.Options,
    "docker": docker.Options,
    "redis": redis.Options,
    "monitoring": monitoring.Options,
}


@dataclass(frozen=True)
class Extra:
    """Of every target."""

    out: Path | None = None
    """folder that takes the files; none: they are shown"""
    force: bool = False
    """overwrite files that differ"""
    seeds: str = ""
    """several runs: 0-4, or 0,3,7"""
    replay_gib: float = 0.0
    """GiB that the replay of one run takes; 0: computed, for which its simulators are asked, and have to be installed here"""
    crd: Path | None = None
    """kuberay: check against these resource definitions, a file or folder, too"""
    role: Literal["auto", "gcs", "gateway"] = "auto"
    """redis: which server; auto: those that the run has use for"""


class DeployArguments:
    """The parsed command line."""

    target: str
    config: "RunConfig"
    settings: tuple[str, ...]
    """the words that changed the preset"""
    options: Any
    """of the target"""
    nodes: Nodes
    extra: Extra

    def seed_list(self) -> tuple[int, ...]:
        return tuple(seed_list(self.extra.seeds, self.config.seed))


def parse_deploy(args: Sequence[str]) -> DeployArguments:
    """The target and the preset are looked up first: what else there may be depends on them.

    Raises:
        ConfigError: an unknown target or preset, a setting or an option that cannot be.
    """
    if not args or args[0].startswith("-"):
        raise ConfigError(f"deploy needs a target first: manyhands deploy {'|'.join(TARGETS)} PRESET [--out FOLDER] ...")
    target, rest = args[0], list(args[1:])
    if target not in TARGETS:
        raise unknown("target of deploy", target, TARGETS)
    if not rest or rest[0].startswith("-"):
        raise ConfigError(f"deploy {target} needs a preset: manyhands deploy {target} PRESET. Presets: {', '.join(presets.names())}")
    config = presets.find(rest[0])
    options = TARGETS[target]
    own = [(f.name, f.type, field(default=f.default)) for f in fields(Extra)]
    kind = make_dataclass(
        "Deploy",
        [
            ("config", Annotated[type(config), tyro.conf.arg(name="")], config),
            ("target", Annotated[options, tyro.conf.arg(name=target)], options()),
            ("nodes", Nodes, Nodes()),
            *own,
        ],
        frozen=True,
    )
    kind.__doc__ = f"Files for {target}, of: {presets.summary(rest[0])}"
    parsed = parse(kind, rest[1:], f"deploy {target} {rest[0]}")
    made = DeployArguments()
    made.target, made.config, made.options, made.nodes = target, parsed.config.check(), parsed.target, parsed.nodes
    made.extra = Extra(**{f.name: getattr(parsed, f.name) for f in fields(Extra)})
    made.settings = settings_of(rest[1:], {target, "nodes", *(f.name.replace("_", "-") for f in fields(Extra))})
    return made


def settings_of(words: Sequence[str], others: set[str]) -> tuple[str, ...]:
    """Of these words the options that belong to the run, with their values; ``--seed`` is each run's own."""
    kept, keep = [], False
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("_", "-")
            first = name.removeprefix("no-").partition(".")[0]
            keep = first not in others and name != "seed"
        if keep:
            kept.append(word)
    return tuple(kept)

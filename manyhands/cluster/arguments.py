"""What the commands for runs on a cluster take."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from core.errors import ConfigError
from manyhands import presets
from manyhands.arguments import ShowArguments, parse, runs_root, seed_list
from manyhands.cluster.order import check_share
from manyhands.cluster.settings import check_address

if TYPE_CHECKING:
    from manyhands.config import RunConfig

CLUSTER = "http://HOST:8265, the cluster's dashboard; or, on a node of it, HOST:6379 of its head, or auto"
GPUS = "of each learner: 0, a share of one GPU such as 0.25, or whole ones"
SHARE = "of the resource `learner` of a node, for each run; 0: as --gpus, at least a whole one without GPU"
RUNS = "folder of the runs, on storage that every learner node sees at this path"
PYTHON = "the cluster's Python that has manyhands; where the address is http://"
MAY_WAIT = "hand the runs over although no node can take one now: an autoscaler will add it"


def is_web(address: str) -> bool:
    """Whether this is a dashboard, to be asked through Ray Jobs."""
    return address.startswith(("http://", "https://"))


@dataclass(frozen=True)
class ClusterArguments:
    """Something that is asked of a cluster."""

    cluster: str = ""
    """http://HOST:8265, the cluster's dashboard; or, on a node of it, HOST:6379 of its head, or auto"""
    runs: Path = field(default_factory=runs_root)
    """folder of the runs, on storage that every learner node sees at this path; for those that no Keeper has any more"""
    python: str = "python"
    """the cluster's Python that has manyhands; where the address is http://"""


@dataclass(frozen=True)
class TopArguments(ClusterArguments):
    """All runs on a cluster, live."""

    once: bool = False
    """one look"""
    json: bool = False
    """for scripts: each look one line, a list of runs"""
    every_s: float = 2.0
    """seconds between two looks"""


@dataclass(frozen=True)
class LogsArguments(ShowArguments):
    """The end of a log of a run on a cluster."""

    cluster: str = ""
    """http://HOST:8265, the cluster's dashboard; or, on a node of it, HOST:6379 of its head, or auto"""
    of: str = "driver"
    """whose: driver, learner, ingest, evaluator, actor-0 ..."""
    lines: int = 50
    python: str = "python"
    """the cluster's Python that has manyhands; where the address is http://"""


@dataclass(frozen=True)
class StopArguments(ShowArguments):
    """Stop a run on a cluster: it saves first."""

    cluster: str = ""
    """http://HOST:8265, the cluster's dashboard; or, on a node of it, HOST:6379 of its head, or auto"""
    python: str = "python"
    """the cluster's Python that has manyhands; where the address is http://"""


class LaunchArguments:
    """The parsed command line of ``launch``."""

    config: "RunConfig"
    seeds: str
    cluster: str
    gpus: float
    share: float
    runs: Path
    python: str
    may_wait: bool
    dry_run: bool

    def __init__(self, parsed: Any) -> None:
        vars(self).update({name: getattr(parsed, name) for name in LaunchArguments.__annotations__})

    def check(self) -> "LaunchArguments":
        """Raises ConfigError where options cannot be, or do not go together."""
        check_cluster(self.cluster, "launch PRESET")
        if self.config.cluster.address:
            raise ConfigError("--cluster.address has no meaning here: the runs go to --cluster")
        if is_web(self.cluster) and not self.runs.is_absolute():
            raise ConfigError(
                f"--runs is {self.runs}, a folder here; name one of the cluster that all its nodes share: --runs /shared/runs"
            )
        self.share = self.share or min(self.gpus, 1.0) or 1.0
        check_share(self.share, self.gpus, self.config.learner.device)
        self.config = replace(self.config, backend="ray").check()
        seed_list(self.seeds, self.config.seed)
        return self


def check_cluster(address: str, command: str) -> None:
    """Raises ConfigError where this is no address of a cluster."""
    if not address:
        raise ConfigError(f"{command} needs --cluster: {CLUSTER}")
    if not is_web(address):
        check_address(address, "--cluster")


def parse_launch(args: Sequence[str]) -> LaunchArguments:
    """The preset is looked up first, as for ``train``."""
    if not args or args[0].startswith("-"):
        raise ConfigError(
            f"launch needs a preset first: manyhands launch PRESET --seeds 0-3 --cluster ADDRESS.  Presets: {', '.join(presets.names())}"
        )
    config = presets.find(args[0])
    kind = make_dataclass(
        "Launch",
        [
            ("config", Annotated[type(config), tyro.conf.arg(name="")], replace(config, backend="ray")),
            ("cluster", Annotated[str, tyro.conf.arg(help=CLUSTER)], ""),
            ("seeds", Annotated[str, tyro.conf.arg(help="a run each: 0-4, or 0,3,7")], ""),
            ("gpus", Annotated[float, tyro.conf.arg(help=GPUS)], 0.0),
            ("share", Annotated[float, tyro.conf.arg(help=SHARE)], 0.0),
            ("runs", Annotated[Path, tyro.conf.arg(help=RUNS)], runs_root()),
            ("python", Annotated[str, tyro.conf.arg(help=PYTHON)], "python"),
            ("may_wait", Annotated[bool, tyro.conf.arg(help=MAY_WAIT)], False),
            ("dry_run", Annotated[bool, tyro.conf.arg(help="say what would be handed over, and where it fits")], False),
        ],
        frozen=True,
    )
    kind.__doc__ = presets.summary(args[0])
    parsed = parse(kind, args[1:], f"launch {args[0]}")
    if parsed.config.backend != "ray":
        raise ConfigError("--backend is inline, but a run on a cluster has its components on several nodes; leave it out")
    return LaunchArguments(parsed).check()

"""On the cluster: enters runs in the registry on shared storage, gives each a Keeper, and says where they went. Then it is done."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from core.errors import ConfigError, ManyhandsError
from manyhands import config_file
from manyhands.cluster.nodes import check_devices, check_fits
from manyhands.cluster.order import FILE, Order
from manyhands.cluster.run_folder import NOTE, RunFolder
from manyhands.config import RunConfig, to_dict
from manyhands.registry import Registry

if TYPE_CHECKING:
    from manyhands.backends.ray_cluster import RayCluster

FIRST_WORD_S = 20.0
"""that Keepers have to answer; those that do not wait for a node"""


@dataclass(frozen=True)
class Request:
    """Runs of one preset, a seed each; travels as JSON."""

    config: RunConfig
    seeds: tuple[int, ...]
    runs: str
    learner: float
    gpus: float
    may_wait: bool

    def to_json(self) -> str:
        return json.dumps({**vars(self), "config": to_dict(self.config)})

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Raises ConfigError where it is of another version of manyhands."""
        try:
            data: dict[str, Any] = json.loads(text)
            config = config_file.from_dict(data["config"], "the settings of launch")
            return cls(**{**data, "config": config, "seeds": tuple(data["seeds"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"enlist is told by `manyhands launch`, and this is of another version: {error}") from None

    def order(self, run: str) -> Order:
        return Order(run, self.runs, self.learner, self.gpus)


def enlist(request: Request, cluster: "RayCluster", say: Callable[[str], None]) -> list[str]:
    """Returns the new runs' ids. Everything that can be known to be wrong is found before the first of them is entered.

    Raises:
        ManyhandsError: settings, room, or storage that is not shared.
    """
    if not request.may_wait:
        check_fits(request.order("new"), cluster.nodes())
    from manyhands.session import check, enter

    root = Path(request.runs)
    check(request.config, root, Console(quiet=True), here=False)
    orders = []
    for seed in request.seeds:
        row = enter(replace(request.config, seed=seed), root)
        orders.append(request.order(row.id))
        hand_over(orders[-1], row.path, cluster)
        say(f"enlisted {row.id}")
    confirm(orders, cluster, say)
    return [order.run for order in orders]


def hand_over(order: Order, folder: Path, cluster: "RayCluster") -> None:
    """Gives a run a Keeper, as if it had never had one."""
    (folder / NOTE).unlink(missing_ok=True)
    (folder / FILE).write_text(json.dumps(dataclasses.asdict(order)))
    cluster.keep(order)


def confirm(orders: Sequence[Order], cluster: "RayCluster", say: Callable[[str], None]) -> None:
    """Where the runs are, as their Keepers say.

    Raises:
        ManyhandsError: one cannot see its run, or shares a GPU that it should not; those runs are ended.
    """
    answers = cluster.ask([order.run for order in orders], "status", limit_s=FIRST_WORD_S)
    answered = [answer for answer in answers.values() if answer is not None]
    try:
        for answer in answered:
            if answer["state"] == "failed":
                raise ManyhandsError(answer["reason"])
        check_devices(answered)
    except ManyhandsError as error:
        for order in orders:
            cluster.end(order.run)
            RunFolder(order.root, order.run).end("failed", str(error))
        raise
    for run, answer in answers.items():
        gpu = f", GPU {', '.join(answer['devices'])}" if answer and answer["devices"] else ""
        say(f"{run} is on {answer['node']}{gpu}" if answer else f"{run} waits for a node with room")


def registered(runs: Path, name: str) -> tuple[Order, Path]:
    """The order of a run that was on a cluster before, or a plain one for a run that was not, and its folder."""
    row = Registry(runs).get(name)
    path = row.path / FILE
    told = json.loads(path.read_text()) if path.exists() else {}
    return Order(**{**told, "run": row.id, "root": str(runs.absolute())}), row.path

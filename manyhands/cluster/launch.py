"""``manyhands launch``: runs of a preset, onto a cluster; when it returns, this machine is not needed any more."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from manyhands.arguments import seed_list
from manyhands.cluster.arguments import LaunchArguments, is_web
from manyhands.cluster.enlist import Request, enlist
from manyhands.cluster.nodes import check_fits, fitting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from manyhands.cluster.nodes import Node


def launch(options: LaunchArguments) -> int:
    """Says what is wrong before anything is submitted; then where each run went. Returns the exit code."""
    seeds = tuple(seed_list(options.seeds, options.config.seed))
    runs = str(options.runs if is_web(options.cluster) else options.runs.absolute())
    request = Request(options.config, seeds, runs, options.share, options.gpus, options.may_wait)
    console = Console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    if is_web(options.cluster):
        from manyhands.backends.ray_jobs import RayJobs

        jobs = RayJobs(options.cluster, options.python)
        look(request, jobs.nodes(), say)
        if not options.dry_run:
            say(jobs.run(["enlist", request.to_json()]))
    else:
        from manyhands.backends.ray_cluster import RayCluster

        with RayCluster(options.cluster) as cluster:
            look(request, cluster.nodes(), say)
            if not options.dry_run:
                enlist(request, cluster, say)
    if not options.dry_run:
        say(f"next: manyhands top --cluster {options.cluster} --runs {runs}")
    return 0


def look(request: Request, nodes: "Sequence[Node]", say: "Callable[[str], None]") -> None:
    """What the cluster has, and how the runs fit.

    Raises:
        ConfigError: no node could take one.
    """
    order = request.order("new")
    if not request.may_wait:
        check_fits(order, nodes)
    at_once = fitting(order, nodes)
    needs = ", ".join(f"{name} {need:g}" for name, need in order.resources.items())
    say(f"{len(nodes)} nodes: {'; '.join(node.describe() for node in nodes)}")
    waiting = "" if at_once >= len(request.seeds) else f"; the other {len(request.seeds) - at_once} wait for them, or for another node"
    say(f"{len(request.seeds)} runs of {request.config.preset}, each {needs}: room for {min(at_once, len(request.seeds))} at once{waiting}")
    say(f"runs are kept in {Path(request.runs)}")

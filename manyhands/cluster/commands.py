"""``top``, ``logs``, ``stop``, ``resume --cluster`` and ``enlist``: what is asked of the Keepers of a cluster.

From a node of the cluster they are asked directly; by a dashboard's address the command runs there as a Ray job, whose output is shown.
"""

import json
import time
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live

from core.errors import ConfigError, ManyhandsError
from manyhands.arguments import ResumeArguments
from manyhands.cluster.arguments import LogsArguments, StopArguments, TopArguments, check_cluster, is_web
from manyhands.cluster.enlist import Request, confirm, enlist, hand_over, registered
from manyhands.cluster.keeper import LIMITS
from manyhands.cluster.run_folder import RunFolder
from manyhands.cluster.top_table import table
from manyhands.registry import Registry

if TYPE_CHECKING:
    from manyhands.backends.ray_cluster import RayCluster

ANSWER_S = 5.0
"""that a Keeper has to answer; one that does not waits for a node, or is being made elsewhere"""
WAITS = "waiting for a node"


def enlist_here(text: str) -> int:
    """The entrypoint of the job that ``launch`` submits."""
    with _connect("auto") as cluster:
        enlist(Request.from_json(text), cluster, _say)
    return 0


# ---- top --------------------------------------------------------------------------------------------------------------


def top(options: TopArguments) -> int:
    """A live table until Ctrl-C, one table, or JSON lines."""
    looks, console = _looks_from_far(options) if is_web(options.cluster) else _looks(options), Console()
    with closing(looks), suppress(KeyboardInterrupt):
        if options.json:
            for rows in looks:
                console.file.write(f"{json.dumps(rows)}\n")
                console.file.flush()
        elif options.once:
            console.print(table(next(looks)))
        else:
            with Live(console=console, auto_refresh=False) as live:
                for rows in looks:
                    live.update(table(rows), refresh=True)
    return 0


def _looks(options: TopArguments) -> Generator[list[dict[str, Any]], None, None]:
    with _connect(options.cluster) as cluster:
        while True:
            yield look(cluster, options.runs)
            if options.once:
                return
            time.sleep(options.every_s)


def _looks_from_far(options: TopArguments) -> Generator[list[dict[str, Any]], None, None]:
    jobs = _jobs(options.cluster, options.python)
    arguments = ["top", "--json", "--cluster", "auto", "--runs", str(options.runs), "--every-s", str(options.every_s)]
    if options.once:
        lines = [line for line in jobs.run([*arguments, "--once"]).splitlines() if line.startswith("[{") or line == "[]"]
        yield json.loads(lines[-1])
        return
    with closing(jobs.stream(arguments)) as lines:
        for line in lines:
            if line.startswith("error: "):
                raise ManyhandsError(line.removeprefix("error: "))
            if line.startswith("[{") or line == "[]":  # nothing that ray or the cluster's shell says
                yield json.loads(line)


def look(cluster: "RayCluster", runs: Path) -> list[dict[str, Any]]:
    """Every run: those with a Keeper by what that says, the others of this folder by the registry."""
    answers = cluster.ask(cluster.kept(), "status", limit_s=ANSWER_S)
    rows = [answer or {"run": run, "state": WAITS} for run, answer in answers.items()]
    for row in Registry(runs).list():
        if row.id not in answers:
            facts = {name: getattr(row, name) for name in ("status", "reason", "steps", "updates", "success_any", "success_last")}
            rows.append({"run": row.id, "root": str(runs), "state": "", "node": row.host, **facts})
    return rows


# ---- one run ----------------------------------------------------------------------------------------------------------


def logs(options: LogsArguments) -> int:
    """The end of a log, of a run that is kept, or of one that has ended in the folder of the runs."""
    if is_web(options.cluster):
        return _relay(options, ["logs", options.run, "--of", options.of, "--lines", str(options.lines)])
    with _connect(options.cluster) as cluster:
        run = _kept(options.run, cluster)
        told = cluster.ask([run], "tail", options.of, options.lines, limit_s=ANSWER_S)[run] if run else None
    if told is None:
        told = RunFolder(options.runs, Registry(options.runs).get(options.run).id).tail(options.of, options.lines)
    _say(told)
    return 0


def stop(options: StopArguments) -> int:
    """Waits until the run is saved."""
    if is_web(options.cluster):
        return _relay(options, ["stop", options.run])
    with _connect(options.cluster) as cluster:
        run = _kept(options.run, cluster)
        if not run:
            raise ConfigError(f"no run of this cluster is called {options.run}; there is: {', '.join(cluster.kept()) or 'none'}")
        if cluster.ask([run], "status", limit_s=ANSWER_S)[run] is None:
            cluster.end(run)
            said = f"{run} was not on any node; it is taken from the cluster"
        else:
            saved = cluster.ask([run], "stop", limit_s=LIMITS.stop_s + ANSWER_S)[run]
            said = f"{run} was killed: it did not save in time" if saved is False else f"{run} is stopped and saved"
    _say(f"{said}.\nnext: manyhands resume {run} --cluster {options.cluster}")
    return 0


def resume_on(options: ResumeArguments) -> int:
    """Hands a run that has ended to the cluster."""
    check_cluster(options.cluster, "resume RUN")
    given = {"--step": options.step, "--device": options.device, "--ray-address": options.ray_address}
    for option in [option for option, value in given.items() if value]:
        raise ConfigError(
            f"{option} does not go with --cluster: the cluster's Keeper goes on from the newest checkpoint, where there is room"
        )
    if is_web(options.cluster):
        return _relay(options, ["resume", options.run, *(["--force"] if options.force else [])])
    order, folder = registered(options.runs, options.run)
    with _connect(options.cluster) as cluster:
        if order.run in cluster.kept():
            raise ConfigError(f"{order.run} is on this cluster already; see manyhands top --cluster {options.cluster}")
        Registry(options.runs).claim(order.run, force=options.force)
        hand_over(order, folder, cluster)
        confirm([order], cluster, _say)
    _say(f"next: manyhands top --cluster {options.cluster}")
    return 0


def _kept(name: str, cluster: "RayCluster") -> str:
    """The run of the cluster with this id, or the only one whose id begins with it or ends in ``-`` and it; empty where there is none."""
    runs = cluster.kept()
    matches = [run for run in runs if run == name] or [run for run in runs if run.startswith(name) or run.endswith(f"-{name}")]
    if len(matches) > 1:
        raise ConfigError(f"{name!r} could be any of {', '.join(matches[:8])}. Give more of the id")
    return matches[0] if matches else ""


# ---- ways to the cluster ----------------------------------------------------------------------------------------------


def _relay(options: LogsArguments | StopArguments | ResumeArguments, arguments: Sequence[str]) -> int:
    output = _jobs(options.cluster, options.python).run([*arguments, "--cluster", "auto", "--runs", str(options.runs)])
    _say(output.replace("--cluster auto", f"--cluster {options.cluster}"))
    return 0


def _connect(address: str) -> "RayCluster":
    from manyhands.backends.ray_cluster import RayCluster

    return RayCluster(address)


def _jobs(address: str, python: str) -> Any:
    from manyhands.backends.ray_jobs import RayJobs

    return RayJobs(address, python)


def _say(line: str) -> None:
    Console().print(line, soft_wrap=True, highlight=False, markup=False)

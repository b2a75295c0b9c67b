"""The commands for clusters: arguments are read and refused before ray is loaded."""

from collections.abc import Callable

from core.errors import ConfigError
from manyhands.arguments import parse, parse_run
from manyhands.cluster.arguments import LogsArguments, StopArguments, TopArguments, check_cluster, parse_launch


def _launch(args: list[str]) -> int:
    options = parse_launch(args)
    from manyhands.cluster.launch import launch

    return launch(options)


def _enlist(args: list[str]) -> int:
    """Not for people: what ``launch`` runs on the cluster, with one argument."""
    if len(args) != 1:
        raise ConfigError("enlist is for `manyhands launch`, which runs it on the cluster; people write: manyhands launch PRESET ...")
    from manyhands.cluster.commands import enlist_here

    return enlist_here(args[0])


def _top(args: list[str]) -> int:
    options = parse(TopArguments, args, "top")
    check_cluster(options.cluster, "top")
    from manyhands.cluster.commands import top

    return top(options)


def _logs(args: list[str]) -> int:
    options = parse_run(LogsArguments, args, "logs")
    check_cluster(options.cluster, "logs RUN")
    from manyhands.cluster.commands import logs

    return logs(options)


def _stop(args: list[str]) -> int:
    options = parse_run(StopArguments, args, "stop")
    check_cluster(options.cluster, "stop RUN")
    from manyhands.cluster.commands import stop

    return stop(options)


COMMANDS: dict[str, Callable[[list[str]], int]] = {"launch": _launch, "enlist": _enlist, "top": _top, "logs": _logs, "stop": _stop}

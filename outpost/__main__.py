"""``python -m outpost --connect redis://...``: simulators of this machine for a training elsewhere. Also ``manyhands simulator``."""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from outpost import PROTOCOL, Failed
from outpost.client import Client
from outpost.client_simulators import MODULES, further, names
from outpost.client_uplink import Uplink
from outpost.keys import Keys
from outpost.link import Link, Lost

ADDRESS = "MANYHANDS_GATEWAY"
"""environment variable that may have the address, which is then not in the list of processes"""


def parser(prog: str) -> argparse.ArgumentParser:
    """What can be said on the command line."""
    made = argparse.ArgumentParser(prog=prog, description="Simulators of this machine for a training elsewhere, through a Redis server.")
    place = f"redis://user:password@host:6379, rediss:// for TLS, or @FILE that has such an address; by default ${ADDRESS}"
    made.add_argument("--connect", default=os.environ.get(ADDRESS, ""), metavar="ADDRESS", help=place)
    made.add_argument("--simulators", type=int, default=1, metavar="N", help="processes, each with one simulator (1)")
    made.add_argument("--module", default="", metavar="NAME", help="a Python module with a simulator of your own, or several: a,b")
    made.add_argument("--name", default="", help="of this client, by which it is known again when it comes back (host and process)")
    made.add_argument("--channel", default="default", help="which gateway, where several share a server (default)")
    made.add_argument("--ca", default="", metavar="FILE", help="certificates of those who may have signed the server's")
    made.add_argument("--logs", type=Path, default=None, metavar="FOLDER", help="for what simulators print; by default nowhere")
    made.add_argument("--stay", action="store_true", help="wait for the next run when one is over")
    return made


def check(options: argparse.Namespace) -> None:
    """Raises Failed for what cannot be."""
    if not options.connect:
        raise Failed(f"no server is named; fix: --connect redis://user:password@host, or the address in ${ADDRESS}")
    if not 1 <= options.simulators <= 256:
        raise Failed(f"--simulators is {options.simulators}. Allowed: 1 to 256")
    for option in ("name", "channel"):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", getattr(options, option)):
            raise Failed(f"--{option} is {getattr(options, option)!r}. Allowed: up to 64 letters, digits and . _ -")
    further(options.module)
    os.environ[MODULES] = options.module
    if options.logs:
        options.logs.mkdir(parents=True, exist_ok=True)


def hello(simulators: int) -> dict[str, Any]:
    """What this client is, for the gateway."""
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "protocol": PROTOCOL,
        "makes": names(),
        "simulators": simulators,
    }


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def work(options: argparse.Namespace) -> None:
    """Until the run is over, someone asks to stop, or the client is refused: then Failed."""
    check(options)
    link = Link(options.connect, options.ca)
    name = options.name or re.sub(r"[^A-Za-z0-9_.-]", "-", f"{platform.node()[:48]}-{os.getpid()}")
    try:
        link.check()
    except Lost:
        say(f"{link.name} is away; trying again")
    client = Client(Uplink(link, Keys(options.channel), name, hello(options.simulators), say), say, options.logs, options.stay)

    def stop(*_: Any) -> None:
        client.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    say(f"client {name} at {link.name}")
    client.run()


def main(argv: Sequence[str] | None = None, prog: str = "python -m outpost") -> int:
    """Returns the exit code: 0 at the end of a run or when asked to stop, 2 where it was refused."""
    try:
        work(parser(prog).parse_args(argv))
    except Failed as failed:
        say(f"error: {failed.message}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

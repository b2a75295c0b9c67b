"""The connection to a Redis server, for both sides of the gateway. The only file that imports redis.

Whatever can go wrong is one of two: ``Lost``, the server is away and may come back; ``outpost.Failed``, it will not do as things are. No
message ever has a password in it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from outpost import Failed

SCHEMES = ("redis", "rediss", "unix")
TIMEOUT_S = 10.0
"""after which a server that does not answer counts as away"""
_FINAL = (exceptions.AuthenticationError, exceptions.NoPermissionError)
_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError, OSError)


_NOT_NOW = ("LOADING", "MASTERDOWN", "UNKILLABLE", "BUSY", "MISCONF")
_FULL = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError)
"""errors that pass, by their first words and, where the client library takes those away, by their classes"""


class Lost(Exception):  # noqa: N818 - an event that both sides answer, not always an error
    """The server is away: what was asked may have been done, or not."""


class Refused(Exception):  # noqa: N818 - see above
    """The server did not do what it was asked. Its word of error is the beginning of the text."""


def read_url(text: str) -> str:
    """``@FILE`` is what stands in that file: an address with a password does not belong where every user sees it, in ``ps``.

    Raises:
        Failed: no such file, or no address of a Redis server.
    """
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text().strip()
        except OSError as error:
            raise Failed(f"the address of the server cannot be read: {error}") from None
    if urlsplit(text).scheme not in SCHEMES:
        raise Failed(
            "the address of a server begins with {}; {} does not".format(" or ".join(s + "://" for s in SCHEMES), shown(text) or "''")
        )
    return text


def shown(url: str) -> str:
    """The address as messages may have it: without user, password and options."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{where}{parts.path}" if parts.scheme else "(no address)"


class Link:
    """One connection, made when it is first needed and again after it was lost. Not for several threads.

    Args:
        url: ``redis://user:password@host:6379``, ``rediss://`` with TLS, ``unix:///path/of/socket``. That of an ``@FILE`` is read again
            with each connection.
        ca: file with the certificates of those who may have signed the server's, for ``rediss``; the system's by default.
    """

    def __init__(self, url: str, ca: str = "") -> None:
        self._source, self.url = url, read_url(url)
        self.name = shown(self.url)
        if ca and not Path(ca).is_file():
            raise Failed(f"there is no file of certificates {ca}")
        if ca and urlsplit(self.url).scheme != "rediss":
            raise Failed(f"certificates are for TLS, and {self.name} has none; fix: rediss:// in place of redis://")
        self._options: dict[str, Any] = {"ssl_ca_certs": ca} if ca else {}
        self.client = self._client(self.url)
        self._connection: Any = None
        self.lost = False
        """the connection broke since this was last set to false: what was on its way may be gone"""

    def _client(self, url: str) -> Any:
        try:
            return redis.Redis.from_url(
                url,
                # Whoever sends must know that an answer was lost: then nothing may be tried again behind its back.
                retry=Retry(NoBackoff(), 0),
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                protocol=2,
                **({} if url.startswith("unix") else {"socket_keepalive": True}),
                **self._options,
            )
        except (ValueError, TypeError) as error:
            raise Failed("{} is no address of a server: {}".format(self.name, str(error).partition("\n")[0])) from None

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Errors of the client library as those of this file."""
        try:
            yield
        except _FINAL as error:
            raise Failed(
                f"{self.name} refuses this user or password ({_word(error)}); fix: the address, redis://USER:PASSWORD@HOST"
            ) from None
        except _AWAY as error:
            self.close()
            self.lost = True
            if "CERTIFICATE" in str(error).upper():
                raise Failed(f"the certificate of {self.name} is not to be trusted ({_line(error)}); fix: --ca FILE") from None
            raise Lost(f"{self.name} is away: {_line(error)}") from None
        except exceptions.ResponseError as error:
            if isinstance(error, _FULL) or _word(error) in _NOT_NOW:
                raise Lost(f"{self.name} is not ready: {_line(error)}") from None
            if _word(error) in ("NOAUTH", "WRONGPASS", "NOPERM"):
                raise Failed(
                    f"{self.name} refuses this user or password ({_word(error)}); fix: the address, redis://USER:PASSWORD@HOST"
                ) from None
            raise Refused(_line(error)) from None

    def ask(self, *command: Any) -> Any:
        """One command, its answer as the server gives it: bytes, numbers, lists.

        Raises:
            Lost, Failed, Refused
        """
        return self.ask_all([command])[0]

    def ask_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Several commands at once, without waiting in between. The first error of any is raised."""
        with self._answered():
            if self._connection is None:
                self._follow()
                self._connection = self.client.connection_pool.get_connection()
            connection = self._connection  # kept: a pool would replace a broken one without a word
            connection.send_packed_command(connection.pack_commands(commands))
            answers = [self._read(connection) for _ in commands]
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    def _follow(self) -> None:
        """A server that was started anew may have another address, in the same file."""
        with suppress(Failed):  # while nobody has one, it is the last one
            found = read_url(self._source)
            if found != self.url:
                self.url, self.name, self.client = found, shown(found), self._client(found)

    @staticmethod
    def _read(connection: Any) -> Any:
        try:
            return connection.read_response()
        except exceptions.ResponseError as error:
            return error

    def check(self) -> None:
        """Whether this server is one to work with, asked at the beginning.

        Raises:
            Lost: it is away.
            Failed: a wrong password; or it takes commands from anyone who can reach it, over a network.
        """
        if not self._only_here() and self._open():
            raise Failed(
                f"{self.name} takes commands from anyone who can reach it; fix: a user with a password (`ACL SETUSER`, or requirepass), "
                "and name them in the address"
            )
        self.ask("PING")

    def _open(self) -> bool:
        """Whether a stranger is let in."""
        parts = urlsplit(self.url)
        stranger = self._client("{}://{}{}".format(parts.scheme, parts.netloc.rpartition("@")[2], "?" + parts.query if parts.query else ""))
        try:
            return bool(stranger.ping())
        except (exceptions.ResponseError, *_FINAL):
            return False
        except _AWAY as error:
            raise Lost(f"{self.name} is away: {_line(error)}") from None
        finally:
            stranger.close()

    def _only_here(self) -> bool:
        """Whether only processes of this machine reach the server by this address."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return True
        try:
            found = socket.getaddrinfo(parts.hostname or "localhost", parts.port or 6379, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Lost(f"{self.name} is away: {_line(error)}") from None
        return all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)

    def close(self) -> None:
        """Hangs up. The next question connects anew."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
        self.client.close()


def _line(error: BaseException) -> str:
    return unquote(str(error)).strip().partition("\n")[0] or type(error).__name__


def _word(error: BaseException) -> str:
    return (str(error).split() or [type(error).__name__])[0]

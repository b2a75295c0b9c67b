"""A Redis server in one of two roles: store of Ray's tables (gcs), or door for simulators elsewhere (gateway). Never open to strangers.

The configuration names a file of users; the script ``make-users.sh`` makes it, on the machine of the server, with passwords that it draws.
"""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from core.errors import ConfigError
from deploy.facts import Facts
from deploy.files import template

CHUNK_BYTES = 2 * 2**20
"""a generous guess of what a client's message takes in the server"""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Role(NamedTuple):
    name: str
    user: str
    keys: tuple[str, ...]
    """patterns of the keys that the user may touch"""
    commands: str
    """that the user may give, as Redis writes it"""


GCS_USER = "ray"
# Ray asks for the key DUMMY to be deleted when it connects, to hear whether this is the leading server, and aborts where it may not.
GCS = Role(
    "gcs", GCS_USER, ("RAY*", "DUMMY"), "-@all +@read +@write +@connection +@scripting +@pubsub -@dangerous +info +keys +cluster|info"
)
GATEWAY = Role("gateway", "manyhands", ("manyhands:*",), "-@all +@read +@write +@connection +@stream -@dangerous")


@dataclass(frozen=True)
class Options:
    """How the server is reached and what it keeps."""

    listen: str = "127.0.0.1"
    """address of this machine that others may connect to; by default nobody can"""
    port: int = 6379
    folder: str = "/var/lib/redis"
    """where it keeps its data"""
    users: str = ""
    """its file of users; empty: users.acl in its folder"""
    tls: str = ""
    """folder with server.crt and server.key, for connections over TLS alone; empty: without"""
    durability: str = "everysec"
    """how soon it writes down what it takes: no, everysec, always"""
    memory_mib: int = 256
    """that its data may take; beyond, it refuses to take more"""

    def __post_init__(self) -> None:
        if self.durability not in ("no", "everysec", "always"):
            raise ConfigError(f"durability is {self.durability!r}. Allowed: no, everysec, always")
        if not 1 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}. Allowed: 1 to 65535")
        if not re.fullmatch(r"[0-9A-Fa-f.:]+|localhost", self.listen):
            raise ConfigError(f"listen is {self.listen!r}. Allowed: an address of the server's machine, 0.0.0.0 for all of them")
        for name in ("folder", "users", "tls"):
            if not re.fullmatch(r"(/[\w./-]+)?", getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)!r}. Allowed: a path that begins with / and has no spaces")


def render(facts: Facts, options: Options, roles: str = "auto") -> dict[str, str]:
    """A folder for each role that the run has use for: the gateway's only where it has clients.

    Raises:
        ConfigError: the gateway's, of a run without one.
    """
    if roles not in ("auto", "gcs", "gateway"):
        raise ConfigError(f"role is {roles!r}. Allowed: auto, gcs, gateway")
    if roles == "gateway" and not facts.clients:
        raise ConfigError("role is gateway, but the run has none. Fix: --gateway.clients 2, or as many as there are clients")
    wanted = [GCS, *([GATEWAY] if facts.clients else [])] if roles == "auto" else [GCS if roles == "gcs" else GATEWAY]
    files = {}
    for number, role in enumerate(wanted):
        # Two servers on one machine have folders and ports of their own.
        own = replace(options, folder=f"{options.folder}/{role.name}", port=options.port + number)
        files[f"{role.name}/redis.conf"] = configuration(role, own)
        holes = {"users": user_line(role), "user": role.user, "folder": own.folder, "file": _users(own)}
        scheme = "rediss" if options.tls else "redis"
        files[f"{role.name}/make-users.sh"] = template("redis_users.sh", **holes, scheme=scheme, port=own.port)
    return files


def gateway_memory_mib(facts: Facts, window: int) -> int:
    """What the clients of all runs may have unacknowledged, twice."""
    return max(256, -(-2 * len(facts.seeds) * facts.clients * window * CHUNK_BYTES // 2**20))


def user_line(role: Role) -> str:
    """One line of the file of users; ``HASH`` stands for the SHA-256 of the password."""
    keys, channels = (" ".join(sign + key for key in role.keys) for sign in "~&")
    return f"user {role.user} on #HASH resetkeys {keys} resetchannels {channels} {role.commands}"


def configuration(role: Role, options: Options) -> str:
    """The text of redis.conf."""
    if options.tls:
        files = [f"tls-cert-file {options.tls}/server.crt", f"tls-key-file {options.tls}/server.key"]
        ports = ["port 0", f"tls-port {options.port}", *files, "tls-auth-clients no", "tls-protocols TLSv1.2 TLSv1.3"]
    else:
        ports = [f"port {options.port}"]
    loopback = options.listen in LOOPBACK
    plain = [] if options.tls or loopback else ["# Without TLS: only for a network that nobody else is in."]
    address = "127.0.0.1" if options.listen == "localhost" else options.listen
    also = [] if loopback or address == "0.0.0.0" else ["127.0.0.1"]
    what = "the store of Ray tables" if role is GCS else "the gateway of simulators elsewhere"
    lines = [
        f"# Redis as {what}; users are in a file of their own.",
        *plain,
        " ".join(["bind", address, *also]),
        *ports,
        "protected-mode yes",
        f"aclfile {_users(options)}",
        f"dir {options.folder}",
        "appendonly yes",
        f"appendfsync {options.durability}",
        f"maxmemory {options.memory_mib}mb",
        "# What does not fit is refused: nothing that was taken is ever dropped.",
        "maxmemory-policy noeviction",
        'save ""',
        "tcp-keepalive 60",
    ]
    return "\n".join(lines) + "\n"


def _users(options: Options) -> str:
    return options.users or f"{options.folder}/users.acl"

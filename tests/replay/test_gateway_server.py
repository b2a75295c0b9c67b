"""Which server a gateway has, who may use it, and that no password is ever shown."""

import shutil
import socket
import stat
import subprocess

import pytest

import replay.gateway_server as gateway_server
from core.errors import ConfigError, MissingExtra
from outpost import Failed
from outpost.__main__ import main
from outpost.link import Link, Lost, Refused, read_url, shown
from replay.gateway_config import Config
from replay.gateway_server import Server, binary
from tests.replay.gateway_side import Redis, wait_for

OWN = Config(clients=1)


@pytest.fixture
def guarded(tmp_path):
    server = Redis(tmp_path, "--requirepass", "open sesame")
    yield server
    server.kill()


def address():
    """One of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


def test_a_server_of_the_runs_own_has_a_password_that_only_its_user_can_read(tmp_path, capfd):
    server = Server(OWN, tmp_path)
    try:
        file = tmp_path / "gateway" / "address"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        password = server.url.partition(":")[2].rpartition("@")[0].strip("/:")
        assert len(password) > 20
        assert Link(f"@{file}").ask("PING") == b"PONG"
        with pytest.raises(Failed, match="refuses this user or password"):
            Link(server.url.replace(password, "guess")).ask("PING")
        with open(f"/proc/{server.process.pid}/cmdline") as arguments:
            assert password not in arguments.read()
        assert password not in server.hint() + "".join(capfd.readouterr()) + (tmp_path / "gateway" / "redis.log").read_text()
        assert Link(server.url).ask("CONFIG", "GET", "appendonly")[1] == b"yes"
    finally:
        server.close()
    assert server.process.poll() is not None
    assert not file.exists()


def test_a_server_of_the_runs_own_that_is_killed_comes_back_with_what_it_had(tmp_path):
    server = Server(Config(clients=1, durability="always"), tmp_path)
    try:
        link, first = Link(server.url), server.process.pid
        link.ask("SET", "a", "b")
        server.process.kill()
        wait_for(lambda: server.process.pid != first and _asked(link) == b"b")
    finally:
        server.close()


def _asked(link):
    try:
        return link.ask("GET", "a")
    except Lost:
        return None


def test_the_server_of_a_run_that_was_killed_is_found_where_it_was(tmp_path):
    """Even where it has outlived its driver: then it is ended first, and what it had written down is there."""
    killed = Server(Config(clients=1, durability="always"), tmp_path)
    link = Link(f"@{killed.folder / 'address'}")
    link.ask("SET", "a", "b")
    killed._closing.set()  # nobody watches it any more
    again = Server(Config(clients=1, durability="always"), tmp_path)
    try:
        assert killed.process.wait(20) == 0
        assert again.url == killed.url
        wait_for(lambda: _asked(link) == b"b")
    finally:
        again.close()


def test_a_client_follows_a_server_that_moved(tmp_path):
    servers, file = [Redis(tmp_path), Redis(tmp_path)], tmp_path / "address"
    file.write_text(servers[0].url)
    link = Link(f"@{file}")
    try:
        assert link.ask("PING") == b"PONG"
        file.write_text(servers[1].url)
        servers[0].kill()
        wait_for(lambda: _ponged(link))
        assert link.name == servers[1].url
    finally:
        for server in servers:
            server.kill()


def _ponged(link):
    try:
        return link.ask("PING") == b"PONG"
    except Lost:
        return False


def test_the_server_is_the_systems_else_the_embedded_one_else_the_error_says_what_to_install(monkeypatch):
    programs = {"redis-server": "/a/redis-server", "valkey-server": "/b/valkey-server"}
    monkeypatch.setattr(shutil, "which", programs.get)
    assert binary() == "/a/redis-server"
    del programs["redis-server"]
    assert binary() == "/b/valkey-server"
    programs.clear()
    monkeypatch.setattr(gateway_server, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="apt-get install redis-server"):
        binary()


def test_the_embedded_server_is_found_where_its_package_is(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").touch()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(gateway_server, "find_spec", lambda name: type("S", (), {"origin": str(tmp_path / "__init__.py")}))
    assert binary() == str(tmp_path / "bin" / "redis-server")


@pytest.mark.parametrize("user", ["", ":wrong@", "nobody:open sesame@"])
def test_a_wrong_password_ends_a_client_with_one_line(guarded, user, capsys):
    assert main(["--connect", f"redis://{user}127.0.0.1:{guarded.port}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: redis://127.0.0.1:{guarded.port} refuses this user or password")
    assert said.count("\n") == 1
    assert "wrong" not in said and "sesame" not in said


def test_the_right_password_is_accepted(guarded):
    link = Link(f"redis://:open%20sesame@127.0.0.1:{guarded.port}")
    link.check()
    assert "sesame" not in link.name
    with pytest.raises(Refused, match="unknown command"):
        link.ask("NO")


def test_an_open_server_is_refused_but_on_loopback(tmp_path):
    server = Redis(tmp_path, "--bind", "0.0.0.0", "--protected-mode", "no")
    try:
        Link(server.url).check()
        for user in ("", ":any@"):
            with pytest.raises(Failed, match=r"takes commands from anyone who can reach it; fix: a user with a password"):
                Link(f"redis://{user}{address()}:{server.port}").check()
        server.ask("CONFIG", "SET", "requirepass", "secret")
        Link(f"redis://:secret@{address()}:{server.port}").check()
    finally:
        server.kill()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_tls_needs_a_certificate_of_someone_trusted(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", "req", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    options = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Redis(tmp_path, *options, "--tls-port", str(port), "--tls-auth-clients", "no")
    try:
        url = f"rediss://localhost:{port}"
        Link(url, str(certificate)).check()
        with pytest.raises(Failed, match=r"certificate of rediss://localhost:\d+ is not to be trusted .*fix: --ca FILE"):
            Link(url).ask("PING")
        with pytest.raises(Failed, match="fix: rediss://"):
            Link(f"redis://localhost:{port}", str(certificate))
    finally:
        server.kill()


@pytest.mark.parametrize("text", ["", "localhost:6379", "http://x", "@/no/such/file"])
def test_what_is_no_address_is_said(text):
    with pytest.raises(Failed, match="address"):
        read_url(text)


def test_no_message_shows_user_or_password():
    assert shown("rediss://me:pass@host:1/2?x=pass") == "rediss://host:1/2"


@pytest.mark.parametrize(
    "settings",
    [{"clients": -1}, {"clients": 1, "window": 0}, {"clients": 1, "channel": "a b"}, {"clients": 1, "durability": "x"}, {"url": "x"}],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="gateway"):
        Config(**settings)


def test_without_a_server_a_client_says_so(capsys, monkeypatch):
    monkeypatch.delenv("MANYHANDS_GATEWAY", raising=False)
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: no server is named; fix: --connect")

"""Redis' configuration, on a real server: strangers stay outside, the user has its own keys only, and what was taken is written down."""

import hashlib
import shutil
import socket
import subprocess
import time

import pytest
import redis as client

from core.errors import ConfigError
from deploy import redis
from tests.deploy.some import KINDS, SMALL

PASSWORD = "a password"


def test_a_run_has_the_servers_that_it_needs():
    assert sorted(redis.render(SMALL, redis.Options())) == ["gcs/make-users.sh", "gcs/redis.conf"]
    both = redis.render(KINDS["outside"], redis.Options())
    assert sorted(both) == ["gateway/make-users.sh", "gateway/redis.conf", "gcs/make-users.sh", "gcs/redis.conf"]
    assert both == redis.render(KINDS["outside"], redis.Options())
    assert "port 6379\n" in both["gcs/redis.conf"] and "port 6380\n" in both["gateway/redis.conf"]
    assert "dir /var/lib/redis/gcs\n" in both["gcs/redis.conf"] and "dir /var/lib/redis/gateway\n" in both["gateway/redis.conf"]
    with pytest.raises(ConfigError, match=r"--gateway\.clients 2"):
        redis.render(SMALL, redis.Options(), "gateway")


def test_it_listens_to_this_machine_unless_told_and_with_tls_nowhere_else():
    assert "bind 127.0.0.1\n" in redis.configuration(redis.GCS, redis.Options())
    text = redis.configuration(redis.GATEWAY, redis.Options(listen="10.0.0.5", tls="/etc/tls"))
    assert "bind 10.0.0.5 127.0.0.1\nport 0\ntls-port 6379\n" in text and "Without TLS" not in text
    assert "# Without TLS" in redis.configuration(redis.GCS, redis.Options(listen="0.0.0.0"))


@pytest.mark.parametrize("options", [{"durability": "never"}, {"port": 0}, {"listen": "a b"}, {"folder": "data"}, {"tls": "/a b"}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError, match=r"\S+ is .*Allowed"):
        redis.Options(**options)


def test_the_script_that_makes_users_keeps_the_password_to_its_owner(tmp_path):
    script = redis.render(SMALL, redis.Options(folder=str(tmp_path)))["gcs/make-users.sh"]
    (tmp_path / "gcs").mkdir()
    first = subprocess.run(["bash", "-c", script, "x", "head"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    users, address = (tmp_path / "gcs" / name for name in ("users.acl", "address"))
    password = address.read_text().partition(":ray:")[2] or address.read_text().split("ray:")[1].partition("@")[0]
    assert hashlib.sha256(password.encode()).hexdigest() in users.read_text() and password not in users.read_text() + first.stdout
    assert [path.stat().st_mode & 0o77 for path in (users, address)] == [0, 0]
    assert subprocess.run(["bash", "-c", script, "x", "head"], capture_output=True).returncode == 2  # never a new one by mistake


@pytest.fixture(params=[redis.GCS, redis.GATEWAY], ids=lambda role: role.name)
def server(request, tmp_path):
    """A server by our configuration: its role and its port."""
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = redis.user_line(request.param).replace("HASH", hashlib.sha256(PASSWORD.encode()).hexdigest())
    (tmp_path / "users.acl").write_text(f"user default off\n{line}\n")
    (tmp_path / "redis.conf").write_text(redis.configuration(request.param, redis.Options(port=port, folder=str(tmp_path))))
    process = subprocess.Popen(["redis-server", str(tmp_path / "redis.conf")], stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.05)
    yield request.param, port
    process.kill()
    process.wait()


def test_strangers_stay_outside_and_the_user_has_its_own_keys_only(server):
    role, port = server
    with client.Redis(port=port) as stranger, pytest.raises(client.exceptions.AuthenticationError):
        stranger.ping()
    with client.Redis(port=port, username=role.user, password=PASSWORD) as user:
        mine = {"gcs": "RAY1@KV", "gateway": "manyhands:default:x"}[role.name]
        assert user.ping() and user.hset(mine, "a", "b") == 1
        if role is redis.GCS:
            user.delete("DUMMY")  # as Ray does when it connects
            assert user.info("replication")["role"] == "master"
        for refused in (lambda: user.set("other", 1), user.flushall, lambda: user.config_get("*"), user.acl_list, user.shutdown):
            with pytest.raises(client.exceptions.NoPermissionError):
                refused()


def test_a_killed_server_has_written_down_what_it_took(server, tmp_path):
    role, port = server
    with client.Redis(port=port, username=role.user, password=PASSWORD) as user:
        user.hset({"gcs": "RAY1@KV", "gateway": "manyhands:x"}[role.name], "a", "b")
    kept = list((tmp_path / "appendonlydir").glob("*.aof"))
    assert any(b"hset" in path.read_bytes().lower() for path in kept)

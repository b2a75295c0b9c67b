"""What users and machines do to a gateway: names twice, other versions, keys deleted, memory full, no run there yet or any more."""

import random

import pytest

import outpost
from core.rows import CLOSING
from outpost import Failed, wire
from outpost.link import Link, Lost
from tests.replay.gateway_side import KEYS, WEIGHTS, Redis, Side, check_counting, end, opened, program, start_client, wait_for

WITHDRAWN = 2
RUN = "from outpost.__main__ import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.kill()


def more(side, steps):
    """Until so many more are stored."""
    before = side.total
    side.until(lambda taken: side.total > before + steps)


def test_of_two_clients_by_one_name_the_older_one_ends_and_says_why(redis, shm, tmp_path):
    log = tmp_path / "log"
    older = start_client(redis.url, "--name", "same", log=log.open("wb"))
    with opened(redis.url, shm) as side:
        more(side, 50)
        younger = start_client(redis.url, "--name", "same")
        side.until(lambda taken: older.poll() is not None)
        more(side, 100)
        assert end(younger) == 0
        side.until(lambda taken: not side.gateway.sessions.members)
        check_counting(side.rows())
    assert older.returncode == 2
    assert log.read_text().splitlines()[-1] == "error: a younger client has come by the name same; fix: --name, another one for each"


def test_what_a_killed_client_left_of_an_episode_is_withdrawn(redis, shm):
    """So no window of several steps is put together of two clients' rows."""
    withdrawn = []
    with opened(redis.url, shm) as side:
        while not withdrawn:  # until one dies within an episode of which something is stored
            client = start_client(redis.url)
            more(side, 30)
            client.kill()
            client.wait()
            side.until(lambda taken: not side.gateway.sessions.members and not side.gateway.sessions.leaving)
            rows = side.rows()
            taken = rows[rows["kind"] != CLOSING]
            withdrawn = taken[taken["kind"] == WITHDRAWN].tolist()
        check_counting(rows)
        open_ = {(row["writer"], row["episode"], row["obs"][1]) for row in taken} - {
            (row["writer"], row["episode"], row["obs"][1]) for row in taken if row["truncated"] or row["terminated"]
        }
        assert open_ and all(row["kind"] == WITHDRAWN for row in taken if (row["writer"], row["episode"], row["obs"][1]) in open_)


def test_a_client_of_another_version_is_refused_and_knows_why(redis, shm, tmp_path, caplog):
    log = tmp_path / "log"
    code = f"import sys, outpost; outpost.PROTOCOL = 9; {RUN}"
    client = program("-c", code, "--connect", redis.url, "--name", "foreign", log=log.open("wb"))
    with opened(redis.url, shm) as side:
        side.until(lambda taken: client.poll() is not None)
        assert side.gateway.intake.counts["foreign"] >= 1
    assert client.returncode == 2
    said = log.read_text().splitlines()[-1]
    assert said.startswith("error: the gateway at redis://") and "fix: the same version of manyhands on both sides" in said
    assert any("client foreign refused: protocol version 9" in line for line in caplog.messages)


def test_what_another_version_left_behind_does_not_keep_a_client_out(redis, shm):
    data = bytearray(wire.frame(wire.ORDER, {"boot": ""}))
    data[4:6] = (outpost.PROTOCOL + 1).to_bytes(2, "little")
    redis.ask("XADD", KEYS.orders("named"), "*", "f", bytes(data))
    client = start_client(redis.url, "--name", "named")
    with opened(redis.url, shm) as side:
        more(side, 30)
        assert end(client) == 0


def test_keys_that_others_cut_or_delete_cost_nothing_but_time(redis, shm):
    """Whoever else has the server's password."""
    draw, link = random.Random(3), Link(redis.url)
    spoil = [("FLUSHALL",), ("XTRIM", KEYS.chunks, "MAXLEN", 0), ("DEL", KEYS.chunks), ("DEL", KEYS.beats), ("DEL", KEYS.weights)]
    clients = [start_client(redis.url, "--simulators", 2) for _ in range(2)]
    with opened(redis.url, shm) as side:
        for command in (*spoil, *draw.sample(spoil, 3)):
            more(side, 60)
            link.ask(*command)
        more(side, 200)
        assert [end(client) for client in clients] == [0, 0]
        side.until(lambda taken: not side.gateway.sessions.members and not redis.ask("XLEN", KEYS.chunks))
        check_counting(side.rows())


def test_a_server_without_memory_is_waited_for_and_says_why(redis, shm, caplog):
    client = start_client(redis.url, "--simulators", 2)
    with opened(redis.url, shm) as side:
        more(side, 50)
        link = Link(redis.url)
        link.ask("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
        side.until(lambda taken: any("used memory" in line for line in caplog.messages))
        assert client.poll() is None
        link.ask("CONFIG", "SET", "maxmemory", "0")
        more(side, 100)
        assert end(client) == 0
        check_counting(side.rows())
    assert len([line for line in caplog.messages if "used memory" in line]) < 10


def test_a_policy_that_a_server_cannot_hold_ends_the_run_at_its_beginning(redis, shm, monkeypatch):
    side = Side(redis.url, shm)
    monkeypatch.setattr(wire, "MOST_PAYLOAD", 10)
    with pytest.raises(Failed, match="the policy is too large for a gateway: a frame of"):
        side.gateway.begin(WEIGHTS)
    monkeypatch.undo()
    Link(redis.url).ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Lost, match="not ready: command not allowed when used memory"):
        side.gateway.begin(WEIGHTS)
    side.close()


def test_a_client_says_that_there_is_no_run_yet_and_none_any_more(redis, shm, tmp_path):
    log = tmp_path / "log"
    impatient = f"import sys, outpost.client_uplink as u; u.SILENCE_S = 0.5; {RUN}"
    client = program("-c", impatient, "--connect", redis.url, log=log.open("wb"))
    waiting = f"no run has the channel default of {redis.url}; waiting for one"
    wait_for(lambda: waiting in log.read_text())
    with opened(redis.url, shm) as side:
        more(side, 30)
        redis.ask("DEL", KEYS.owner)  # as it is some time after a run was killed
        wait_for(lambda: log.read_text().count(waiting) == 2)
        more(side, 30)
        assert end(client) == 0
    assert log.read_text().count(waiting) == 2

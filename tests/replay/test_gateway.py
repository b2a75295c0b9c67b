"""The gateway between real processes: a real server, clients that count, everything killed at random moments, nothing lost."""

import random
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from outpost import wire
from outpost.link import Link
from replay.gateway_sessions import Sessions
from tests.replay.gateway_side import (
    CHUNK,
    DTYPE,
    HORIZON,
    KEYS,
    PATIENCE_S,
    Redis,
    Side,
    bare_python,
    check_counting,
    end,
    opened,
    plan,
    program,
    start_client,
    wait_for,
)

LAYOUT = wire.fingerprint(wire.describe(DTYPE))


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.kill()


def chunk_rows(episode, n=3, writer=0):
    """n counted steps and their closing row."""
    rows = np.zeros(n + 1, DTYPE)
    rows["writer"], rows["episode"], rows["t"], rows["kind"][-1] = writer, episode, np.arange(n + 1), 1
    return rows


def packed(sequence, *, run="run", incarnation=1, episode=0, rows=None, **changes):
    rows = chunk_rows(episode) if rows is None else rows
    return wire.pack_chunk(wire.Chunk(run, 0, incarnation, sequence, 0, LAYOUT, len(rows), [], [])._replace(**changes), rows)


def seated(side, boot="a", name="me"):
    """A client without a process gets a place. Returns how it says what it has done."""
    link, count = Link(side.gateway.link.url), [0]

    def beat(**told):
        count[0] += 1
        hello = {"simulators": 1, "makes": ["dummy"], "protocol": 1}
        base = {"boot": boot, "count": count[0], "bye": False, "run": "", "writer": -1, "incarnation": -1, "taken": 0, "lost": 0}
        link.ask("HSET", KEYS.beats, name, wire.frame(wire.BEAT, {**base, "hello": hello, **told}))

    beat()
    side.until(lambda _: side.gateway.sessions.at_work())
    return link, beat


# ---- real clients -----------------------------------------------------------------------------------------------------


def test_clients_count_and_nothing_is_lost(redis, shm):
    clients = [start_client(redis.url, "--simulators", 2) for _ in range(2)]
    with opened(redis.url, shm) as side:
        side.until(lambda taken: side.total > 600)
        codes = [end(client) for client in clients]
        side.until(lambda taken: not side.gateway.sessions.members)
        chunks = check_counting(side.rows())
    assert codes == [0, 0]
    assert redis.ask("XLEN", KEYS.chunks) == 0, "what is acknowledged takes no memory"
    added = dict(zip(*[iter(redis.ask("XINFO", "STREAM", KEYS.chunks))] * 2, strict=True)).get(b"entries-added")
    assert added in (None, chunks)


def test_a_client_needs_numpy_redis_and_msgpack_only(redis, shm, tmp_path):
    """In an environment of its own, with neither torch nor ray nor our other packages."""
    python = bare_python(tmp_path)
    packages = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (packages / "outpost").symlink_to(Path(wire.__file__).parent)
    nothing = subprocess.run([python, "-c", "import torch"], capture_output=True, cwd="/", env={})
    assert nothing.returncode != 0
    client = start_client(redis.url, python=python, PYTHONPATH="")
    with opened(redis.url, shm) as side:
        side.until(lambda taken: side.total > 100)
        assert end(client) == 0
        check_counting(side.rows())


@pytest.mark.parametrize(
    ("victims", "durability"),
    [("client gateway", "everysec"), *(("client gateway redis", durability) for durability in ("no", "everysec", "always"))],
)
def test_kill_9_at_random_moments_loses_and_doubles_nothing(tmp_path, shm, victims, durability):
    """With the server alive every entry that it took is in the ring exactly once. With the server killed the clients bring back what it
    forgot, be that everything: no episode has a hole."""
    redis = Redis(tmp_path, *written(durability))
    draw, stop = random.Random(7), tmp_path / "stop"

    def gateway():
        return program("-m", "tests.replay.gateway_side", redis.url, shm, stop, log=(tmp_path / "gateway.log").open("ab"))

    def client(number):
        return start_client(redis.url, "--name", f"c{number}", "--simulators", 2, log=(tmp_path / f"c{number}.log").open("ab"))

    processes = {"gateway": gateway(), 0: client(0), 1: client(1)}
    try:
        for _ in range(10):
            time.sleep(draw.uniform(0.2, 1.5))  # the random moment
            victim = draw.choice(victims.split())
            if victim == "redis":
                redis.kill()
                redis.start()
                continue
            which = draw.randrange(2) if victim == "client" else "gateway"
            processes[which].kill()
            processes[which].wait()
            processes[which] = gateway() if which == "gateway" else client(which)
        wait_for_work(redis)
        assert [end(processes[number]) for number in (0, 1)] == [0, 0], "clients outlive it all, and end politely"
        wait_for(lambda: redis.ask("XLEN", KEYS.chunks) == 0 and not redis.ask("HLEN", KEYS.beats))
        stop.touch()
        assert processes["gateway"].wait(PATIENCE_S) == 0, (tmp_path / "gateway.log").read_text()
        side = Side(redis.url, shm)
        chunks = check_counting(side.rows())
        info = dict(zip(*[iter(redis.ask("XINFO", "STREAM", KEYS.chunks))] * 2, strict=True))
        side.ingest.close(unlink=True)
    finally:
        for process in processes.values():
            process.kill()
        redis.kill()
    if "redis" not in victims:
        assert info.get(b"entries-added") in (None, chunks)


@pytest.mark.parametrize(("durability", "kept"), [("no", 0), ("everysec", 200), ("always", 200)])
def test_what_a_killed_server_remembers_of_a_client_that_died_with_it(tmp_path, durability, kept):
    """Where a journal is written, a process that is killed has handed every entry that it answered for to the kernel."""
    redis = Redis(tmp_path, *written(durability))
    try:
        link = Link(redis.url)
        for number in range(200):
            link.ask("XADD", KEYS.chunks, "*", "f", packed(number))
        redis.kill()
        redis.start()
        assert redis.ask("XLEN", KEYS.chunks) == kept
    finally:
        redis.kill()


def written(durability):
    """The server's settings."""
    return () if durability == "no" else ("--appendonly", "yes", "--appendfsync", durability)


def wait_for_work(redis):
    """Both clients, as they are now, take steps."""

    def taken():
        beats = [wire.unframe(beat, wire.BEAT).header for beat in redis.ask("HGETALL", KEYS.beats)[1::2]]
        return {beat["boot"]: beat["taken"] for beat in beats if beat["run"] == "run"}

    first = taken()
    wait_for(lambda: len([boot for boot, steps in taken().items() if steps > first.get(boot, 0)]) == 2)


def test_a_simulator_that_hangs_is_replaced_and_its_episode_withdrawn(redis, shm):
    def hanging(place, incarnation, simulators):
        options = {"horizon": HORIZON, "hang_at_step": CHUNK + 4, "fail_variation": incarnation * 1000 + 1}
        return plan(place, incarnation, simulators, options=options, step_timeout_s=0.3)

    client = start_client(redis.url)
    with opened(redis.url, shm, plan=hanging) as side:
        lost = []
        side.until(lambda taken: lost.append(taken.lost) or (sum(lost) and side.total > 80))
        assert end(client) == 0
        side.until(lambda taken: not side.gateway.sessions.members)
        rows = side.rows()
    hung = rows[rows["obs"][:, 1] == 1001]
    assert len(hung)
    assert set(hung["kind"].tolist()) == {1, 2}, "withdrawn, and closing rows"
    check_counting(rows)


# ---- what else may lie in the stream ----------------------------------------------------------------------------------


def test_what_is_odd_is_refused_with_a_line_and_a_number_and_never_blocks(redis, shm, caplog):
    with opened(redis.url, shm) as side:
        link, _ = seated(side)
        good = packed(0)
        foreign = bytearray(good)
        foreign[4:6] = (9).to_bytes(2, "little")
        flipped = bytearray(good)
        flipped[-5] ^= 1
        nan = chunk_rows(0)
        nan["obs"][1, 1] = np.nan
        odd = [b"", b"junk", good[:-7], bytes(flipped), bytes(foreign), packed(0, run="an earlier one"), packed(0, incarnation=0)]
        odd += [packed(0, layout=5), packed(0, rows=chunk_rows(0)[:2])[:-1]]
        for data in [*odd, good, good, packed(2, episode=1), packed(1, episode=1)]:
            link.ask("XADD", KEYS.chunks, "*", "f", data)
        side.until(lambda taken: side.total == 6)
        counts = side.gateway.intake.counts
        assert dict(counts) == {"malformed": 6, "foreign": 1, "invalid": 0, "replayed": 1, "gaps": 1, "stale": 2}
        assert side.ingest.counts()["transitions"] == [6]
        assert link.ask("XLEN", KEYS.chunks) == 0
        assert link.ask("XLEN", KEYS.refused) == 7
        assert len([r for r in caplog.messages if "refused" in r and "\n" not in r]) == 7
        link.ask("XADD", KEYS.chunks, "*", "f", packed(2, rows=nan))
        taken = side.until(lambda taken: counts["invalid"])
        assert taken.metrics["gateway/invalid"] == 1
        assert "not finite" in str(link.ask("XRANGE", KEYS.orders("me"), "-", "+"))


def test_dead_letters_stay_few(redis, shm):
    with opened(redis.url, shm) as side:
        link = Link(redis.url)
        for _ in range(300):
            link.ask("XADD", KEYS.chunks, "*", "f", b"x" * 50_000)
        side.until(lambda taken: side.gateway.intake.counts["malformed"] == 300)
        assert link.ask("XLEN", KEYS.refused) == 100
        assert link.ask("MEMORY", "USAGE", KEYS.refused) < 1_000_000


def test_a_slow_gateway_keeps_the_servers_memory_flat(redis, shm):
    """Nobody takes in for a while: clients stop at their window instead of filling the server."""

    def wide(place, incarnation, simulators):
        return plan(place, incarnation, simulators)

    client = start_client(redis.url, "--simulators", 2)
    with opened(redis.url, shm, plan=wide, window=3) as side:
        side.until(lambda taken: side.total > 50, steps=100_000)
        waited = []
        until = time.monotonic() + PATIENCE_S
        while len(waited) < 10 or len(set(waited[-10:])) > 1:
            assert time.monotonic() < until
            waited.append(redis.ask("XLEN", KEYS.chunks))
            time.sleep(0.2)
        assert 1 <= waited[-1] <= 3 + 2, "the window, and a chunk that each simulator had begun"
        before = side.total
        side.until(lambda taken: side.total > before + 100)
        assert end(client) == 0
        check_counting(side.rows())


def test_a_client_that_cannot_make_the_simulator_is_refused_with_one_line(redis, shm, tmp_path):
    log = tmp_path / "log"
    client = start_client(redis.url, log=log.open("wb"))
    with opened(redis.url, shm, needs=("metaworld",)) as side:
        side.until(lambda _: client.poll() is not None)
    assert client.returncode == 2
    assert log.read_text().splitlines()[-1] == "error: this run needs simulators of metaworld, which this client cannot make"


def test_a_second_run_does_not_get_the_channel(redis, shm, tmp_path):
    with opened(redis.url, shm) as side:
        other = Side(redis.url, tmp_path)
        other.gateway.work = other.gateway.work._replace(owner="another")
        with pytest.raises(Exception, match=r"run id has the channel default .*fix: --gateway.channel"):
            other.gateway.begin(side.gateway.weights)
        other.ingest.close(unlink=True)


# ---- places -----------------------------------------------------------------------------------------------------------


class Beats:
    """Clients without processes, on a clock of their own."""

    def __init__(self, clients=1):
        self.now, self.told = 0.0, {}
        self.sessions = Sessions("run", 0, clients, 10.0, clock=lambda: self.now)

    def say(self, name, boot="a", count=1, **told):
        base = {"boot": boot, "count": count, "bye": False, "run": "", "writer": -1, "incarnation": -1, "taken": 0, "lost": 0}
        self.told[name] = wire.frame(wire.BEAT, {**base, "hello": {"simulators": 1, "protocol": 1}, **told})

    def look(self, incarnations=None):
        return self.sessions.look(self.told, incarnations or {})


def test_a_silent_client_gives_its_place_back_only_when_it_is_drained():
    beats = Beats()
    beats.say("a")
    beats.look()
    (member,) = beats.sessions.waiting()
    member.place = 0
    beats.now = 10.5
    beats.say("b")
    assert [m.name for m in beats.look().gone] == ["a"]
    assert beats.sessions.free() == [], "what it sent may still be in the stream"
    beats.sessions.leaving.clear()
    assert beats.sessions.free() == [0]


def test_a_pause_of_the_gateway_is_no_silence_of_its_clients():
    beats = Beats()
    beats.say("a")
    beats.look()
    beats.now = 100.0
    beats.say("a", count=2)
    assert not beats.look().gone


def test_a_younger_process_of_the_same_name_takes_over_and_the_older_one_is_not_heard_again():
    beats = Beats(2)
    beats.say("a", boot="old")
    beats.look()
    beats.say("a", boot="young")
    assert [m.boot for m in beats.look().gone] == ["old"]
    beats.say("a", boot="old", count=9)
    change = beats.look()
    assert not change.arrived and beats.sessions.members["a"].boot == "young"


def test_a_gateway_started_anew_knows_its_clients_again():
    beats = Beats(3)
    beats.say("a", run="run", writer=1, incarnation=4, taken=70)
    beats.say("b", run="run", writer=2, incarnation=3)
    beats.say("c", run="an earlier one", writer=0, incarnation=1)
    beats.look({0: 1, 1: 4, 2: 9})
    assert {m.name: m.place for m in beats.sessions.members.values()} == {"a": 1, "b": -1, "c": -1}
    assert beats.sessions.members["a"].taken == 70


def test_env_steps_are_granted_by_simulators_and_never_taken_back():
    beats = Beats(2)
    for name, simulators in (("a", 1), ("b", 3)):
        beats.say(name, hello={"simulators": simulators, "protocol": 1})
    beats.look()
    for place, member in enumerate(beats.sessions.waiting()):
        member.place = place
    beats.sessions.grant(40)
    assert [m.granted for m in beats.sessions.at_work()] == [10, 30]
    assert beats.sessions.grant(20) == [], "they have more already"
    assert beats.sessions.grant(0) == []
    assert [m.granted for m in beats.sessions.at_work()] == [10, 30]

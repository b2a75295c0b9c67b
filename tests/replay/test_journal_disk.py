"""What a disk can do to the journal: be full, fail, and lose what it had not written when the machine died."""

import errno
import os
import resource
import threading

import pytest

from core.errors import CheckpointError
from replay import journal, journal_file
from replay.journal import JournalError
from replay.journal_file import File
from tests.replay.build import Feeder


def test_a_full_disk_refuses_the_chunk_and_loses_nothing(told):
    """The kernel's own refusal, in the middle of a record: a process may not write files beyond a size."""
    counts, feeder = told.ingest.counts(), Feeder(told.ingest)
    feeder.sequence, feeder.episode = 4, 9
    chunk, size = feeder.make(0, 20), told.files[-1].stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, hard))
    try:
        with pytest.raises(JournalError, match=r"cannot write the journal in .*: File too large\. What was stored is intact"):
            told.ingest.insert(chunk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.files[-1].stat().st_size == size
    assert told.ingest.counts() == counts
    assert told.ingest.insert(chunk) == 4, "it is still expected"
    counts = told.ingest.counts()
    told.lose_driver()
    assert told.ingest.counts() == counts


def test_a_disk_that_fails_to_sync_is_not_believed_again(make_machine, monkeypatch):
    machine = make_machine("host")
    feeder = Feeder(machine.ingest)
    feeder.send(0, 3)

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    chunk = feeder.make(0, 3)
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "fdatasync", fail)
        with pytest.raises(JournalError, match="Input/output error"):
            machine.ingest.insert(chunk)
    with pytest.raises(JournalError, match="Input/output error"):
        machine.ingest.insert(chunk)


def test_one_wait_for_the_disk_serves_all_who_came(make_machine, monkeypatch):
    machine = make_machine("host")
    feeders = [Feeder(machine.ingest, writer) for writer in range(3)]
    for feeder in feeders:
        feeder.send(0, 1)
    chunks = [feeder.make(0, 2) for feeder in feeders]
    gate, waits, sync = threading.Event(), [], os.fdatasync

    def slow(file):
        waits.append(file)
        gate.wait(10)
        sync(file)

    monkeypatch.setattr(journal.os, "fdatasync", slow)
    threads = [threading.Thread(target=machine.ingest.insert, args=(chunk,)) for chunk in chunks]
    for thread in threads:
        thread.start()
    while machine.ingest.counts()["transitions"][0] < 9:
        pass
    assert all(thread.is_alive() for thread in threads), "stored, not acknowledged"
    gate.set()
    for thread in threads:
        thread.join()
    assert len(waits) == 2


def lose_power(machine, durable):
    """Only what the disk had at its last sync is left, and another kernel reads it."""
    for path in machine.files:
        os.truncate(path, durable.get(path.name, 0))
        if not durable.get(path.name):
            path.unlink()


def test_at_level_host_everything_acknowledged_outlives_the_machine(make_machine, monkeypatch):
    """And at level process what the disk happens to have, without a gap."""
    for level in ("host", "process"):
        durable: dict[str, int] = {}
        for name in ("fsync", "fdatasync"):
            sync = getattr(os, name)

            def noted(file, sync=sync, durable=durable):
                sync(file)
                path = os.readlink(f"/proc/self/fd/{file}")
                durable[os.path.basename(path)] = os.fstat(file).st_size

            monkeypatch.setattr(journal.os, name, noted)
        machine = make_machine(level, capacity=400)
        feeder = Feeder(machine.ingest)
        machine.save()
        for _ in range(5):
            feeder.send(0, 4)
        machine.ingest.close(unlink=True)
        lose_power(machine, durable)
        monkeypatch.setattr(journal_file, "boot", lambda level=level: f"another kernel, {level}")
        machine.ingest = machine.begin()
        assert machine.ingest.load(machine.folder, machine.manifest).chunks == (5 if level == "host" else 0)
        machine.close()
        for path in machine.files:
            path.unlink()
        monkeypatch.undo()


def holed(path):
    """A block of the first record never reached the disk; later ones did."""
    data, begin = bytearray(path.read_bytes()), File(path).end
    data[begin + 20 : begin + 60] = bytes(40)
    path.write_bytes(data)


@pytest.mark.parametrize("level", ["process", "host"])
def test_holes_after_a_loss_of_power(make_machine, monkeypatch, level):
    """At level process nothing had been promised: it goes on from the checkpoint. At host an acknowledged row is damaged."""
    machine = make_machine(level)
    machine.save()
    feeder = Feeder(machine.ingest)
    for _ in range(3):
        feeder.send(0, 4)
    machine.ingest.close(unlink=True)
    holed(machine.files[-1])
    monkeypatch.setattr(journal_file, "boot", lambda: "another kernel")
    machine.ingest = machine.begin()
    if level == "host":
        with pytest.raises(CheckpointError, match="had been acknowledged"):
            machine.ingest.load(machine.folder, machine.manifest)
    else:
        assert machine.ingest.load(machine.folder, machine.manifest).chunks == 0
        feeder = Feeder(machine.ingest)
        feeder.send(0, 4)
        assert machine.lose_driver().chunks == 1

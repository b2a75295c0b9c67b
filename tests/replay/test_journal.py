"""The files of the journal: what is torn is dropped, what is damaged is refused, what a checkpoint covers goes."""

import os

import pytest

from core.errors import CheckpointError, ConfigError
from replay import journal
from replay.journal import FOLDER
from replay.journal_file import File
from replay.settings import Config
from tests.replay.build import Feeder, check_whole
from tests.replay.journaling import Machine, same_ring


def test_what_was_acknowledged_since_the_checkpoint_is_back_byte_by_byte(told, make_machine, tmp_path):
    rows = [told.ingest.ring.rows[k].copy() for k in (0, 1)]
    counts = told.ingest.counts()
    again = told.lose_driver()
    assert (again.chunks, again.marks) == (3, [])
    assert told.ingest.counts() == counts
    for k in (0, 1):
        slots = told.ingest.ring.whole(k)
        assert told.ingest.ring.rows[k][slots].tobytes() == rows[k][slots].tobytes()
    check_whole(told.ingest.ring)
    assert told.lose_driver().chunks == 3, "as often as it dies before its next checkpoint"
    assert told.ingest.counts() == counts


def test_without_a_journal_the_checkpoint_is_all(shm, tmp_path):
    machine = Machine(shm, tmp_path, "off")
    Feeder(machine.ingest).send(0, 5)
    assert "journal" not in machine.ingest.save(tmp_path)
    assert not (tmp_path / FOLDER).exists()
    machine.close()


def test_a_tail_torn_at_any_byte_is_dropped_and_the_rest_kept(told):
    path = told.files[-1]
    data = path.read_bytes()
    file = File(path)
    ends = [file.end, *(record.end for record in file.records())]
    assert ends[-1] == len(data)
    for cut in range(ends[-2], len(data)):
        path.write_bytes(data[:cut])
        for later in told.files[1:]:
            later.unlink()
        told.ingest.close(unlink=True)
        told.ingest = told.begin()
        assert told.ingest.load(told.folder, told.manifest).chunks == 2
        assert path.stat().st_size == ends[-2]
        assert told.ingest.progress()[0] == (0, 3)


def test_the_ingest_goes_on_behind_a_torn_tail(told):
    path, sent = told.files[-1], told.ingest.progress()[0][1]
    with path.open("ab") as file:
        file.write(path.read_bytes()[-40:][:20])
    told.lose_ingest()
    feeder = Feeder(told.ingest)
    feeder.sequence, feeder.episode = sent, 9
    feeder.send(1, 4)
    twin = told.ingest.counts()
    assert told.lose_driver().chunks == 4
    assert told.ingest.counts() == twin


@pytest.mark.parametrize("place", ["head", "front of a record", "rows", "last row"])
def test_a_damaged_byte_is_refused_in_one_line(told, place):
    path = told.files[-1]
    data, begin = bytearray(path.read_bytes()), File(path).end
    data[{"head": 30, "front of a record": begin + 9, "rows": begin + 90, "last row": len(data) - 2}[place]] ^= 4
    path.write_bytes(data)
    for method in (told.lose_driver, lambda: (told.lose_ingest(), told.ingest.discard_open())):
        with pytest.raises(CheckpointError, match=r"damaged.*resume with --step") as caught:
            method()
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
    told.ingest.load(told.folder, told.manifest, False)
    assert told.ingest.counts()["transitions"] == [5, 0], "the way out goes back to the checkpoint"


def test_a_file_that_is_missing_or_of_another_run_is_refused(told, make_machine, tmp_path):
    other = make_machine(folder=tmp_path / "other")
    Feeder(other.ingest).send(0, 8)
    other.save()
    data = other.files[0].read_bytes()
    told.files[0].write_bytes(data)
    with pytest.raises(CheckpointError, match="does not follow"):
        told.lose_driver()
    told.files[0].unlink()
    with pytest.raises(CheckpointError, match="is missing; fix"):
        told.lose_driver()


def test_files_are_rotated_and_all_are_read(make_machine, monkeypatch):
    monkeypatch.setattr(journal, "FILE_BYTES", 2000)
    machine = make_machine(capacity=400)
    feeder = Feeder(machine.ingest)
    machine.save()
    for i in range(30):
        feeder.send(i % 2, 5)
    assert len(machine.files) > 5
    counts = machine.ingest.counts()
    assert machine.lose_driver().chunks == 30
    assert machine.ingest.counts() == counts
    middle = machine.files[2]
    data = middle.read_bytes()
    middle.write_bytes(data[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        machine.lose_driver()
    middle.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        machine.lose_driver()


def test_a_complete_checkpoint_drops_what_it_covers(make_machine):
    machine = make_machine()
    feeder = Feeder(machine.ingest)
    feeder.send(0, 5)
    machine.save(complete=False)
    feeder.send(0, 5)
    assert len(machine.files) == 2, "one that never got its mark drops nothing"
    machine.save()
    assert len(machine.files) == 1
    assert machine.lose_driver().chunks == 0
    assert machine.ingest.counts()["transitions"] == [10, 0]


def test_going_back_leaves_the_journal_aside(told):
    """As ``resume --step``: what follows is of another course, until a checkpoint is made of it nothing of it counts."""
    told.ingest.close(unlink=True)
    told.ingest = told.begin()
    assert told.ingest.load(told.folder, told.manifest, False) is None
    assert told.ingest.counts()["transitions"] == [5, 0]
    assert len(told.files) == 2
    assert told.lose_driver().chunks == 3, "nobody has said that it stays so"
    assert told.ingest.load(told.folder, told.manifest, False) is None
    told.save()
    feeder = Feeder(told.ingest, incarnation=7)
    feeder.send(0, 2)
    assert told.lose_driver().chunks == 1
    assert told.ingest.counts()["transitions"] == [7, 0]


def test_a_ring_that_holds_what_its_journal_lacks_is_refused(told):
    path = told.files[-1]
    *_, before, _ = File(path).records()
    told.ingest.close()
    os.truncate(path, before.end)
    told.ingest = told.begin()
    with pytest.raises(CheckpointError, match="holds other chunks than its journal"):
        told.ingest.discard_open()


def test_actors_may_be_fewer_or_more_after_a_restart(shm, tmp_path):
    machine = Machine(shm, tmp_path, capacity=400)
    machine.save()
    for writer in range(3):
        feeder = Feeder(machine.ingest, writer, incarnation=2)
        feeder.send(0, 4)
        feeder.send(0, 3, end="truncated")
    machine.ingest.take_over(2, 5)
    counts = machine.ingest.counts()["transitions"]
    for writers in (2, 5, 1):
        machine.sizes["writers"] = writers
        assert machine.lose_driver().chunks == 6
        assert machine.ingest.counts()["transitions"] == counts
        check_whole(machine.ingest.ring)
    machine.close()


def test_a_load_that_was_cut_short_is_made_again(told):
    """The ingest died in the middle of it: its successor finds a ring, and is told to load once more."""
    counts = told.ingest.counts()
    told.ingest.ring.clear()
    told.lose_ingest()
    assert told.ingest.load(told.folder, told.manifest).chunks == 3
    assert told.ingest.counts() == counts


def test_a_writer_taken_over_stays_so(make_machine):
    machine = make_machine()
    machine.save()
    Feeder(machine.ingest, 1).send(0, 4)
    machine.ingest.take_over(1, 3)
    twin = machine.ingest.ring.state()
    machine.lose_driver()
    for a, b in zip(twin, machine.ingest.ring.state(), strict=True):
        assert a.tolist() == b.tolist()
    assert machine.ingest.progress()[1] == (3, 0)


def test_versions_that_acted_are_told(make_machine):
    machine = make_machine()
    machine.save()
    feeder = Feeder(machine.ingest)
    chunk = feeder.make(0, 4)
    chunk.rows["version"] = [3, 17, 17, 17, 0]
    machine.ingest.insert(chunk)
    assert machine.lose_driver().version == 17


def test_a_spilled_ring_has_a_journal_too(shm, tmp_path):
    spilled, twin = Machine(tmp_path, tmp_path / "run", spilled=True), Machine(shm, tmp_path / "twin")
    spilled.save()
    for machine in (spilled, twin):
        feeder = Feeder(machine.ingest)
        for n in range(2, 9):
            feeder.send(0, n)
    spilled.lose_driver()
    same_ring(spilled.ingest, twin.ingest)
    spilled.close()
    twin.close()


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match=r"replay\.journal is 'disk'; allowed: off, process, host"):
        Config(journal="disk")

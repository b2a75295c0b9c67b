"""A run whose replay lies on a disk: the run that it is in memory, bit for bit, also resumed; its file is gone afterwards."""

from manyhands import config_file
from tests.system.tiny import assert_equal, replayed, run_through, saved, tiny


def test_a_run_with_its_rows_on_disk_is_the_same_run(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    spilled = {"spill": str(disk), "capacity": 120}
    plain = run_through(tiny(total_steps=400, replay={"capacity": 120}), tmp_path)
    files = []
    other = run_through(tiny(total_steps=240, replay=spilled), tmp_path, (100, lambda run: files.extend(disk.iterdir())))
    assert len(files) == 1 and not list(disk.iterdir())
    longer = tiny(total_steps=400, replay=spilled)
    config_file.save(longer, other / "config.json")
    run_through(longer, tmp_path, run=other.name)
    assert_equal(saved(plain).components["learner"], saved(other).components["learner"], "learner")
    assert replayed(plain).tobytes() == replayed(other).tobytes()
    assert not list(disk.iterdir())

"""The side of ``bench/pearl_update.py`` that is ours, at small sizes: an update is what it is said to be."""

import copy
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench"


def test_our_side_runs_and_one_update_moves_all_networks(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCH)])  # behind: bench/replay.py is no package
    import pearl_report
    import pearl_sides

    sizes = pearl_sides.CASES["tiny"]
    side = pearl_sides.Ours(sizes, pearl_sides.make_data(4000, sizes.tasks), 1, "eager")
    for mode in side.modes.values():
        mode.call()
    work = side.about["work"]
    assert work["steps"] == dict.fromkeys(pearl_sides.NETWORKS, 1)

    other = copy.deepcopy(work)
    assert pearl_report.equal([work, other])
    other["losses"]["value"] *= 1.02
    assert not pearl_report.equal([work, other])
    other = copy.deepcopy(work)
    other["parameters"]["encoder"] += 1
    assert not pearl_report.equal([work, other])

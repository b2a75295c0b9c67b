"""The side of ``bench/c2farm_update.py`` that is ours, on two rows: an update moves both depths, and what differs is noticed."""

import copy
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench"


def test_our_side_runs_and_its_first_update_is_written_down(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCH)])  # behind: bench/replay.py is no package
    import c2farm_report
    import c2farm_sides

    scenes = c2farm_sides.make_scenes(2)
    sides = {}
    for name, at_once in ((c2farm_sides.OURS, 2), (c2farm_sides.PEER, 1)):
        side = c2farm_sides.Ours(c2farm_sides.Sizes(2, at_once), scenes, 1, short=False)
        for mode in (c2farm_sides.ACT, c2farm_sides.IMAGES):
            side.modes[mode].call()
        sides[name] = side.about
    assert sides[c2farm_sides.OURS]["parameters"] == [879_553, 1_186_459]
    assert len(side.action) == 8 and all(moved > 0 for moved in side.first.moved)
    assert c2farm_report.same(sides)
    other = copy.deepcopy(sides)
    other[c2farm_sides.PEER]["first"]["loss"][1] *= 1.01
    assert not c2farm_report.same(other)
    other = copy.deepcopy(sides)
    other[c2farm_sides.PEER]["acted"][0][0] += 1
    assert not c2farm_report.same(other)


def test_crops_are_the_authors(monkeypatch):
    """Rows and columns of a crop are those of a nearest-pixel grid sample with aligned corners, whose numbers are divided by all pixels."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCH)])
    from c2farm_scene import CROP, PIXELS, crop

    numbers = np.arange(PIXELS * PIXELS).reshape(PIXELS, PIXELS)
    for middle in ((0, 127), (61, 76), (90, 40)):
        first = np.clip(np.array(middle) - CROP // 2, 0, PIXELS - CROP)
        rows, columns = (torch.arange(CROP) + start for start in first)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1) / PIXELS * 2 - 1
        wanted = F.grid_sample(torch.tensor(numbers, dtype=torch.float32)[None, None], grid[None], mode="nearest", align_corners=True)
        assert (crop(numbers, np.array(middle)) == wanted[0, 0].numpy()).all()

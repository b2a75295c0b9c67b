"""C2F-ARM learns from images and five demonstrations: to reach and to press a button, on goals that it has not seen, within minutes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from manyhands import presets
from manyhands.session import train_seeds

WANTED = 0.8


def successes(folder: Path) -> list[list[bool]]:
    """Of each task, in the run's best evaluation."""
    tasks = json.loads((folder / "result.json").read_text())["best"]["tasks"]
    return [task["success_any"] for task in tasks.values()]


@pytest.mark.learning
@pytest.mark.metaworld
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", ["c2farm-reach-small", "c2farm-button-small"])
def test_few_demonstrations_are_enough(name, tmp_path):
    config = presets.find(name)
    wanted = dataclasses.replace(config.evaluation, target_success=WANTED)
    train_seeds(dataclasses.replace(config, seed=0, evaluation=wanted), [0], tmp_path)
    (folder,) = [path for path in tmp_path.iterdir() if path.name.startswith(name)]
    (found,) = successes(folder)
    assert len(found) == 20
    assert np.mean(found) >= WANTED, found


@pytest.mark.learning
@pytest.mark.metaworld
@pytest.mark.timeout(3600)
def test_one_network_for_three_tasks(tmp_path):
    train_seeds(presets.find("mt3-c2farm-small"), [0], tmp_path)
    (folder,) = [path for path in tmp_path.iterdir() if path.name.startswith("mt3")]
    assert np.mean(successes(folder)) >= WANTED

"""A run whose replay keeps a repeated frame once: nothing is lost, doubled or mixed up, also across a resume."""

import numpy as np

from core.rows import CLOSING, OPENING, STEP
from manyhands import build, config_file
from replay.windows import rows_read
from tests.system.counting import check_draws, check_rows, counter_config
from tests.system.tiny import replayed, run_through, saved

FRAMES = {"simulator": {"frames": 2}}


def test_every_transition_is_there_once_and_whole(tmp_path):
    config = counter_config(total_steps=600, algo={"n_step": 3}, **FRAMES)
    folder = run_through(config, tmp_path, (300, check_draws), (500, check_draws))
    rows, parts = replayed(folder), saved(folder)
    check_rows(rows, config)
    kinds = rows["kind"]
    assert (kinds == OPENING).sum() == (kinds == CLOSING).sum() > 10
    assert (kinds == STEP).sum() == sum(parts.meta["replay"]["transitions"]) >= parts.components["fleet"]["counters"]["stored"]
    opened = np.flatnonzero(kinds == OPENING)
    assert (kinds[opened + 1] == STEP).all()
    assert parts.meta["replay"]["window"] == rows_read(rows.dtype, config_plan(config)) == 5


def config_plan(config):
    return build.algorithm(config, build.task_spec(config)).plan


def test_a_resumed_run_has_the_same_rows(tmp_path):
    config = counter_config(total_steps=300, **FRAMES)
    straight = run_through(config, tmp_path)
    broken = run_through(counter_config(total_steps=124, **FRAMES), tmp_path)
    config_file.save(config, broken / "config.json")
    run_through(config, tmp_path, run=broken.name)
    assert replayed(straight).tobytes() == replayed(broken).tobytes()

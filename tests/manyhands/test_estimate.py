"""What ``--dry-run`` measures is what the run would do: made-up batches have all that the plan asks for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.rows import row_dtype
from core.types import Field, Stream, TaskSpec
from manyhands import presets
from manyhands.estimate import Speed, _MadeUp, learner_speed, whole_round_s
from tests.system.tiny import tiny

SPEC = TaskSpec("made:up", (Field("obs", (3,)),), 2, 20)


@pytest.mark.parametrize(("tasks", "context"), [(0, 0), (2, 0), (0, 5), (2, 5)])
def test_made_up_batches_have_what_the_plan_asks_for(tasks, context):
    source = _MadeUp(Stream(4, tasks=tasks, context=context), SPEC, 6, row_dtype(SPEC))
    source.sample()
    batch, T = source.assemble(source.buffer), tasks or 6
    assert [tuple(part.shape) for part in batch[:5]] == [(T, 4, 3), (T, 4, 2), (T, 4), (T, 4, 3), (T, 4)]
    if tasks:
        np.testing.assert_array_equal(batch.chosen, [0, 1])
        assert batch.chosen.dtype == torch.int64  # type: ignore[union-attr] - tasks are drawn
    else:
        assert batch.chosen == ()
    if context:
        assert batch.context.shape == (T, context, 6)  # type: ignore[union-attr] - there is one
    else:
        assert batch.context == ()
    assert batch.here == batch.there == batch.weight == ()


def test_made_up_batches_have_the_algorithms_own_columns_and_weights():
    encoded, extra = (Field("voxel_index", (6,), "uint16"),), (Field("label", (), "int16"),)
    source = _MadeUp(Stream(4, tasks=2, context=5, priority=0.7, weight=0.5), SPEC, 6, row_dtype(SPEC, extra, encoded))
    batch = source.assemble(source.buffer.clone())
    assert {name: (tuple(value.shape), value.dtype) for name, value in dict(batch.here).items()} == {
        "voxel_index": ((2, 4, 6), torch.uint16),
        "label": ((2, 4), torch.int16),
    }
    assert set(batch.there) == {"voxel_index"}
    assert batch.weight.shape == (2, 4)  # type: ignore[union-attr] - there are some


def test_an_algorithm_with_a_context_can_be_estimated():
    config = presets.find("semicircle-pearl")
    config = tiny(tasks=config.tasks, simulator=config.simulator, algorithm="pearl", algo=config.algo)
    assert learner_speed(config, SPEC).updates_per_s > 0


@pytest.mark.parametrize(
    ("took", "whole"),
    [
        ({100: 7.0}, 7.0),
        ({25: 3.0, 100: 7.0}, 7.0),
        ({5: 2.0}, 40.0),
        ({5: 2.0, 20: 5.0}, 21.0),
        ({1: 9.0, 5: 2.0, 20: 5.0}, 21.0),
        ({5: 2.0, 20: 1.9}, 1.9),
        ({5: 0.1, 20: 4.0}, 20.0),
    ],
    ids=["whole", "whole, at last", "one length", "with a fixed part", "the last two", "noise downwards", "noise upwards"],
)
def test_a_round_is_extrapolated_by_what_a_further_step_costs(took, whole):
    assert whole_round_s(took, 100) == pytest.approx(whole)


def test_a_long_round_is_measured_in_part_and_a_short_one_whole(monkeypatch):
    config = presets.find("navigation-maml")
    config = replace(config, actors=replace(config.actors, simulators=2))
    assert learner_speed(config, SPEC).share == 1
    monkeypatch.setattr("manyhands.estimate.ROUND_S", 0.0)
    found = learner_speed(config, replace(SPEC, horizon=256))
    assert found.share == 2 / 256 and found.updates_per_s > 0


def test_slow_updates_are_told_in_seconds_and_what_is_extrapolated_is_said():
    assert Speed(1234.5).describe() == "1,234 updates/s"
    assert Speed(0.125).describe() == "8.0 s per update"
    assert Speed(0.125, 1 / 32).describe() == "8.0 s per update (extrapolated from 3.1% of a round)"

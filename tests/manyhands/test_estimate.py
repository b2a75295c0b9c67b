"""What ``--dry-run`` measures is what the run would do: made-up batches have all that the plan asks for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.poses import target_of
from core.rows import row_dtype
from core.types import Field, Keyframes, Stream, TaskSpec
from manyhands import presets
from manyhands.estimate import Speed, _MadeUp, _simulators, _some_actions, learner_speed, whole_round_s
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
    told = {name: tuple(value.shape) for name, value in dict(batch.context_here).items()}
    assert told == {"voxel_index": (2, 5, 6), "action": (2, 5, 2), "reward": (2, 5)}
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


def test_simulators_with_a_process_each_are_counted_so(monkeypatch):
    monkeypatch.setattr("simulators.dummy.ONE_PER_PROCESS", True, raising=False)
    monkeypatch.setattr("simulators.dummy.megabytes", lambda options: 250.0, raising=False)
    config = tiny(actors={"actors": 2, "simulators": 3, "processes": 1}, evaluation={"episodes": 50, "processes": 2})
    told = _simulators(config)
    assert told == "processes   6 with simulators that train, 2 with those that evaluate, about 2.0 GB of memory"
    assert "50 with those" in _simulators(tiny(evaluation={"episodes": 50, "simulators": 50})), "where someone said so"


def test_simulators_that_share_a_process_are_counted_so():
    assert _simulators(tiny(evaluation={"episodes": 50})) == "processes   2 with simulators that train, 1 with those that evaluate"


def test_poses_that_are_tried_are_near_and_as_the_gripper_is_turned():
    bounds = (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)
    spec = TaskSpec("made:up", (Field("obs", (3,)),), 8, 10, keyframes=Keyframes(bounds, ("front",)))
    pose = np.array([0.65, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    found = _some_actions(spec, {"gripper_pose": np.tile(pose, (50, 1))}, np.random.default_rng(0))
    targets = [target_of(spec.keyframes, action) for action in found]
    assert all(target.inside and abs(target.position - pose[:3]).max() < 0.16 for target in targets)
    assert all(np.allclose(target.quaternion, pose[3:]) for target in targets) and {target.open for target in targets} == {True, False}
    assert _some_actions(SPEC, {"obs": np.zeros((4, 3))}, np.random.default_rng(0)).shape == (4, 2)

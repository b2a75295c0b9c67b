"""What ``--dry-run`` measures is what the run would do: made-up batches have all that the plan asks for."""

import numpy as np
import pytest
import torch

from core.types import Field, Stream, TaskSpec
from manyhands import presets
from manyhands.estimate import _MadeUp, learner_speed
from tests.system.tiny import tiny

SPEC = TaskSpec("made:up", (Field("obs", (3,)),), 2, 20)


@pytest.mark.parametrize(("tasks", "context"), [(0, 0), (2, 0), (0, 5), (2, 5)])
def test_made_up_batches_have_what_the_plan_asks_for(tasks, context):
    source = _MadeUp(Stream(4, tasks=tasks, context=context), SPEC, 6)
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


def test_an_algorithm_with_a_context_can_be_estimated():
    config = presets.find("semicircle-pearl")
    config = tiny(tasks=config.tasks, simulator=config.simulator, algorithm="pearl", algo=config.algo)
    assert learner_speed(config, SPEC) > 0

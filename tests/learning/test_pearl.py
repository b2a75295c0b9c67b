"""PEARL learns to adapt: on the semicircle, to goals that it was not trained on, within three to six episodes of 20 steps."""

import dataclasses

import numpy as np
import pytest

from manyhands import presets
from manyhands.adapt import adapt_run
from manyhands.adapt_arguments import AdaptArguments
from protocols.rows import Results
from tests.system.tiny import run_through

GAIN, ADAPTED = 5.0, -12.0
"""A policy that goes anywhere has -18 to -20, one that goes to the middle of the arc -16, one that knows the goal -3.8."""


@pytest.mark.learning
@pytest.mark.timeout(1800)
def test_the_posterior_finds_goals_that_were_held_out(tmp_path):
    config = dataclasses.replace(presets.find("semicircle-pearl"), seed=0)
    folder, out = run_through(config.check(), tmp_path), tmp_path / "rows.jsonl"
    adapt_run(AdaptArguments(folder.name, folder.parent, held_out=True, episodes=6, goals=5, processes=1, out=out))
    episodes = Results.read(out).exploration()
    returns = [episodes.select(lambda row, n=n: row.adapted_episodes == n).column("episode_return").mean() for n in range(6)]
    print(f"returns of episodes 1 to 6: {np.round(returns, 1)}")  # noqa: T201 - run by hand, with -s
    adapted = np.mean(returns[2:])
    assert adapted - returns[0] >= GAIN, returns
    assert adapted > ADAPTED, returns

"""What must hold of every row of ``dummy:counter``, which tells in its observation what it is: nothing lost, doubled or mixed up."""

import numpy as np

from core.rows import CLOSING, DISCARDED, OPENING, STEP
from core.seeding import SeedTree
from core.types import Stream
from manyhands.config import RunConfig
from manyhands.run import Run
from replay.ingest import ring_file
from replay.ring import Ring
from replay.sampler import Sampler
from tests.system.tiny import tiny

AROUND = (CLOSING, OPENING)
"""kinds of the rows around a chunk's transitions"""


def counter_config(**changes) -> RunConfig:
    return tiny(tasks=("dummy:counter",), **changes)


def simulator_seed(config: RunConfig, writer: int, slot: int) -> int:
    return SeedTree(config.seed).child("task", 0).child("actor", writer).child("simulator", slot).integer()


def check_rows(rows: np.ndarray, config: RunConfig) -> None:
    """Holds the stored rows (in the order in which they were stored) of one task against what the simulators must have said."""
    horizon = config.simulator_options["horizon"]
    for writer, episode in sorted({(int(r["writer"]), int(r["episode"])) for r in rows}):
        mine = rows[(rows["writer"] == writer) & (rows["episode"] == episode)]
        check_episode(mine, config, horizon)
    steps = rows[rows["kind"] == STEP]
    lives = {(int(r["writer"]), int(r["slot"]), int(r["obs"][1]), int(r["episode"])) for r in rows if r["kind"] not in AROUND}
    assert len({life[:3] for life in lives}) == len(lives), "a variation was met twice by the same simulator"
    assert len(steps), "nothing was stored"


def check_episode(mine: np.ndarray, config: RunConfig, horizon: int) -> None:
    """Rows of one episode, opening and closing rows of its chunks among them."""
    assert (mine["obs"][:, 2] == mine["t"]).all(), "also of an opening row: before an episode all numbers are -1"
    mine = mine[mine["t"] >= 0]
    taken = mine[~np.isin(mine["kind"], AROUND)]
    n = len(taken)
    assert taken["t"].tolist() == list(range(n)), "steps are missing or doubled"
    assert len(set(taken["kind"].tolist())) == 1, "withdrawn in part"
    assert len(set(mine["obs"][:, 1].tolist())) == 1, "rows of two variations"
    seeds = mine["obs"][:, 0].astype(int) + 65536 * mine["obs"][:, 3].astype(int)
    assert set(seeds.tolist()) == {simulator_seed(config, int(taken["writer"][0]), int(taken["slot"][0]))}
    assert (taken["reward"] == taken["t"] + 1).all()
    assert (taken["truncated"] == (taken["t"] + 1 == horizon)).all()
    assert not taken["terminated"].any()
    # The row after a step, of the next step or closing, shows the action that led to it.
    at = np.flatnonzero(~np.isin(mine["kind"], AROUND))
    assert (mine["t"][at + 1] == mine["t"][at] + 1).all()
    assert (mine["obs"][at + 1, 4:] == mine["action"][at]).all()
    assert (np.diff(taken["version"]) >= 0).all()


def open_episodes(rows: np.ndarray) -> set[tuple[int, int]]:
    """(writer, episode) of those that can be drawn and have no end."""
    steps = rows[rows["kind"] == STEP]
    ended = {(int(r["writer"]), int(r["episode"])) for r in steps if r["truncated"] or r["terminated"]}
    return {(int(r["writer"]), int(r["episode"])) for r in steps} - ended


def discarded_episodes(rows: np.ndarray) -> set[tuple[int, int]]:
    return {(int(r["writer"]), int(r["episode"])) for r in rows if r["kind"] == DISCARDED}


def check_draws(run: Run, draws: int = 50) -> None:
    """Draws beside the writer, as a learner does: every transition is whole, and none of a withdrawn episode."""
    ring = Ring.attach(ring_file(run.id))
    sampler, F = Sampler(ring, [0], Stream(16), seed=7), run.fleet.spec.repeated
    for _ in range(draws):
        batch = sampler.draw()
        obs, after = batch.obs[0], batch.next_obs[0]
        if F:
            assert (after[:, F:] == obs[:, :F]).all()
            assert (obs[:, F + 2] == obs[:, 2] - 1).all(), "the step before, or -1 before the first"
            obs, after = obs[:, :F], after[:, :F]
        assert (after[:, 2] == obs[:, 2] + 1).all()
        assert (after[:, :2] == obs[:, :2]).all()
        assert (after[:, 4:] == batch.action[0]).all()
        assert (batch.reward[0] == obs[:, 2] + 1).all()
    del sampler, batch, obs, after
    ring.close()

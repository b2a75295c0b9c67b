"""An algorithm that keeps what it has made of an observation: its columns are in every row, closing rows of cut episodes included."""

import numpy as np
import pytest

from actors.policy import Policy
from actors.recorder import Recorder
from actors.worker import ActorWorker
from core.abilities import Encoding
from core.rows import CLOSING, STEP
from core.seen import Watch
from core.types import Field, Stream, Weights
from manyhands.build import row_type
from simulators.pool import SimulatorPool
from tests.actors.test_worker import Sink


class Encoder:
    """Goes to the goal, or nowhere; keeps the simulator's own count of steps, and the scale of its weights."""

    plan, noise_dim = Stream(4), 2

    def __init__(self, gain):
        self.gain, self.asked = gain, []

    def fields(self):
        return (Field("label", (2,), "int16"),)

    def encoded(self):
        return (Field("voxel_index", (2,), "uint16"), Field("voxel_value", (3,)), Field("voxels", (), "uint16"))

    def encode(self, params, seen):
        self.asked.append((seen, len(seen.obs)))
        return self._columns(params, seen)

    def _columns(self, params, seen):
        count = seen.fields["count"]
        value = np.repeat(count[:, None] * params["scale"], 3, 1).astype(np.float32)
        return {"voxel_index": np.repeat(count[:, None], 2, 1).astype(np.uint16), "voxel_value": value, "voxels": count.astype(np.uint16)}

    def encode_demo(self, demo, rng):
        raise NotImplementedError

    def act(self, params, carry, seen, noise):
        action = np.clip((seen.obs[:, 2:] - seen.obs[:, :2]) * self.gain, -1, 1).astype(np.float32)
        return action, None, {**self._columns(params, seen), "label": np.full((len(action), 2), -7, np.int16)}


@pytest.fixture
def played():
    """(algorithm, chunks) of so many steps of three simulators."""
    pools = []

    def play(gain, chunk, steps=60):
        horizon = 40 if gain else 10  # enough to get to the goal
        options = {"horizon": horizon, "terminate_on_success": True}
        pools.append(pool := SimulatorPool(["dummy:point"] * 3, range(3), options, workers=1))
        made = Encoder(gain)
        assert isinstance(made, Encoding)
        policy = Policy(made, np.random.default_rng(0), Watch(np.zeros(3, int), 2, np.arange(5, 8), 1))
        tasks = np.zeros(3, np.int64)
        recorder = Recorder(row_type(made, pool.spec), slots=3, chunk=chunk, horizon=horizon, writer=0, incarnation=0, tasks=tasks)
        worker = ActorWorker(pool.spec, policy, pool, Sink(), recorder)
        worker.begin(Weights(1, {"scale": np.float32(0.5)}))
        worker.collect(steps)
        return made, worker.sink.chunks

    yield play
    for pool in pools:
        pool.close()


@pytest.mark.parametrize(("gain", "chunk"), [(0.0, 4), (0.0, 0), (10.0, 4), (10.0, 0)])
def test_every_row_has_its_own_columns(played, gain, chunk):
    _, chunks = played(gain, chunk)
    kinds = set()
    for sent in chunks:
        rows = sent.rows
        assert "image" not in rows.dtype.names
        terminated, truncated = bool(rows["terminated"][-2]), bool(rows["truncated"][-2])
        kinds.add("terminated" if terminated else "truncated" if truncated else "cut")
        count = int(rows["voxels"][0]) + np.arange(len(rows))
        if terminated:
            assert rows["obs"][-1].any(), "the last observation itself is there"
            count[-1] = 0
        assert (rows["voxels"] == count).all() and (rows["voxel_index"] == count[:, None]).all()
        assert (rows["voxel_value"] == count[:, None] * 0.5).all()
        assert (rows["label"][:-1] == -7).all()
        assert rows["kind"].tolist() == [STEP] * sent.transitions + [CLOSING]
    assert kinds == {"terminated" if gain else "truncated"} | ({"cut"} if chunk else set())


def test_only_what_nobody_acts_on_is_asked_for(played):
    made, chunks = played(0.0, 0, steps=10)
    assert len(chunks) == 3
    ((seen, count),) = made.asked
    assert count == 3 and set(seen.fields) == {"obs", "image", "count", "half", "even"}
    assert seen.lanes.tolist() == [5, 6, 7] and not seen.trial.any() and not seen.episode.any()
    assert (seen.reward == [chunk.rows["reward"][-2] for chunk in chunks]).all()
    assert (seen.action == [chunk.rows["action"][-2] for chunk in chunks]).all()
    made, _ = played(10.0, 0)
    assert not made.asked

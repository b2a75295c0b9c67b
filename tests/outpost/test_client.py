"""The client's parts against what they stand for on the cluster: rows of the recorder, numbers of the dummy; and what it may import."""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import outpost
import simulators
from actors.recorder import Recorder as ClusterRecorder
from core.rows import encoded_columns, repeated, row_dtype
from core.types import Field, TaskSpec
from outpost import Failed, client_simulators
from outpost.client_recorder import Recorder
from outpost.wire import describe

SPEC = TaskSpec("a:b", (Field("obs", (7,)), Field("image", (2, 2), "uint8")), 2, 11)
PLAIN, FRAMED = row_dtype(SPEC, (Field("extra", (3,)),)), row_dtype(replace(SPEC, repeated=2), (Field("extra", (3,)),))
SLOTS, CHUNK = 3, 4


@pytest.mark.parametrize("chunk", [CHUNK, 0])
@pytest.mark.parametrize("dtype", [PLAIN, FRAMED], ids=["plain", "framed"])
def test_rows_are_those_of_the_clusters_recorder(dtype, chunk):
    """The same simulators step by step in both; episodes of several lengths."""
    draw = np.random.default_rng(0)
    theirs = ClusterRecorder(dtype, slots=SLOTS, chunk=chunk, horizon=11, writer=5, incarnation=2, tasks=np.zeros(SLOTS, np.int64))
    told = {"row": describe(dtype), "observed": ["obs", *encoded_columns(dtype)], "frame": repeated(dtype), "chunk": chunk, "horizon": 11}
    ours, chunks = [Recorder(told, 5, slot, SLOTS) for slot in range(SLOTS)], 0
    for slot, recorder in enumerate(ours):
        recorder.new_episode(int(theirs.episode[slot]))

    def observe():
        return {"obs": draw.normal(size=(SLOTS, 7)).astype(np.float32), "image": draw.integers(0, 255, (SLOTS, 2, 2)).astype(np.uint8)}

    for step in range(60):
        obs, closing = observe(), observe()
        action, extra = draw.normal(size=(SLOTS, 2)).astype(np.float32), {"extra": draw.normal(size=(SLOTS, 3)).astype(np.float32)}
        reward, ended = draw.normal(size=SLOTS), (draw.random(SLOTS) < 0.15) | (theirs.t == 10)
        flags = (ended & (step % 2 == 0), ended & (step % 2 == 1), draw.random(SLOTS) < 0.5)
        theirs.begin(obs, action, step, extra)
        theirs.end(reward, *flags)
        for slot, recorder in enumerate(ours):
            recorder.begin({k: v[slot] for k, v in obs.items()}, action[slot], step, {k: v[slot] for k, v in extra.items()})
            recorder.end(reward[slot], *(flag[slot] for flag in flags))
            assert recorder.full() == theirs.full()[slot]
            if ended[slot] or recorder.full():
                expected = theirs.cut(slot, closing)
                assert recorder.cut({k: v[slot] for k, v in closing.items()}).tobytes() == expected.rows.tobytes()
                chunks += 1
            if ended[slot]:
                theirs.new_episode(slot)
                recorder.new_episode(int(theirs.episode[slot]))
    assert chunks > 10


@pytest.mark.parametrize("task", ["counter", "point"])
def test_the_dummy_is_the_clusters(task):
    options = {"horizon": 6, "extra_fields": False, "action_dim": 3, "terminate_on_success": task == "counter"}
    theirs, ours = simulators.make(f"dummy:{task}", 70_001, **options), client_simulators.make(f"dummy:{task}", 70_001, options)
    draw = np.random.default_rng(1)
    for episode in (0, 5, 1_000_000):
        assert theirs.reset(episode)["obs"].tobytes() == ours.reset(episode)["obs"].tobytes()
        for _ in range(6):
            action = draw.uniform(-1, 1, 3).astype(np.float32)
            step, (obs, *rest) = theirs.step(action), ours.step(action)
            assert step.obs["obs"].tobytes() == obs["obs"].tobytes()
            assert rest == [step.reward, step.terminated, step.truncated, step.success]


@pytest.mark.parametrize("name", ["nowhere:x", "dummy", "dummy:x"])
def test_a_simulator_that_is_not_there_is_named(name):
    with pytest.raises(Failed, match=name.rpartition(":")[2]):
        client_simulators.make(name, 0, {})


def test_nothing_of_the_cluster_is_imported():
    """Only the standard library, numpy, redis, msgpack, each of the latter in one file, and what simulators need in theirs."""
    own = Path(outpost.__file__).parent
    allowed = {"outpost", "numpy", *sys.stdlib_module_names}
    places = {"redis": "link.py", "msgpack": "wire.py"}
    for path in own.rglob("*.py"):
        if path.name.startswith(("rlbench", "display")):
            continue
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names}:
                assert name in allowed or places.get(name) == path.name, f"{path.name} imports {name}"

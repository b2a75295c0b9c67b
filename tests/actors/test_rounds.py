"""The on-policy actor with real simulators: whole episodes of one version, the same goals whenever it is asked again, and losses."""

import numpy as np
import psutil
import pytest

from core.errors import SimulatorError
from core.rows import STEP
from core.treefile import snapshot
from core.types import Rounds, Weights
from manyhands import build
from tests.actors.test_worker import Sink
from tests.on_policy import Drifting
from tests.system.tiny import tiny

E, T = 2, 5
CONFIG = {"tasks": ("dummy:counter",) * 2, "actors": {"actors": 1}, "simulator": {"horizon": T}}


@pytest.fixture
def make(tmp_path, monkeypatch):
    made = []

    def start(incarnation=0, **changes):
        monkeypatch.setattr(build, "algorithm", lambda config, spec: Drifting(Rounds(E)))
        config = tiny(**{**CONFIG, **changes})
        made.append(build.actor(config, build.task_spec(config), Sink(), 0, incarnation, tmp_path))
        return made[-1]

    yield start
    for worker in made:
        worker.close()


def weights(version, bias=0.0):
    return Weights(version, {"bias": np.full(2, bias, np.float32)})


def steps(chunks):
    rows = np.concatenate([chunk.rows for chunk in chunks])
    return rows[rows["kind"] == STEP]


def test_every_simulator_plays_its_episodes_of_that_version(make):
    worker = make()
    worker.begin(weights(0))
    for version in (3, 4, 9):
        worker.sink.chunks.clear()
        report = worker.collect(E, weights(version))
        rows = steps(worker.sink.chunks)
        assert worker.sink.flushed
        assert (report.steps, report.stored, report.lost, report.version) == (4 * E * T, 4 * E * T, 0, version)
        assert [(e.task, e.length, e.success_last) for e in report.episodes] == [(k, T, True) for k in (0, 0, 0, 0, 1, 1, 1, 1)]
        assert (rows["version"] == version).all()
        assert sorted(set(rows["obs"][:, 1].tolist())) == [version * E, version * E + 1], "variations, which the counter tells"
        for slot in range(4):
            assert rows["t"][rows["slot"] == slot].tolist() == [*range(T)] * E
    assert not worker.sink.discarded


def test_actions_are_kept_as_drawn_and_played_within_bounds(make):
    worker = make()
    worker.begin(weights(0))
    worker.collect(E, weights(1, bias=1.5))
    for chunk in worker.sink.chunks:
        drawn = chunk.rows["drawn"][:-1]
        np.testing.assert_allclose(chunk.rows["action"][:-1], 1.5 + 0.1 * drawn, rtol=1e-6)
        assert (chunk.rows["obs"][1:, 4:] == np.clip(chunk.rows["action"][:-1], -1, 1)).all()
        assert chunk.rows["action"].max() > 1


@pytest.mark.parametrize("fault", ["fail_at_step", "exit_at_step"])
def test_a_lost_simulator_plays_its_part_again(make, fault):
    """All four slots are in one process, so that all are lost with one; variation 3 is the second episode of version 1."""
    worker = make(simulator={"horizon": T, fault: 3, "fail_variation": 3})
    worker.begin(weights(0))
    with pytest.raises(SimulatorError, match="lost in each of 5 attempts"):
        worker.collect(E, weights(1))
    assert not worker.recorder.t.any()
    whole = {(c.rows["episode"][0], c.rows["slot"][0]) for c in worker.sink.chunks}
    assert {episode for episode, _ in whole} == {episode for _, episode in worker.sink.discarded}, "nothing of a failed attempt is drawn"
    report = worker.collect(E, weights(2))
    assert (report.stored, report.lost) == (4 * E * T, 0)


def test_only_the_lost_play_again(make):
    worker = make(actors={"actors": 1, "processes": 2})
    worker.begin(weights(0))
    send, calls = worker.simulators.send, []

    def losing(actions):
        calls.append(1)
        if len(calls) == T + 2:  # in the second episode
            victim = psutil.Process().children(recursive=True)[0]
            victim.kill()
            victim.wait()
        send(actions)

    worker.simulators.send = losing
    report = worker.collect(E, weights(1))
    rows = steps(worker.sink.chunks)
    kept = rows[~np.isin(rows["episode"], [episode for _, episode in worker.sink.discarded])]
    assert report.stored == 4 * E * T == len(kept)
    assert report.lost == len(worker.sink.discarded) == 2, "the two of that process, with one whole episode each"
    assert len(calls) == T + 2 + E * T + E * T - T - 2


def test_the_same_version_meets_the_same_episodes_after_a_restart(make):
    found = []
    for incarnation in (0, 1):
        worker = make(incarnation, tasks=("dummy:point",) * 2)
        worker.begin(weights(0))
        worker.collect(E, weights(5))
        found.append({(int(c.rows["slot"][0]), i // 4): c.rows["obs"][0].tolist() for i, c in enumerate(worker.sink.chunks)})
        assert (steps(worker.sink.chunks)["episode"] >= incarnation * 1_000_000).all()
    assert found[0] == found[1]


def test_a_saved_actor_goes_on_bit_by_bit(make):
    worker, again = make(), make()
    worker.begin(weights(0))
    worker.collect(E, weights(1))
    again.load_state_dict(snapshot(worker.state_dict()))
    for one in (worker, again):
        one.sink.chunks.clear()
        one.collect(E, weights(2))
    for a, b in zip(worker.sink.chunks, again.sink.chunks, strict=True):
        assert a.sequence == b.sequence
        assert a.rows.tobytes() == b.rows.tobytes()

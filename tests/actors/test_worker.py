"""The actor with real simulators: chunks, episodes, losses, and a state that brings open episodes back."""

import time

import numpy as np
import pytest

from actors.worker import Config
from core.errors import ConfigError
from core.rows import CLOSING, OPENING, STEP
from core.treefile import snapshot
from core.types import Weights
from manyhands import build
from tests.system.tiny import tiny

COUNTER = ("dummy:counter",)


class Sink:
    """Keeps what it is sent."""

    def __init__(self):
        self.chunks, self.discarded, self.flushed = [], [], True

    def send(self, chunk):
        self.chunks.append(chunk)
        self.flushed = False

    def flush(self):
        self.flushed = True

    def discard_episode(self, writer, episode):
        self.discarded.append((writer, episode))


@pytest.fixture
def make(tmp_path):
    made = []

    def start(config, *, begin=True, incarnation=0, index=0):
        spec = build.task_spec(config)
        algorithm = build.algorithm(config, spec)
        params = {name: leaf[0].numpy() for name, leaf in algorithm.policy(algorithm.init([0])).items()}
        worker = build.actor(config, spec, Sink(), index, incarnation, tmp_path)
        made.append(worker)
        if begin:
            worker.begin(Weights(1, params))
        return worker

    yield start
    for worker in made:
        worker.close()


def episodes(chunks):
    """(slot, episode) -> its chunks, in order."""
    found = {}
    for chunk in chunks:
        found.setdefault((int(chunk.rows["slot"][0]), int(chunk.rows["episode"][0])), []).append(chunk)
    return found


def test_chunks_are_consecutive_steps_and_a_closing_row(make):
    worker = make(tiny(tasks=COUNTER, simulator={"horizon": 10}, actors={"chunk": 4, "random_steps": 0}))
    report = worker.collect(25)
    chunks = worker.sink.chunks
    assert worker.sink.flushed
    assert (report.steps, report.lost, report.version) == (50, 0, 1)
    assert report.stored == sum(chunk.transitions for chunk in chunks)
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.transitions <= 4
        assert set(chunk.rows["kind"][:-1].tolist()) == {STEP}
        assert chunk.rows["kind"][-1] == CLOSING
        assert (chunk.rows["obs"][1:, 4:] == chunk.rows["action"][:-1]).all()
    for parts in episodes(chunks).values():
        t = np.concatenate([chunk.rows["t"][:-1] for chunk in parts])
        assert t.tolist() == list(range(len(t)))
    assert [(e.length, e.episode_return, e.success_any, e.success_last) for e in report.episodes] == [(10, 55.0, True, True)] * 4


def test_a_repeated_frame_is_sent_once_per_chunk(make):
    worker = make(tiny(tasks=COUNTER, simulator={"horizon": 10, "frames": 2}, actors={"chunk": 4, "random_steps": 0}))
    report = worker.collect(25)
    assert report.stored == sum(chunk.transitions for chunk in worker.sink.chunks)
    for chunk in worker.sink.chunks:
        rows = chunk.rows
        assert rows["kind"].tolist() == [OPENING, *[STEP] * chunk.transitions, CLOSING]
        assert rows["obs"].shape[1] == 6
        assert (np.diff(rows["t"]) == 1).all()
        assert (rows["obs"][:, 2] == rows["t"]).all(), "-1 before the first step"
        assert (rows["obs"][2:, 4:] == rows["action"][1:-1]).all()
        assert len(set(rows["episode"].tolist())) == 1


MIXED = {"tasks": COUNTER * 4, "actors": {"actors": 2, "chunk": 3, "random_steps": 30}, "simulator": {"horizon": 7, "frames": 2}}


def seeds_of(worker):
    """task -> seeds of the simulators whose chunks say so."""
    found = {}
    for chunk in worker.sink.chunks:
        found.setdefault(chunk.task, set()).add(int(chunk.rows["obs"][-1, 0]) + 65536 * int(chunk.rows["obs"][-1, 3]))
    return found


def test_an_actor_steps_several_tasks(make):
    worker = make(tiny(**MIXED), index=1)
    report = worker.collect(15)
    assert report.steps == 15 * 4
    assert worker.recorder.tasks.tolist() == worker.policy.watch.tasks.tolist() == [1, 1, 3, 3]
    assert sorted(episode.task for episode in report.episodes) == [1] * 4 + [3] * 4
    assert all(chunk.task == [1, 1, 3, 3][int(chunk.rows["slot"][0])] for chunk in worker.sink.chunks)
    assert [chunk.sequence for chunk in worker.sink.chunks] == list(range(len(worker.sink.chunks)))


def test_a_task_meets_the_same_simulators_however_tasks_are_spread(make):
    """With eight actors the first four are the first actors of their tasks."""
    met = {}
    for actors in (1, 2, 8):
        config = tiny(**MIXED | {"actors": {"actors": actors, "chunk": 3, "random_steps": 0}})
        workers = [make(config, index=i) for i in range(min(actors, 4))]
        for worker in workers:
            worker.collect(5)
        met[actors] = {task: seeds for worker in workers for task, seeds in seeds_of(worker).items()}
        assert sorted(met[actors]) == [0, 1, 2, 3]
    assert met[1] == met[2] == met[8]
    assert len(set().union(*met[1].values())) == 8


def test_who_steps_what():
    spread = {
        (actors, tasks): [list(Config(actors=actors).tasks_of(i, tasks)) for i in range(actors)]
        for actors, tasks in ((4, 2), (2, 2), (2, 6), (1, 1))
    }
    assert spread == {(4, 2): [[0], [1], [0], [1]], (2, 2): [[0], [1]], (2, 6): [[0, 2, 4], [1, 3, 5]], (1, 1): [[0]]}
    assert [Config(actors=2, simulators=3).slots(tasks) for tasks in (1, 2, 6)] == [3, 3, 9]
    with pytest.raises(ConfigError, match=r"actors.actors is 4 for 6 tasks; .* a multiple or a divisor, .* simulators: 3 or 6"):
        tiny(tasks=COUNTER * 6, actors={"actors": 4})
    with pytest.raises(ConfigError, match=r"actors.actors is 3 for 2 tasks; .* simulators: 2 or 4"):
        tiny(tasks=COUNTER * 2, actors={"actors": 3})
    assert tiny(tasks=COUNTER * 4, actors={"actors": 1, "simulators": 2, "processes": 8})
    with pytest.raises(ConfigError, match=r"actors.processes is 9 .* 8 simulators per actor"):
        tiny(tasks=COUNTER * 4, actors={"actors": 1, "simulators": 2, "processes": 9})


def test_a_report_says_where_the_time_went(make):
    worker = make(tiny(tasks=COUNTER, simulator={"slow_ms": 5.0}, actors={"chunk": 2}))
    worker.sink.flush = lambda: time.sleep(0.1)
    report = worker.collect(10)
    assert 0.05 < report.simulate_s < report.seconds
    assert 0.1 <= report.send_s < report.seconds
    assert report.simulate_s + report.send_s <= report.seconds


def test_whole_episodes_only(make):
    worker = make(tiny(tasks=COUNTER, simulator={"horizon": 10}, actors={"chunk": 0}))
    worker.collect(25)
    assert [chunk.transitions for chunk in worker.sink.chunks] == [10] * 4
    assert all(chunk.rows["truncated"][-2] for chunk in worker.sink.chunks)


def test_a_terminated_episode_is_not_truncated(make):
    config = tiny(tasks=COUNTER, simulator={"horizon": 6, "terminate_on_success": True})
    worker = make(config)
    worker.collect(12)
    ends = [chunk.rows[-2] for chunk in worker.sink.chunks if chunk.rows["t"][-1] == 6]
    assert ends
    assert all(row["terminated"] and not row["truncated"] for row in ends)


def test_random_steps_are_uniform_then_the_policy_acts(make):
    worker = make(tiny(tasks=COUNTER, actors={"random_steps": 40, "chunk": 1, "actors": 1}))
    worker.collect(30)
    actions = np.concatenate([chunk.rows["action"][:-1] for chunk in worker.sink.chunks if chunk.rows["t"][0] < 20])
    assert np.abs(actions).max() <= 1
    assert worker.policy.random_steps_left == 0
    assert make(tiny(tasks=COUNTER, actors={"random_steps": 40, "actors": 2}), begin=False).policy.random_steps_left == 20
    assert make(tiny(tasks=COUNTER, actors={"random_steps": 40}), begin=False, incarnation=1).policy.random_steps_left == 0


def test_a_lost_simulator_is_told_to_replay(make):
    config = tiny(tasks=COUNTER, simulator={"fail_at_step": 5, "fail_variation": 1, "horizon": 8}, actors={"chunk": 2})
    worker = make(config)
    report = worker.collect(20)
    assert report.lost == 2
    assert worker.sink.discarded == [(0, 2), (0, 3)]
    kept = {key: parts for key, parts in episodes(worker.sink.chunks).items() if (0, key[1]) not in worker.sink.discarded}
    assert {int(parts[0].rows["obs"][0, 1]) for parts in kept.values()} == {0, 2}
    assert len(report.episodes) == 2
    assert all(e.length == 8 for e in report.episodes)


def test_new_incarnations_meet_other_variations_and_episode_numbers(make):
    first, second = (make(tiny(tasks=COUNTER), incarnation=i) for i in (0, 1))
    for worker in (first, second):
        worker.collect(45)
    numbers = [{key[1] for key in episodes(worker.sink.chunks)} for worker in (first, second)]
    variations = [{int(c.rows["obs"][0, 1]) for c in worker.sink.chunks} for worker in (first, second)]
    assert not numbers[0] & numbers[1]
    assert not variations[0] & variations[1]


@pytest.mark.parametrize("changes", [{}, MIXED], ids=["one task", "mixed, frames kept once"])
@pytest.mark.parametrize("steps", [1, 6, 7, 13])
def test_a_state_brings_open_episodes_back(make, steps, changes):
    """Also the state at which the step under way ends the episode, taken when the simulators have already begun the next (7 - 1 = 6)."""
    config = tiny(**{"tasks": COUNTER, "simulator": {"horizon": 7}, "actors": {"chunk": 3, "random_steps": 30}} | changes)
    straight = make(config)
    straight.collect(steps)
    if (steps + 1) % 7 == 0:
        until = time.monotonic() + 60
        while (straight.simulators.variations == straight.variations).all() and time.monotonic() < until:
            time.sleep(0.01)
    state = snapshot(straight.state_dict())
    other = make(config, begin=False)
    other.load_state_dict(state)
    sent = len(straight.sink.chunks)
    one, two = straight.collect(20), other.collect(20)
    assert (one[:5], one.upkeep) == (two[:5], two.upkeep)  # all but times
    assert [c.rows.tobytes() for c in straight.sink.chunks[sent:]] == [c.rows.tobytes() for c in other.sink.chunks]
    assert [c[:4] for c in straight.sink.chunks[sent:]] == [c[:4] for c in other.sink.chunks]


def test_weights_act_from_the_next_action_on(make):
    worker = make(tiny(tasks=COUNTER, actors={"random_steps": 0, "chunk": 1}))
    newer = Weights(5, worker.policy.weights.params)
    assert worker.collect(2, newer).version == 5
    versions = [int(chunk.rows["version"][0]) for chunk in worker.sink.chunks if chunk.rows["slot"][0] == 0]
    assert versions == [1, 5]

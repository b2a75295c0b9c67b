"""Actors for which there is no place yet, and actors that go with their nodes: the loop goes on, whatever they do."""

from concurrent.futures import Future

import pytest

from core.errors import SimulatorError
from manyhands import build
from manyhands.backends import ComponentDied
from manyhands.backends.inline import Inline, InlineTicket
from manyhands.crew import MAX_RESTARTS
from manyhands.loop import train
from manyhands.registry import Registry
from manyhands.run import Run
from tests.system.tiny import enter, saved, tiny, when


class Places(Inline):
    """Everything in this process, but an actor only has a place where ``room`` says so, and can be lost."""

    elastic = True

    def __init__(self, *room: str) -> None:
        super().__init__()
        self.room, self.waiting, self.losses, self.started = set(room), {}, {}, []

    def start(self, name, factory, *args, restart=False, processes=0):
        self.started.append((name, processes))
        super().start(name, factory, *args)

    def call(self, name, method, *args):
        if name.startswith("actor") and name not in self.room:
            self.waiting[name] = ticket = InlineTicket(name, Future()), method, args
            return ticket[0]
        if self.losses.get(name):
            ticket = InlineTicket(name, Future())
            ticket.future.set_exception(ComponentDied(name, "lost", self.losses[name].pop()))
            return ticket
        return super().call(name, method, *args)

    def make_room(self, name):
        self.room.add(name)
        ticket, method, args = self.waiting.pop(name)
        ticket.future.set_result(super().call(name, method, *args).future.result())


@pytest.fixture
def made(tmp_path):
    """A run on such a backend, not started yet."""
    opened = []

    def make(backend, **changes):
        config = tiny(backend="ray", **changes)
        row = Registry(tmp_path).get(enter(config, tmp_path))
        run = Run(config, build.task_spec(config), backend, Registry(tmp_path), row.id, row.path)
        opened.append(run)
        return run.__enter__()

    yield make
    for run in opened:
        run.__exit__()


def test_the_run_goes_on_without_an_actor_and_takes_it_in_later(made):
    places = Places("actor-0")
    run = made(places)
    run.start(resume=False)
    assert run.fleet.crew.pending == {"actor-1"}
    assert run.fleet.crew.waiting_for() == "actor-1: each needs 1 CPU of a node that takes simulators"
    rows = []
    when(
        run,
        (150, lambda run: rows.append(run.progress.row(run.fleet))),
        (150, lambda run: run.save(wait=True)),
        (200, lambda _: places.make_room("actor-1")),
        (350, lambda run: rows.append(run.progress.row(run.fleet))),
    )
    train(run)
    run.finish()
    assert [(row["actor/alive"], row["actor/pending"]) for row in rows] == [(1, 1), (2, 0)]
    assert saved(run.folder).components["fleet"]["counters"]["steps"] >= 400
    assert [processes for name, processes in places.started if name.startswith("actor")] == [1, 1]
    assert {processes for name, processes in places.started if not name.startswith("actor")} == {0}


def test_it_can_be_stopped_while_nothing_has_a_place(made, monkeypatch):
    monkeypatch.setattr("manyhands.crew.PENDING_S", 0.05)
    run, said = made(Places()), []

    def say(line):
        said.append(line)
        run.stop_signal = 15

    run.fleet.crew.say = say
    run.start(resume=False)
    train(run)
    run.finish()
    assert said == ["waiting for actor-0, actor-1: each needs 1 CPU of a node that takes simulators"]
    assert (run.reason, run.registry.get(run.id).status) == ("stopped", "stopped")


def test_whoever_takes_turns_waits_for_all(made, monkeypatch):
    monkeypatch.setattr("manyhands.crew.PENDING_S", 0.05)
    places = Places("actor-0")
    run, said = made(places, lockstep=True), []

    def say(line):
        said.append(line)
        places.make_room("actor-1")

    run.fleet.crew.say = say
    run.start(resume=False)
    assert len(said) == 1
    assert not run.fleet.crew.pending


def test_nodes_may_come_and_go_for_ever_but_a_crash_is_a_crash(made):
    places = Places("actor-0", "actor-1")
    run = made(places)
    run.start(resume=False)
    places.losses["actor-0"] = [True] * 3 * MAX_RESTARTS
    when(run, (300, lambda _: places.losses.update({"actor-1": [False] * (MAX_RESTARTS + 1)})))
    with pytest.raises(SimulatorError, match=f"actor-1 was lost {MAX_RESTARTS + 1} times; last: lost"):
        train(run)
    assert run.fleet.counters.restarts > 2 * MAX_RESTARTS
    assert run.fleet.crew.deaths == {"actor-0": 0, "actor-1": MAX_RESTARTS + 1}


def test_a_run_that_was_taken_over_saves_nothing_more(made):
    run = made(Places("actor-0", "actor-1"))
    run.start(resume=False)
    run.save(wait=True)
    run.registry.update(run.id, pid=1)
    with pytest.raises(Exception, match="was taken over by process 1 on"):
        run.save(wait=True)

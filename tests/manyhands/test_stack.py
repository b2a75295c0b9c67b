"""The stack's barrier and its answers, over real sockets, with a learner that only counts."""

import secrets
import threading
from multiprocessing.connection import Listener
from types import SimpleNamespace

import pytest

from core.errors import CheckpointError, ManyhandsError
from manyhands.backends import ComponentDied
from manyhands.stack import Stack, StackedLearner, learner_factory

PATIENCE_S = 20


class Counting:
    """A learner of S seeds that writes down what it is asked."""

    def __init__(self, joined):
        self.seeds = [join.seed for join in joined]
        self.rings = [join.ring for join in joined]
        self.calls = []
        self.loaded = {}
        self.retired = []

    def retire(self, seed):
        self.retired.append(self.seeds[seed])

    def update(self, counts):
        self.calls.append(list(counts))
        return [{"learner/loss": float(seed), "learner/seconds": 0.0} for seed in self.seeds]

    def publish(self, seed):
        return ("published", self.seeds[seed])

    def weights(self, seed):
        return ("weights", self.seeds[seed])

    def state_dict(self, seed):
        return {"seed": self.seeds[seed]}

    def load_state_dict(self, state, seed):
        if state == "damaged":
            raise CheckpointError("does not fit")
        self.loaded[self.seeds[seed]] = state

    def describe(self):
        return f"{len(self.seeds)} seeds"

    def compiling(self):
        return False

    def wait_compiled(self):
        """Nothing is compiled."""


@pytest.fixture
def running(tmp_path):
    """Starts a stack in a thread: (stack, a function that joins a seed, its learner as a list)."""
    threads = []

    def start(seeds, make=Counting):
        key, address, made = secrets.token_bytes(8), str(tmp_path / "socket"), []
        listener = Listener(address, "AF_UNIX", 16, key)
        stack = Stack(listener, seeds, lambda joined: made.append(make(joined)) or made[0])
        threads.append(threading.Thread(target=stack.serve, daemon=True))
        threads[0].start()

        def join(seed, key=key):
            return StackedLearner(address, key, SimpleNamespace(seed=seed), None, f"ring-{seed}")

        return stack, join, made

    yield start
    threads[0].join(PATIENCE_S)
    assert not threads[0].is_alive(), "it ends with its last seed"


class Asking(threading.Thread):
    """An ``update`` under way."""

    def __init__(self, learner, count):
        super().__init__(daemon=True)
        self.learner, self.count, self.answer = learner, count, None
        self.start()

    def run(self):
        try:
            self.answer = self.learner.update(self.count)
        except ManyhandsError as error:
            self.answer = error

    def get(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.answer


def test_updates_of_all_are_one_call_and_each_gets_its_own_metrics(running):
    _, join, made = running([4, 7])
    seven, four = join(7), join(4)
    asking = Asking(four, 3)
    assert seven.publish() == ("published", 7), "answered while another waits"
    assert seven.describe() == "2 seeds"
    assert asking.is_alive()
    assert seven.update(5)["learner/loss"] == 7
    assert asking.get()["learner/loss"] == 4
    assert made[0].calls == [[3, 5]], "in the order of the seeds, whoever came first"
    assert made[0].rings == ["ring-4", "ring-7"]
    seven.load_state_dict({"a": 1})
    assert made[0].loaded == {7: {"a": 1}}
    assert four.state_dict() == {"seed": 4}
    four.close()
    seven.close()


def test_who_leaves_holds_up_nobody(running):
    _, join, made = running([0, 1, 2])
    first, second, third = join(0), join(1), join(2)
    assert second.describe() == "3 seeds", "all have come: who leaves before that has no place"
    waiting = [Asking(first, 2), Asking(third, 2)]
    second.close()
    assert [asking.get()["learner/loss"] for asking in waiting] == [0, 2]
    third.close()
    assert first.update(1)["learner/loss"] == 0
    assert made[0].calls == [[2, 2, 2], [1, 1, 1]], "rows that nobody reads keep in step"
    assert made[0].retired == [1, 2]
    first.close()


def test_who_never_comes_is_not_waited_for(running):
    stack, join, made = running([0, 1])
    only = join(1)
    stack.gone([0])
    assert only.weights() == ("weights", 1)
    assert only.update(1)["learner/loss"] == 1
    assert made[0].calls == [[1]]
    only.close()


def test_an_error_of_one_is_its_own(running):
    _, join, _ = running([0, 1])
    one, other = join(0), join(1)
    with pytest.raises(CheckpointError, match="does not fit"):
        one.load_state_dict("damaged")
    assert other.weights() == ("weights", 1)
    one.close()
    other.close()


def test_a_learner_that_cannot_be_made_is_an_error_of_all(running):
    def make(joined):
        raise ManyhandsError("too large")

    _, join, _ = running([0, 1], make)
    learners = [join(0), join(1)]
    for learner in learners:
        with pytest.raises(ManyhandsError, match="too large"):
            learner.weights()
        with pytest.raises(ManyhandsError, match="too large"):
            learner.update(1)
        learner.close()


def test_strangers_are_refused(running):
    _, join, _ = running([0])
    with pytest.raises(ComponentDied):
        join(0, b"another key")
    stranger = join(5)
    own = join(0)
    with pytest.raises(ManyhandsError, match="seed 5 is not awaited"):
        stranger.weights()
    assert own.weights() == ("weights", 0)
    stranger.close()
    own.close()


def test_without_a_stack_in_the_environment_a_run_has_its_own_learner(monkeypatch):
    from manyhands import build

    assert learner_factory() is build.learner
    monkeypatch.setenv("MANYHANDS_STACK", "/nowhere/socket")
    monkeypatch.setenv("MANYHANDS_STACK_KEY", "00")
    with pytest.raises(ComponentDied, match="the process that has the learners of all seeds is gone"):
        learner_factory()(SimpleNamespace(seed=0), None, "ring")

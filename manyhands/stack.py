"""One learner for the seeds of several runs: who has it and answers, and the component by which each run's fleet asks.

Every seed is an ordinary run in a process of its own; only its learner is elsewhere, behind a socket of this user. ``update`` is a barrier:
when each seed that is still there has asked, all are done in one call. A seed whose connection closes leaves the barrier.
"""

import os
import pickle
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from core.errors import ManyhandsError

if TYPE_CHECKING:
    from core.types import TaskSpec, Weights
    from manyhands.config import RunConfig

ADDRESS, KEY = "MANYHANDS_STACK", "MANYHANDS_STACK_KEY"
"""environment of a run whose learner is in a stack: socket, and what proves that it belongs there"""


class Join(NamedTuple):
    """The first message of a run."""

    config: "RunConfig"
    spec: "TaskSpec"
    ring: str
    """file of the run's replay"""

    @property
    def seed(self) -> int:
        return self.config.seed


class Call(NamedTuple):
    """A method of the learner, for the seed of this connection."""

    method: str
    args: tuple


class Gone(NamedTuple):
    """The seed will ask no more."""


class Learner(Protocol):
    """What of ``learner.worker.LearnerWorker`` a stack uses; ``seed`` is a number from 0 to S - 1."""

    def update(self, count: Sequence[int], /) -> Sequence[dict[str, float]] | dict[str, float]:
        """The metrics of each; of one seed alone, they may come without the list."""
        ...

    def retire(self, seed: int) -> None: ...

    def publish(self, seed: int) -> "Weights": ...

    def weights(self, seed: int) -> "Weights": ...

    def state_dict(self, seed: int) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], seed: int) -> None: ...

    def warm_start(self, tensors: Mapping[str, Any], seed: int) -> None: ...

    def describe(self) -> str: ...

    def compiling(self) -> bool: ...

    def wait_compiled(self) -> None: ...


PER_SEED = ("publish", "weights", "state_dict", "load_state_dict", "warm_start")
COMMON = ("describe", "compiling", "wait_compiled")


class Stack:
    """Takes calls from all runs into one queue and answers them in the thread that calls ``serve``, to which the learner belongs.

    Args:
        seeds: that will come, or be said to be gone.
        make: the learner of those that came, in the order of ``seeds``.
    """

    def __init__(self, listener: Listener, seeds: Sequence[int], make: Callable[[list[Join]], Learner]) -> None:
        self.listener, self.seeds, self.make = listener, list(seeds), make
        self.awaited = set(seeds)
        self.joined: dict[int, Join] = {}
        self.lines: dict[int, Connection] = {}
        """of the seeds that are there"""
        self.inbox: queue.SimpleQueue[tuple[int, Any, Connection | None]] = queue.SimpleQueue()
        self.held: list[tuple[int, Call]] = []
        """calls from before the learner was made"""
        self.asked: dict[int, int] = {}
        """updates that a seed waits for"""
        self.learner: Learner | None = None
        self.error: ManyhandsError | None = None
        self.place: dict[int, int] = {}
        """seed -> its number in the learner"""

    def serve(self) -> None:
        """Until every seed is gone."""
        threading.Thread(target=self._accept, daemon=True, name="accept").start()
        while self.awaited or self.lines:
            self._take(*self.inbox.get())
            if not self.awaited and self.lines and not self.place:
                self._make()
            if self.lines and self.asked.keys() >= self.lines.keys():
                self._update()
        self.listener.close()

    def gone(self, seeds: Sequence[int]) -> None:
        """From any thread: these will not come, or have ended."""
        for seed in seeds:
            self.inbox.put((seed, Gone(), None))

    def _accept(self) -> None:
        while True:
            try:
                line = self.listener.accept()
            except (AuthenticationError, EOFError, ConnectionError):
                continue  # someone without the key, or who died at the door
            except OSError:
                return  # closed
            threading.Thread(target=self._hear, args=(line,), daemon=True).start()

    def _hear(self, line: Connection) -> None:
        seed = -1
        with suppress(EOFError, OSError):
            join: Join = receive(line)
            seed = join.seed
            self.inbox.put((seed, join, line))
            while True:
                self.inbox.put((seed, receive(line), line))
        self.inbox.put((seed, Gone(), line))

    def _take(self, seed: int, message: Any, line: Connection | None) -> None:
        if isinstance(message, Join):
            assert line is not None
            if seed not in self.awaited:
                send(line, ManyhandsError(f"seed {seed} is not awaited by this stack"))  # the answer to its first call
                return
            self.awaited.discard(seed)
            self.joined[seed], self.lines[seed] = message, line
        elif isinstance(message, Gone):
            if line is None or self.lines.get(seed) is line:
                self._leave(seed)
        elif self.lines.get(seed) is line:
            if self.place:
                self._call(seed, message)
            else:
                self.held.append((seed, message))

    def _leave(self, seed: int) -> None:
        self.awaited.discard(seed)
        self.asked.pop(seed, None)
        if self.learner is not None and seed in self.lines:
            self.learner.retire(self.place[seed])
        line = self.lines.pop(seed, None)
        if line is not None:
            line.close()

    def _make(self) -> None:
        here = [seed for seed in self.seeds if seed in self.lines]
        self.place = {seed: number for number, seed in enumerate(here)}
        try:
            self.learner = self.make([self.joined[seed] for seed in here])
        except ManyhandsError as error:
            self.error = error
        for seed, call in self.held:
            if seed in self.lines:
                self._call(seed, call)
        self.held = []

    def _call(self, seed: int, call: Call) -> None:
        if self.learner is None:
            self._answer(seed, self.error)
        elif call.method == "update":
            self.asked[seed] = call.args[0]
        elif call.method in (*PER_SEED, *COMMON):
            own = (self.place[seed],) if call.method in PER_SEED else ()
            try:
                self._answer(seed, getattr(self.learner, call.method)(*call.args, *own))
            except ManyhandsError as error:
                self._answer(seed, error)
        else:
            self._answer(seed, ManyhandsError(f"a stacked learner has no {call.method!r}"))

    def _update(self) -> None:
        assert self.learner is not None
        asked, self.asked = self.asked, {}
        try:
            # Seeds that are gone keep in step, so that the others can go on in one stack: nobody looks at their rows any more.
            together = min(asked.values())
            told = self.learner.update([asked.get(seed, together) for seed in self.place])
            metrics: Sequence[Any] = [told] if isinstance(told, Mapping) else told
        except ManyhandsError as error:
            metrics = [error] * len(self.place)
        for seed in asked:
            self._answer(seed, metrics[self.place[seed]])

    def _answer(self, seed: int, value: Any) -> None:
        try:
            send(self.lines[seed], value)
        except OSError:
            self._leave(seed)


class StackedLearner:
    """The component ``learner`` of a run whose learner is in a stack: the methods of ``LearnerWorker``, for this run's seed."""

    def __init__(self, address: str, key: bytes, config: "RunConfig", spec: "TaskSpec", ring: str) -> None:
        try:
            self.line = Client(address, "AF_UNIX", authkey=key)
        except (OSError, EOFError, AuthenticationError) as error:
            raise _died(error) from None
        self._lock = threading.Lock()
        send(self.line, Join(config, spec, str(ring)))

    def _ask(self, method: str, *args: Any) -> Any:
        with self._lock:
            try:
                send(self.line, Call(method, args))
                answer = receive(self.line)
            except (OSError, EOFError) as error:
                raise _died(error) from None
        if isinstance(answer, ManyhandsError):
            raise answer
        return answer

    def update(self, count: int) -> dict[str, float]:
        """``count`` updates of this seed, together with those of the others: waits until every other seed has asked, or left."""
        return self._ask("update", count)

    def publish(self) -> "Weights":
        return self._ask("publish")

    def weights(self) -> "Weights":
        return self._ask("weights")

    def state_dict(self) -> dict[str, Any]:
        """That of a learner of this seed alone."""
        return self._ask("state_dict")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._ask("load_state_dict", state)

    def warm_start(self, tensors: Mapping[str, Any]) -> None:
        self._ask("warm_start", tensors)

    def describe(self) -> str:
        return self._ask("describe")

    def compiling(self) -> bool:
        return self._ask("compiling")

    def wait_compiled(self) -> None:
        self._ask("wait_compiled")

    def close(self) -> None:
        """Leaves the stack. May be called twice."""
        self.line.close()


def learner_factory() -> Callable[..., Any]:
    """What makes this run's learner: its own, or its place in the stack that the environment names."""
    if ADDRESS in os.environ:
        return partial(StackedLearner, os.environ[ADDRESS], bytes.fromhex(os.environ[KEY]))
    from manyhands import build

    return build.learner


def _died(error: BaseException) -> ManyhandsError:
    from manyhands.backends import ComponentDied

    return ComponentDied("learner", f"the process that has the learners of all seeds is gone ({error or type(error).__name__})")


def send(line: Connection, value: Any) -> None:
    """By plain pickle: ``Connection.send`` hands tensors over as shared memory, which has to be fetched while the sender lives."""
    line.send_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def receive(line: Connection) -> Any:
    return pickle.loads(line.recv_bytes())  # noqa: S301 - from a process that this user's run started and that has its key

"""Actor side: simulators of one task or several, stepped with the policy; transitions go to replay as chunks, results to the caller.

The simulators always work one step ahead: their next step runs in their own processes while the caller's process updates or waits.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actors.policy import Policy
from actors.recorder import EPISODES_PER_INCARNATION, Recorder
from core.contracts import ChunkSink, SimulatorStep, SteppedSimulators, Upkeep
from core.errors import ConfigError
from core.types import Observation, TaskSpec, Weights


@dataclass(frozen=True)
class Config:
    """How experience is collected."""

    actors: int = 2
    """actors of the run, a multiple of the K tasks or a divisor: task i is stepped by the actors i, i + K, ..., or actor i steps the tasks
    i, i + actors, ... 0: all simulators are elsewhere, see gateway"""
    simulators: int = 4
    """simulators per actor and task; an actor steps all of its in lockstep"""
    processes: int = 1
    """simulator processes per actor; 0: all cores but one, shared among the actors"""
    chunk: int = 50
    """transitions per chunk sent to replay; 0: whole episodes only"""
    steps_per_call: int = 0
    """env steps of every simulator per turn of an actor; 0: one inline, a chunk under Ray"""
    random_steps: int = 1000
    """env steps of the whole run that act uniformly at random at the start"""
    pin: bool = False
    """each simulator process to one core, in turn over the cores of the machine; for machines that do nothing else"""
    step_timeout_s: float = 30.0
    """a simulator step that takes longer is a hang: its process is replaced"""
    reset_timeout_s: float = 120.0
    """the same for a reset"""
    launch_timeout_s: float = 120.0
    """the same for making one simulator, with loading its package"""
    quarantine_after: int = 3
    """failures of one kind of a task's episodes, such as a variation of RLBench, without a completed one in between: its episodes are then
    passed over. 0: never"""

    def __post_init__(self) -> None:
        if self.simulators < 1:
            raise ConfigError(f"actors.simulators is {self.simulators}; it must be at least 1")
        for name in ("actors", "processes", "chunk", "random_steps", "steps_per_call", "quarantine_after"):
            if getattr(self, name) < 0:
                raise ConfigError(f"actors.{name} is {getattr(self, name)}; it must be 0 or more")
        if min(self.step_timeout_s, self.reset_timeout_s, self.launch_timeout_s) <= 0:
            raise ConfigError("actors.step_timeout_s, actors.reset_timeout_s and actors.launch_timeout_s must be positive")

    def check_tasks(self, tasks: int) -> None:
        """Raises ConfigError where so many tasks cannot be shared among the actors, each alike."""
        if self.actors and self.actors % tasks and tasks % self.actors:
            fewer = max(n for n in range(1, self.actors) if tasks % n == 0)
            more = next(n for n in range(self.actors + 1, self.actors + tasks + 1) if tasks % n == 0 or n % tasks == 0)
            raise ConfigError(
                f"actors.actors is {self.actors} for {tasks} tasks; it must be a multiple or a divisor, so that every task has as many "
                f"simulators: {fewer} or {more}"
            )
        if self.processes > self.slots(tasks):
            raise ConfigError(f"actors.processes is {self.processes} but there are only {self.slots(tasks)} simulators per actor")

    def tasks_of(self, actor: int, tasks: int) -> range:
        """Which of so many tasks an actor steps."""
        return range(actor % tasks, tasks, self.actors)

    def slots(self, tasks: int) -> int:
        """N, simulators of one actor."""
        return self.simulators * max(1, tasks // max(1, self.actors))

    def simulators_of_task(self, tasks: int) -> int:
        """N of one task, of all actors together."""
        return self.simulators * max(1, self.actors // tasks)

    def lanes(self, actor: int, tasks: int) -> NDArray[np.int64]:
        """(slots,) the numbers of an actor's simulators among all of the run, task-major."""
        own, first = np.array(self.tasks_of(actor, tasks)), actor // tasks * self.simulators
        return (own[:, None] * self.simulators_of_task(tasks) + first + np.arange(self.simulators)).reshape(-1)

    def limits(self) -> dict[str, Any]:
        """What a pool of simulators is told of them."""
        names = ("step_timeout_s", "reset_timeout_s", "launch_timeout_s", "quarantine_after")
        return {name: getattr(self, name) for name in names}

    def workers(self, tasks: int) -> int:
        """Simulator processes of one actor, on the cores that this process may use."""
        spare = (len(os.sched_getaffinity(0)) - 1) // max(1, self.actors)
        return self.processes or min(max(1, spare), self.slots(tasks))


class Episode(NamedTuple):
    """A finished training episode."""

    task: int
    length: int
    """env steps"""
    episode_return: float
    success_any: bool
    """the criterion held at some step"""
    success_last: bool
    """it held at the last step"""


class Report(NamedTuple):
    """What one ``collect`` call did."""

    steps: int
    """env steps taken, lost ones included"""
    stored: int
    """transitions acknowledged by replay"""
    lost: int
    """simulators lost"""
    version: int
    """weights version that acted last"""
    episodes: list[Episode]
    seconds: float
    """that the call took"""
    simulate_s: float
    """of them waiting for simulators"""
    send_s: float
    """of them handing chunks to replay, until it has acknowledged them"""
    upkeep: Upkeep = Upkeep(0, ())
    """of the simulators"""
    metrics: dict[str, float] | None = None
    """what else is to be known of it: of a gateway"""
    open: int = 0
    """env steps, of this call and perhaps of earlier ones, in chunks that are not full yet"""


class ActorWorker:
    """See the module.

    Args:
        simulators: N simulators (``simulators.pool``), perhaps still being made; this actor owns and closes them.
        sink: where chunks go.
    """

    def __init__(self, spec: TaskSpec, policy: Policy, simulators: SteppedSimulators, sink: ChunkSink, recorder: Recorder) -> None:
        self.policy, self.simulators, self.sink, self.recorder = policy, simulators, sink, recorder
        N, horizon, A = simulators.size, spec.horizon, spec.action_dim
        self.history = np.zeros((N, horizon, A), np.float32)
        self.returns = np.zeros(N)
        self.success_any = np.zeros(N, bool)

    def begin(self, weights: Weights) -> None:
        """Sets the simulators going: once, unless a saved state is loaded instead."""
        self.policy.weights = weights
        self.simulators.ready()
        first = self.recorder.incarnation * EPISODES_PER_INCARNATION  # a restarted actor meets other variations than its predecessor did
        self.simulators.reset([first] * self.simulators.size)
        self._act()

    def _act(self) -> None:
        """Chooses the next actions and sets the simulators going."""
        actions, extra = self.policy.explore(self.simulators.obs)
        self._launch(actions, self.policy.version, extra)

    def _launch(self, actions: NDArray, version: int, extra: dict[str, NDArray]) -> None:
        self.pending, self.pending_version, self.pending_extra = actions, version, extra
        self.variations = np.array(self.simulators.variations)  # a copy: the step set going may end an episode and begin the next
        self.recorder.begin(self.simulators.obs, actions, version, extra)
        self.history[self.recorder.lane, self.recorder.t] = actions
        self.simulators.send(actions)

    def collect(self, count: int, weights: Weights | None = None) -> Report:
        """Finishes ``count`` env steps of every simulator. New weights act from the first action chosen here."""
        if weights is not None:
            self.policy.weights = weights
        clock = time.monotonic
        began, simulate_s, send_s = clock(), 0.0, 0.0
        episodes: list[Episode] = []
        stored = lost = 0
        for _ in range(count):
            asked = clock()
            step = self.simulators.recv()
            simulate_s += clock() - asked
            self.recorder.end(step.reward, step.terminated, step.truncated, step.success)
            self.returns += step.reward
            self.success_any |= step.success
            ended = step.terminated | step.truncated
            cut = ended | step.lost | self.recorder.full()
            closing = self._closing(step, cut)
            self.policy.watch.stepped(step.reward, ended | step.lost)
            if step.lost.any():
                self.policy.watch.begin(step.lost)
            for slot in np.flatnonzero(cut).tolist():
                if step.lost[slot]:
                    lost += 1
                    self.sink.discard_episode(self.recorder.writer, int(self.recorder.episode[slot]))
                    self._new_episode(slot)
                    continue
                chunk = self.recorder.cut(slot, closing)
                stored += chunk.transitions
                sending = clock()
                self.sink.send(chunk)
                send_s += clock() - sending
                if ended[slot]:
                    episodes.append(self._episode(slot, bool(step.success[slot])))
                    self._new_episode(slot)
            self._act()
        sending = clock()
        self.sink.flush()
        ended_at = clock()
        send_s += ended_at - sending
        steps = count * self.simulators.size
        done = self.simulators.upkeep()
        return Report(
            steps,
            stored,
            lost,
            self.pending_version,
            episodes,
            ended_at - began,
            simulate_s,
            send_s,
            done,
            open=int(self.recorder.filled.sum()),
        )

    def _closing(self, step: SimulatorStep, cut: NDArray[np.bool_]) -> Observation:
        """The observations that close chunks in the slots ``cut``, encoded where an algorithm does that. Nothing is expected after a
        terminal state, and what is lost is not stored."""
        encoded = self.policy.encoded(step.closing, self.pending, step.reward, cut & ~step.terminated & ~step.lost)
        return {**step.closing, **encoded} if encoded else step.closing

    def _episode(self, slot: int, success_last: bool) -> Episode:
        task, length = int(self.recorder.tasks[slot]), int(self.recorder.t[slot])
        return Episode(task, length, float(self.returns[slot]), bool(self.success_any[slot]), success_last)

    def _new_episode(self, slot: int) -> None:
        self.recorder.new_episode(slot)
        self.returns[slot], self.success_any[slot] = 0.0, False

    def close(self) -> None:
        self.simulators.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything, open episodes included: those are brought back by repeating their actions."""
        return {
            "policy": self.policy.state_dict(),
            "recorder": self.recorder.state_dict(),
            "history": self.history,
            "returns": self.returns,
            "success_any": self.success_any,
            "variations": self.variations,
            "pending": self.pending,
            "pending_version": self.pending_version,
            "pending_extra": self.pending_extra,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.simulators.ready()
        self.policy.load_state_dict(state["policy"])
        self.recorder.load_state_dict(state["recorder"])
        for name in ("history", "returns", "success_any"):
            getattr(self, name)[...] = state[name]
        t = self.recorder.t
        self.simulators.replay([int(v) for v in state["variations"]], [self.history[i, : t[i]] for i in range(len(t))])
        self._launch(np.asarray(state["pending"], np.float32), state["pending_version"], dict(state["pending_extra"]))
